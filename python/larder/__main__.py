"""``python -m larder -f CONNECTION_FILE [OPTION ...]`` is the kernel; anything else is the command line of `larder.cli`.

The options are IPython's: ``--matplotlib=inline``, ``--ext=autoreload``, ``--InteractiveShellApp.exec_lines=...``.
"""

from __future__ import annotations

import sys

# `-m` puts the working directory before the standard library: a notebook's neighbour called `random.py` would be imported
# in place of it. IPython adds it again behind the standard library when it has started.
if __name__ == "__main__" and not sys.flags.safe_path:
    import os

    if os.path.realpath(sys.path[0]) == os.getcwd():
        del sys.path[0]


def main(argv: list[str]) -> int:
    if argv and not argv[0].startswith("-"):
        at = None
    else:
        at = next((n for n, word in enumerate(argv) if word.partition("=")[0] in ("-f", "--f")), None)
    if argv and at is None:
        from larder.cli import main as cli

        return cli(argv) or 0
    from larder.kernel.main import start

    if at is None:
        return start(None)
    _, equals, path = argv[at].partition("=")
    taken = 1 if equals else 2
    return start(path if equals else next(iter(argv[at + 1 : at + 2]), None), [*argv[:at], *argv[at + taken :]])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
