import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from compared import command

import tasks

command(lambda seed: tasks.make(seed)[0], tasks.compare)
