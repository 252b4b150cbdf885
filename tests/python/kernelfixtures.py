"""A kernel of this very Python, started and spoken to through jupyter_client."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from contextlib import contextmanager

import pytest
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpec

TIMEOUT_S = 100
"""Longer than a busy machine takes for an answer; only what fails waits for it."""


def manager(**options) -> KernelManager:
    km = KernelManager(**options)
    km._kernel_spec = KernelSpec(
        argv=[sys.executable, "-m", "larder", "-f", "{connection_file}"],
        display_name="larder",
        language="python",
        interrupt_mode="signal",
    )
    return km


class Running:
    """A kernel and one client; `run` gives what a notebook would see."""

    def __init__(self, km: KernelManager, kc) -> None:
        self.km, self.kc = km, kc

    @property
    def pid(self) -> int:
        return self.km.provisioner.pid

    def send(self, code: str, **options) -> str:
        return self.kc.execute(code, **options)

    def until_idle(self, msg_id: str, timeout: float = TIMEOUT_S) -> list[dict]:
        """Every IOPub message of the request, its idle status last."""
        found, deadline = [], time.monotonic() + timeout
        while True:
            msg = self.kc.get_iopub_msg(timeout=max(0.01, deadline - time.monotonic()))
            if msg["parent_header"].get("msg_id") != msg_id:
                continue
            found.append(msg)
            if msg["msg_type"] == "status" and msg["content"]["execution_state"] == "idle":
                return found

    def reply(self, msg_id: str, timeout: float = TIMEOUT_S) -> dict:
        deadline = time.monotonic() + timeout
        while True:
            msg = self.kc.get_shell_msg(timeout=max(0.01, deadline - time.monotonic()))
            if msg["parent_header"].get("msg_id") == msg_id:
                return msg

    def run(self, code: str, timeout: float = TIMEOUT_S, **options) -> tuple[dict, list[dict]]:
        msg_id = self.send(code, **options)
        messages = self.until_idle(msg_id, timeout)
        return self.reply(msg_id, timeout)["content"], messages

    def ok(self, code: str, **options) -> list[dict]:
        content, messages = self.run(code, **options)
        assert content["status"] == "ok", "\n".join(content.get("traceback", [])) or content
        return messages

    def text(self, code: str, name: str = "stdout", **options) -> str:
        return text(self.ok(code, **options), name)

    def value(self, code: str):
        """What the expression ``code`` shows as plain text."""
        shown = [m for m in self.ok(code) if m["msg_type"] == "execute_result"]
        return shown[0]["content"]["data"]["text/plain"]

    def ask(self, kind: str, *args, **options) -> dict:
        return self.reply(getattr(self.kc, kind)(*args, **options))["content"]

    def wait_for(self, wanted, timeout: float = TIMEOUT_S) -> dict:
        """The next IOPub message for which ``wanted`` is true."""
        deadline = time.monotonic() + timeout
        while True:
            msg = self.kc.get_iopub_msg(timeout=max(0.01, deadline - time.monotonic()))
            if wanted(msg):
                return msg

    def shown(self, wanted: str, timeout: float = TIMEOUT_S) -> dict:
        """The next stream message that completes ``wanted``: a line may come in pieces, as ``print`` writes it."""
        so_far: dict[tuple, str] = {}

        def complete(msg) -> bool:
            if msg["msg_type"] != "stream":
                return False
            whose = (msg["parent_header"].get("msg_id"), msg["content"]["name"])
            so_far[whose] = so_far.get(whose, "") + msg["content"]["text"]
            return wanted in so_far[whose]

        return self.wait_for(complete, timeout)


def text(messages: list[dict], name: str = "stdout") -> str:
    return "".join(m["content"]["text"] for m in messages if m["msg_type"] == "stream" and m["content"]["name"] == name)


def of(messages: list[dict], msg_type: str) -> list[dict]:
    return [m for m in messages if m["msg_type"] == msg_type]


@contextmanager
def kernel(tmp_path, stderr=None, km=None, **env):
    """A running kernel whose files are in ``tmp_path``; ``km`` is its manager, if not an ordinary one."""
    km = km or manager(connection_file=str(tmp_path / "kernel.json"))
    home = {"LARDER_HOME": str(tmp_path / "home"), "IPYTHONDIR": str(tmp_path / "ipython")}
    km.start_kernel(env={**os.environ, **home, **env}, stderr=stderr)
    kc = km.client()
    kc.start_channels()
    try:
        kc.wait_for_ready(timeout=TIMEOUT_S)
        yield Running(km, kc)
    finally:
        kc.stop_channels()
        if km.has_kernel:
            km.shutdown_kernel(now=False)
        km.cleanup_resources()


def wait_until(condition, timeout: float = TIMEOUT_S) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] != b"Z"
    except (FileNotFoundError, ProcessLookupError):  # or it went between the two
        return False


def settle(k: Running) -> None:
    """Wait for what is saved beside the kernel: how fast the disk is decides what that is."""
    k.ok("__import__('larder').recovery.recorder().drain()", silent=True)


def kill(k: Running, group: bool = False) -> None:
    """SIGKILL to the kernel (with ``group``, to its children as well)."""
    os.killpg(k.pid, signal.SIGKILL) if group else os.kill(k.pid, signal.SIGKILL)
    k.km.shutdown_kernel(now=True)


def shut(k: Running, restart: bool = False) -> None:
    """What a front end does on Shutdown (or on Restart, whose new kernel the test starts itself)."""
    k.kc.control_channel.send(k.kc.session.msg("shutdown_request", {"restart": restart}))
    wait_until(lambda: not k.km.is_alive(), 20)
    k.km.shutdown_kernel(now=True)


@contextmanager
def killed_and_held(pid: int, number: int = signal.SIGKILL):
    """SIGKILL (or another signal that ends it) to a process, which then runs no code any more, but is there as long as this
    lasts: as one is that has much memory to give back, or waits for a disk."""
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    seize, go_on, detach, trace_exit, wall = 0x4206, 7, 17, 0x40, 0x40000000
    if ptrace(seize, pid, None, trace_exit) != 0:
        pytest.skip(f"no process can be held here: {os.strerror(ctypes.get_errno())}")
    try:
        os.kill(pid, number)
        _, status = os.waitpid(pid, wall)
        if number != signal.SIGKILL:  # it is about to get it
            assert os.WIFSTOPPED(status) and os.WSTOPSIG(status) == number
            ptrace(go_on, pid, None, number)
            _, status = os.waitpid(pid, wall)
        assert os.WIFSTOPPED(status) and alive(pid)
        yield
    finally:
        ptrace(detach, pid, None, None)
