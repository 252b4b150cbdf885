"""``python -m larder -f CONNECTION_FILE`` is the kernel; any other arguments are the command line of `larder.cli`."""

from __future__ import annotations

import sys

# `-m` puts the working directory before the standard library: a notebook's neighbour called `random.py` would be imported
# in place of it. IPython adds it again behind the standard library when it has started.
if __name__ == "__main__" and not sys.flags.safe_path:
    import os

    if os.path.realpath(sys.path[0]) == os.getcwd():
        del sys.path[0]


def main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-f", "--f") or argv[0].startswith(("-f=", "--f=")):
        from larder.kernel.main import start

        if not argv:
            return start(None)
        if "=" in argv[0]:
            return start(argv[0].partition("=")[2], argv[1:])
        return start(argv[1] if len(argv) > 1 else None, argv[2:])
    from larder.cli import main as cli

    return cli(argv) or 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
