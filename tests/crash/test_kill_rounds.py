"""SIGKILL at random moments of random notebooks: the state is always that after the last replied cell.

(Or that of the cell it was killed in, if that one had ended and was about to be answered.) The kernel is real and so is the
signal, which goes to the kernel or, as front ends send it, to its group. A round runs cells one after the other, kills the
kernel at a random moment, often with states under way that are saved behind their replies, and asks a new kernel of the same
notebook what it has. In some rounds of random notebooks the children that save are killed as
well: alone, and the kernel goes on; or together with the kernel, and what is missing then has to be named.
``LARDER_KILL_ROUNDS`` sets the rounds, ``LARDER_KILL_SEED`` the seed.
"""

import contextlib
import dataclasses
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "python"))
sys.path.insert(0, str(Path(__file__).parent))
from kernelfixtures import kernel
from notebooks import PRELUDE, cells

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
ROUNDS = int(os.environ.get("LARDER_KILL_ROUNDS", "24"))
SEED = int(os.environ.get("LARDER_KILL_SEED", str(random.randrange(10**6))))
CELLS_PER_ROUND_MAX = 60

BEGIN = """
import numpy as np
step = 0; big = np.zeros(400_000); half = big[200_000:]; trail = []; shared = {'trail': trail}
class Box: pass
box = Box(); box.trail = trail
large = np.zeros(3_000_000)
import time
class Slow:
    def __init__(self, step): self.step = step
    def __reduce__(self): time.sleep(0.03); return Slow, (self.step,)
slow = Slow(0)
"""
# One step changes everything there is; all of it must always be of the same step.
STEP = "step += 1; big[step * 37 % 400_000] = step; half[step] = step; trail.append(step); box.last = step{more}{pause}"
# What takes longer to save than a reply waits: the whole array anew, a few of its pages, a slow pickle.
MORE = ["", "", "; large[:] = step", "; large[step::50_000] = step", "; slow = Slow(step)", "; large = large + 1"]
LOOK = """
import json
print(json.dumps({'step': step, 'trail': trail, 'last': getattr(box, 'last', 0), 'half': int(half[step]),
    'big': float(big.sum()), 'large': [int(large.sum()), len(set(large.tolist())), slow.step],
    'same': box.trail is trail and shared['trail'] is trail and np.shares_memory(big, half),
    'count': get_ipython().execution_count}))
"""


def expected(step: int) -> float:
    big = {}
    for i in range(1, step + 1):
        big[i * 37 % 400_000] = i
        big[200_000 + i] = i
    return float(sum(big.values()))


def children(pid: int, all_of_them: bool = True) -> list[int]:
    """The children of a kernel that save what was replied already, oldest first; or the oldest of them."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z" and int(fields[1]) == pid:
                found.append(int(entry.name))
    found.sort()
    return found if all_of_them else found[:1]


def kill_all(pids: list[int]) -> list[int]:
    """Those that were still there."""
    killed = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
    return killed


def kill(pid: int, group: bool, counts: list[int]) -> None:
    counts.append(len(children(pid)))
    os.killpg(pid, signal.SIGKILL) if group else os.kill(pid, signal.SIGKILL)


@pytest.mark.timeout(60 + 10 * ROUNDS)
def test_a_killed_notebook_has_the_state_after_its_last_replied_cell(tmp_path):
    rng = random.Random(SEED)
    replied, tried, count = 0, 0, 0
    large = np.zeros(3_000_000)
    expect = {0: (large, 0)}  # step -> what `large` and `slow` are
    counts: list[int] = []
    for round in range(ROUNDS):
        where = f"seed {SEED}, round {round}"
        with kernel(tmp_path, JPY_SESSION_NAME="kill.ipynb") as k:
            if round == 0:
                k.ok(BEGIN)
                count = 1
            else:
                state = json.loads(k.text(LOOK).splitlines()[-1])
                step = state["step"]
                assert replied <= step <= tried, f"{where}: replied {replied}, tried {tried}, found {state}"
                assert state["trail"] == list(range(1, step + 1)), where
                assert (state["last"], state["half"]) == (step, step) and state["same"], f"{where}: {state}"
                assert state["big"] == expected(step), f"{where}: {state}"
                large, slow = expect[step]
                now = [int(large.sum()), len(set(large.tolist())), slow]
                assert state["large"] == now, f"{where}: {state}, expected {now}"
                expect = {step: expect[step]}
                assert state["count"] >= count + 1, f"{where}: {state}"
                count, replied, tried = state["count"], step, step
            pid = k.pid
            delay = rng.choice([0.0, 0.02, 0.1, 0.4]) * rng.random()
            killer = threading.Timer(delay, kill, (pid, rng.random() < 0.5, counts))
            killer.start()
            for _ in range(CELLS_PER_ROUND_MAX):
                pause = rng.choice(["", "", "\nimport time; time.sleep(0.01)"])
                more = rng.choice(MORE)
                large, slow = expect[tried]
                tried += 1
                space = {"large": large.copy(), "slow": slow, "step": tried, "Slow": int}
                exec(more.removeprefix("; "), space)
                expect[tried] = (space["large"] if "large" in more else large, space["slow"])
                message = k.send(STEP.format(more=more, pause=pause))
                deadline = time.monotonic() + 20
                while True:
                    try:
                        reply = k.reply(message, timeout=0.2)
                    except Exception:  # queue.Empty: still running, or dead
                        if k.km.is_alive():
                            assert time.monotonic() < deadline, f"{where}: no reply"
                            continue
                        reply = None
                    break
                if reply is None:
                    break
                assert reply["content"]["status"] == "ok", where
                replied, count = tried, count + 1
            killer.join()
            k.km.shutdown_kernel(now=True)
    print(f"{ROUNDS} rounds, {sum(map(bool, counts))} of them with states under way, {max(counts)} at most")
    assert ROUNDS < 20 or sum(map(bool, counts)) > ROUNDS // 20, f"no states were under way: {counts}"


# The order of sets, which a program can put into a list, is the same in a notebook that is killed and one that is not.
HASHES = {"PYTHONHASHSEED": "7"}
# What came back by itself, before any cell: names, what was not saved, and the fingerprint.
CAME_BACK = f"""
import sys as _sys; _sys.path.insert(0, {str(Path(__file__).parents[1] / "python")!r})
import json as _json, recoveryfuzz as _fuzz; from larder import recovery as _recovery
_version = _recovery.recorder().version(_recovery.recorder().meta['versions'][-1])
_count = _version['count']
_names, _unsaved = list(_version['names']), list(_version['unsaved'])
_names += [_name for _name in _version['imports'] if _name in _fuzz.NAMES]
_is = _fuzz.Fingerprint.namespace(globals(), _names)
print('\\n' + _json.dumps({{'names': _names, 'unsaved': _unsaved, 'is': _is, 'count': _count}}))
"""


def plainly(seed: int, names: list[str], counts: set[int]) -> dict[int, list]:
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("plainly.py"), str(seed), ",".join(names), *map(str, counts)],
        capture_output=True, text=True, timeout=120, env={**os.environ, **HASHES},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return {int(count): found for count, found in json.loads(done.stdout.splitlines()[-1]).items()}


@pytest.mark.timeout(60 + 30 * ROUNDS)
def test_random_notebooks_killed_at_random_moments_come_back_as_they_were(tmp_path):
    """Some rounds also kill children that save: alone, after which the kernel goes on, or in one moment with the kernel."""
    rounds = []
    for seed in range(SEED, SEED + (ROUNDS + 2) // 3):
        try:
            rounds.append(one_notebook(seed, tmp_path))
        except Exception as err:
            err.add_note(f"LARDER_KILL_SEED={seed} LARDER_KILL_ROUNDS=1")
            raise
    busy = [r for r in rounds if r.busy]
    print(
        f"{len(rounds)} notebooks: {len(busy)} killed with states under way, {max(r.busy for r in rounds)} at most; "
        f"{sum(r.with_children for r in busy)} of these together with the children; children killed alone in "
        f"{sum(r.alone > 0 for r in rounds)} notebooks, {sum(r.alone for r in rounds)} of them; "
        f"states lost with a child in {sum(r.missing > 0 for r in rounds)}, and told"
    )
    wrong = [r.wrong for r in rounds if r.wrong]
    assert not wrong, f"{len(wrong)} of {len(rounds)} notebooks\n\n" + "\n\n".join(wrong)


def test_a_child_whose_end_is_noticed_while_the_next_cell_is_saved_does_not_bring_its_own_cell_back(tmp_path):
    """Cell 3's child is killed, cell 4 is saved, and so the kernel comes back from cell 4."""
    assert one_notebook(2040029, tmp_path).wrong == ""


def test_a_variable_that_is_a_module_comes_back_too(tmp_path):
    """`import math as v1` in cell 11, whose variables are compared with those of plain IPython like all others."""
    assert one_notebook(1060030, tmp_path).wrong == ""


@dataclasses.dataclass
class Round:
    """What happened to one notebook."""

    busy: int = 0
    """Children at work when the kernel was killed."""
    with_children: bool = False
    alone: int = 0
    """Children that were killed while the kernel went on."""
    missing: int = 0
    """Answered cells whose changes did not come back."""
    wrong: str = ""


def one_notebook(seed: int, tmp_path: Path) -> Round:
    done = Round()
    rng = random.Random(seed)
    sources = [PRELUDE, *cells(seed)]
    last = rng.randint(1, len(sources))  # the cell the kernel is killed in, or shortly after
    pause, group = rng.choice([0.0, 0.005, 0.05]) * rng.random(), rng.random() < 0.5
    # Drawn apart, so that a seed's notebook and moment stay what they were without these.
    rng = random.Random(f"children of {seed}")
    alone = rng.choice([0.0, 0.0, 0.3, 0.7])  # how often a child is killed, with the kernel going on
    done.with_children = rng.random() < 0.4
    unsaved_since: int | None = None  # the first of the cells whose states may have gone with a child
    notebook = f"random-{seed}.ipynb"
    with kernel(tmp_path, JPY_SESSION_NAME=notebook, **HASHES) as k:
        for at, source in enumerate(sources[: last - 1], 1):
            k.run(source, stop_on_error=False)
            # A cell saves first what was lost with a child before it.
            unsaved_since = None
            if rng.random() < alone:
                time.sleep(rng.choice([0.0, 0.01, 0.05]) * rng.random())
                killed = kill_all(children(k.pid, rng.random() < 0.5))
                done.alone += len(killed)
                unsaved_since = at if killed else None
        message = k.send(sources[last - 1], stop_on_error=False)
        time.sleep(pause)
        done.busy = len(children(k.pid))
        if done.with_children:
            os.kill(k.pid, signal.SIGSTOP)  # so that no child is forked between the looking and the killing
            found = children(k.pid)
            done.busy = len(found)
            os.kill(k.pid, signal.SIGKILL)
            kill_all(found)
        else:
            os.killpg(k.pid, signal.SIGKILL) if group else os.kill(k.pid, signal.SIGKILL)
        try:
            replied = last if k.reply(message, timeout=0.2) else last - 1
        except Exception:  # queue.Empty: it died first
            replied = last - 1
        k.km.shutdown_kernel(now=True)
    where = (
        f"LARDER_KILL_SEED={seed} LARDER_KILL_ROUNDS=1: {replied} of {last} cells replied, {done.alone} children killed "
        f"alone, the kernel {f'and {done.busy} children' if done.with_children else 'alone'}"
    )
    may_lose = (done.with_children and done.busy > 0) or unsaved_since is not None
    with kernel(tmp_path, JPY_SESSION_NAME=notebook) as k:
        k.ok("pass", silent=True)
        if k.text("import larder as _l; print(len(_l.session.log()))", silent=True).strip() == "0":
            told = k.text("pass")
            if replied == 0 or (may_lose and said_missing(told) == set(range(1, replied + 1))):
                done.missing = replied
                return done  # nothing was promised, or it was said that it is gone
            done.wrong = f"{where}: nothing came back, and what was said is {told!r}"
            return done
        back = json.loads(k.text(CAME_BACK, silent=True).splitlines()[-1])
        told = k.text("pass")
        k.km.shutdown_kernel(now=True)
    least = replied if not may_lose else 0
    expected = plainly(seed, back["names"], set(range(least, last + 1)))
    expected = {count: (of_any_process(found), live) for count, (found, live) in expected.items()}
    found_back = of_any_process(back["is"])
    same = {count: live for count, (found, live) in expected.items() if found == found_back and count == back["count"]}
    if not same:
        found, _ = expected.get(back["count"], expected[replied])
        done.wrong = f"{where}, came back {back['count']}: {difference(found_back, found)}"
        return done
    lost = [set(live) - {*back["names"], *back["unsaved"]} for live in same.values()]
    if all(lost):
        done.wrong = f"{where}: neither saved nor reported: {lost}"
    missing = set(range(back["count"] + 1, replied + 1))
    done.missing = len(missing)
    said = said_missing(told)
    if not missing <= said or not said <= set(range(back["count"] + 1, last + 1)):
        done.wrong = f"{where}: came back {back['count']}, missing {missing}, said {told!r}"
    return done


MODEL = re.compile(r"IPY_MODEL_[0-9a-f]{32}")
INTERFACE = {repr(key) for key in np.zeros(1).__array_interface__}


def of_any_process(told: dict) -> dict:
    """A fingerprint without what is another one in each process: widgets are numbered in the order in which they are met,
    instead of by their ids, and an array's interface has no address. All the rest stays as it is."""
    numbers: dict[str, int] = {}

    def masked(part):
        if isinstance(part, str):
            return MODEL.sub(lambda found: f"IPY_MODEL_{numbers.setdefault(found[0], len(numbers))}", part)
        if isinstance(part, dict):
            return {masked(key): masked(value) for key, value in part.items()}
        if not isinstance(part, list):
            return part
        if len(part) == 3 and part[0] == "dict" and isinstance(part[1], list):
            items = {item[0]: item for item in part[1] if isinstance(item[0], str)}
            if set(items) == INTERFACE and items["'data'"][1][0] == "tuple":
                address = items["'data'"][1][1]
                assert int(address) >= 0
                items["'data'"][1][1] = "an address"
        return [masked(item) for item in part]

    return masked(told)


@pytest.mark.parametrize("same", [True, False])
def test_the_comparison_overlooks_ids_and_addresses_and_nothing_else(same):
    def told(address, first, second, more="'<f8'"):
        interface = {**np.zeros(1).__array_interface__, "data": (0, False)}
        items = [[repr(key), "None"] for key in interface if key != "data"]
        box = ["VBox", [["children", ["list", [f"'IPY_MODEL_{first * 32}'", f"'IPY_MODEL_{second * 32}'"]]]]]
        data = ["'data'", ["tuple", str(address), "False"]]
        return {"a": ["dict", [data, *items], "None"], "b": box, "c": ["comm", f"IPY_MODEL_{first * 32}", more]}

    one = told(4096, "a", "b")
    if same:
        assert of_any_process(one) == of_any_process(told(8192, "c", "d"))
        return
    for other in (
        told(8192, "c", "c"),
        told(8192, "c", "d", "'<i8'"),
        told(4096, "a", "b") | {"c": ["comm", "'a'", "'<f8'"]},
    ):
        assert of_any_process(told(4096, "a", "b")) != of_any_process(other)
    swapped = told(8192, "c", "d")
    swapped["c"][1] = "IPY_MODEL_" + "d" * 32
    assert of_any_process(told(4096, "a", "b")) != of_any_process(swapped)
    plain = {"a": ["dict", [["'data'", ["tuple", "4096", "False"]]], "None"]}
    assert of_any_process(plain) == plain


def said_missing(told: str) -> set[int]:
    """The cells of which a new kernel says that their changes did not come back."""
    line = next((line for line in told.splitlines() if "not back: what" in line), "")
    return {int(count) for count in re.findall(r"\[(\d+)\]", line)}


def difference(a: dict, b: dict) -> list:
    return [(name, a.get(name), b.get(name)) for name in sorted({*a, *b}) if a.get(name) != b.get(name)]
