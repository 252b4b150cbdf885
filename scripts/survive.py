"""The main job, for real: a notebook runs in the kernel, is killed with SIGKILL in the middle, and comes back.

Executes ``notebooks/01-survive-a-crash.ipynb`` cell by cell over the Jupyter protocol; after the cell tagged
``kill-after`` the kernel's process gets SIGKILL and another kernel takes over. Then ``%shelf``, ``%tier`` and ``%trace``.
Exit code 0 only if every cell ran without an error.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import tempfile
from pathlib import Path

import nbformat
from jupyter_client.manager import KernelManager

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "01-survive-a-crash.ipynb"
AFTERWARDS = ("%shelf ls survive", "%tier", "%trace")


class Page:
    """A kernel of the notebook, and what it says on this terminal."""

    def __init__(self, session: str) -> None:
        self.session = session
        self.start()

    def start(self) -> None:
        self.manager = KernelManager(kernel_name="larder")
        self.manager.start_kernel(env={**os.environ, "JPY_SESSION_NAME": self.session})
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def run(self, code: str) -> bool:
        shown = code if len(code) < 400 else code[:400] + " ..."
        print("\n".join(f"\033[2m>>>\033[0m {line}" for line in shown.splitlines()))
        reply = self.client.execute_interactive(code, timeout=120, output_hook=self.show)
        return reply["content"]["status"] == "ok"

    def show(self, message: dict) -> None:
        content = message["content"]
        if message["msg_type"] == "stream":
            print(content["text"], end="")
        elif message["msg_type"] in ("execute_result", "display_data"):
            print(content["data"].get("text/plain", ""))
        elif message["msg_type"] == "error":
            print("\n".join(content["traceback"]))

    def kill(self) -> int:
        pid = self.manager.provisioner.pid
        os.kill(pid, signal.SIGKILL)
        self.client.stop_channels()
        self.manager.cleanup_resources()
        return pid

    def end(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel()


def main() -> int:
    os.environ["JUPYTER_PATH"] = str(Path(sys.prefix) / "share" / "jupyter")
    with tempfile.TemporaryDirectory() as home:
        os.environ["LARDER_HOME"] = home
        page = Page(str(NOTEBOOK))
        try:
            for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
                if cell.cell_type == "markdown":
                    print(f"\n\033[1m{re.sub('^#+ ', '', cell.source.splitlines()[0])}\033[0m")
                    continue
                if not page.run(cell.source):
                    return 1
                if "kill-after" in cell.metadata.get("tags", ()):
                    print(f"\033[1;31mkill -9 {page.kill()}\033[0m")
                    page.start()
            print("\n\033[1mWhat it looks like now\033[0m")
            for code in AFTERWARDS:
                if not page.run(code):
                    return 1
        finally:
            page.end()
    print("\n\033[1;32mThe notebook came back with its state.\033[0m")
    return 0


if __name__ == "__main__":
    sys.exit(main())
