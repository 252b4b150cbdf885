"""``python plainly.py SEED NAMES CELLS...``: a random notebook's variables NAMES after so many cells, on plain IPython.

Prints one JSON line: number of cells -> fingerprint, and all the variables there are. Nothing of larder runs here.
"""

import json
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "python"))
from notebooks import NAMES, PRELUDE, cells
from recoveryfuzz import Fingerprint


def main(seed: int, names: list[str], counts: list[int]) -> None:
    from IPython.core.interactiveshell import InteractiveShell

    warnings.simplefilter("ignore")
    ip = InteractiveShell.instance()
    ip.history_manager.enabled = False
    ip.showtraceback = lambda *args, **kwargs: None
    found = {}
    for count, cell in enumerate(["", PRELUDE, *cells(seed)]):
        ip.run_cell(cell)
        if count in counts:
            found[count] = [Fingerprint.namespace(ip.user_ns, names), [name for name in NAMES if name in ip.user_ns]]
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2].split(","), [int(count) for count in sys.argv[3:]])
