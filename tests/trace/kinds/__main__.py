import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import kinds

if sys.argv[1] == "show":
    print(kinds.make(sys.argv[2], int(sys.argv[3])))
    sys.exit()
sys.exit(1 if kinds.compare(sys.argv[1], *map(int, sys.argv[2:])) else 0)
