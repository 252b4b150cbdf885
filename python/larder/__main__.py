"""``python -m larder -f CONNECTION_FILE`` is the kernel; any other arguments are the command line of `larder.cli`."""

from __future__ import annotations

import sys


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
