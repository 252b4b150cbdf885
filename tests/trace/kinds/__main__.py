import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from compared import command

import kinds

command(kinds.make, kinds.compare)
