import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import tasks

if sys.argv[1] == "show":
    print(tasks.make(int(sys.argv[2]))[0])
    sys.exit()
sys.exit(1 if tasks.compare(*map(int, sys.argv[1:])) else 0)
