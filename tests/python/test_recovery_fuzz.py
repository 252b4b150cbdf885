# ruff: noqa: E501
"""Mutation fuzzing: what is recovered equals what was live, or it was said that it is not saved."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from recoveryfuzz import KINDS, WIDE, cells, probes

PROGRAMS = int(os.environ.get("LARDER_FUZZ_PROGRAMS", "120"))
FIRST = int(os.environ.get("LARDER_FUZZ_SEED", "0"))
BATCH = 40


def run(what: str, home: Path, seeds: range, program: str = "recoveryfuzz.py") -> dict:
    out = home / f"{what}.json"
    environment = dict(os.environ, LARDER_HOME=str(home), IPYTHONDIR=str(home / "ipython"), PYTHONFAULTHANDLER="1")
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name(program), what, out, *map(str, seeds)],
        env=environment, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    return {int(seed): row for seed, row in json.loads(out.read_text()).items()}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", [*range(FIRST, FIRST + PROGRAMS, BATCH), *([] if FIRST else [WIDE, KINDS])])
def test_a_recovered_notebook_equals_the_live_one(tmp_path, first):
    seeds = range(
        first, first + BATCH if first in (WIDE, KINDS) and not FIRST else min(first + BATCH, FIRST + PROGRAMS)
    )
    live, back = run("run", tmp_path, seeds), run("back", tmp_path, seeds)
    wrong = []
    given = sum(row["given"] for row in live.values())
    assert given or len(seeds) < 20, "some states are to be given to children that save others"
    brought_up = sum(row["brought up"] for row in live.values())
    assert brought_up or len(seeds) < 20 or os.environ.get("LARDER_FUZZ_BESIDE"), (
        "some states are to be brought up to date"
    )
    print(f"{given} states were given to children, {brought_up} were brought up to date between cells")
    for seed in seeds:
        a, b = live[seed], back[seed]
        lost = set(a["live"]) - set(a["before"]) - set(a["unsaved"])
        differ = [(when, name, a[when].get(name), b[when].get(name)) for when in ("before", "after")
                  for name in sorted({*a[when], *b[when]}) if a[when].get(name) != b[when].get(name)]  # fmt: skip
        if lost or differ:
            script = "\n".join(
                [
                    f"# seed {seed}",
                    *cells(seed)[seed >= WIDE :],  # without what all of a kind begin with
                    "# probes",
                    *(probes(seed) if differ and differ[0][0] == "after" else []),
                ]
            )
            wrong.append(f"{script}\nneither saved nor reported: {sorted(lost)}\n" + "\n".join(
                f"{when} {name}:\n  live {json.dumps(x)[:600]}\n  back {json.dumps(y)[:600]}" for when, name, x, y in differ[:2]))  # fmt: skip
    assert not wrong, f"{len(wrong)} of {len(seeds)} seeds\n\n" + "\n\n".join(wrong[:6])


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", [*range(FIRST, FIRST + PROGRAMS // 3, BATCH), *([] if FIRST else [WIDE])])
def test_what_is_checked_out_is_what_was_there(tmp_path, first):
    """Variables and what stands beside them, after `checkout` of any state, and on from there; and after the crash behind that."""
    seeds = range(first, first + BATCH)
    live, back = (run(what, tmp_path, seeds, "historyfuzz.py") for what in ("run", "back"))
    wrong = []
    for seed in seeds:
        was, now = live[seed]["before"], back[seed]["before"]
        lost = [
            f"{name} after the crash:\n  was {json.dumps(was.get(name))[:600]}\n  now {json.dumps(now.get(name))[:600]}"
            for name in sorted({*was, *now} - {*live[seed]["unsaved"]})
            if was.get(name) != now.get(name)
        ]
        if lost or live[seed]["wrong"]:
            wrong.append("\n".join([f"python historyfuzz.py show {seed}", *live[seed]["wrong"][:3], *lost[:3]]))
    assert sum(row["states"] for row in live.values()) > len(seeds) * 15
    assert not wrong, f"{len(wrong)} of {len(seeds)} seeds\n\n" + "\n\n".join(wrong[:6])
