"""Runs inside the machine: a notebook whose states are saved by forked children, and what it has after the last reset.

The shell is this file's own, around larder's real recorder: it runs code in ``__main__`` and calls the hooks a kernel calls.
"""

import os
import random
import sys
import time
import types

sys.path.insert(0, "/")
import numpy as np

from larder import hooks, recovery

BEGIN = """
import numpy as np
step = 0; trail = []; shared = {'trail': trail}; big = np.zeros(300_000); half = big[150_000:]
class Slow:
    home = None
    def __init__(self, step): self.step = step
    def __reduce__(self):
        import os, time
        if os.getpid() != Slow.home: time.sleep(0.3)
        return Slow, (self.step,)
slow = Slow(0)
"""
STEP = "step += 1; big[:] = step; half[step] = -step; trail.append(step); slow = Slow(step)"


class Shell:
    def __init__(self, space):
        self.user_ns, self.user_ns_hidden, self.execution_count = space, dict(space), 1
        of = types.SimpleNamespace
        self.history_manager = of(input_hist_raw=[""], input_hist_parsed=[""])
        # What a notebook can set of its shell: nothing here.
        self.extension_manager, self.magics_manager, self.config = of(loaded=set()), of(registry={}, magics={}), {}
        self.ast_node_interactivity, self.call_pdb, self.InteractiveTB = "last_expr", False, of(mode="Context")
        plain = of(float_precision="", type_printers={}, deferred_printers={})
        self.display_formatter = of(formatters={"text/plain": plain})

    def run_cell(self, code):
        info = types.SimpleNamespace(raw_cell=code, silent=False)
        hooks.ahead(code)
        hooks._run(hooks.BEFORE, self, info)
        exec(code, self.user_ns)
        count, self.execution_count = self.execution_count, self.execution_count + 1
        hooks._run(hooks.AFTER, self, types.SimpleNamespace(info=info, execution_count=count))
        hooks.replied()
        return count


def mixed(space):
    """What does not belong to one step; empty if all does."""
    step, big, half = space["step"], space["big"], space["half"]
    expected = np.full(300_000, float(step))
    if step:
        expected[150_000 + step] = -step
    wrong = [] if np.array_equal(big, expected) else ["big"]
    wrong += [] if np.shares_memory(big, half) else ["half"]
    wrong += [] if space["trail"] == list(range(1, step + 1)) else ["trail"]
    wrong += [] if space["shared"]["trail"] is space["trail"] else ["shared"]
    return wrong + ([] if space["slow"].step == step else ["slow"])


def main():
    space = sys.modules["__main__"].__dict__
    ip = Shell(space)
    recovery.start(ip, "reset")
    rec = recovery.recorder()
    steps = {}
    if rec.meta["versions"]:
        ip.run_cell("pass")
        wrong = mixed(space)
        print(f"GUEST BACK {space['step']}" if not wrong else f"GUEST MIX {space['step']} {wrong}", flush=True)
    else:
        ip.run_cell(BEGIN)
        print("GUEST FRESH", flush=True)
    ip.run_cell(f"Slow.home = {os.getpid()}")
    rec.drain()
    print(f"GUEST DURABLE {space['step']}", flush=True)
    chance = random.Random(space["step"])
    while True:
        print(f"GUEST CELL {space['step'] + 1}", flush=True)
        steps[ip.run_cell(STEP)] = space["step"]
        print(f"GUEST REPLIED {space['step']} UNDERWAY {len(rec.savers)}", flush=True)
        until = time.monotonic() + chance.choice([0.0, 0.2, 1.0])
        while True:
            rec.behind()
            if rec._last["count"] in steps:
                print(f"GUEST DURABLE {steps[rec._last['count']]}", flush=True)
            if time.monotonic() >= until:
                break
            time.sleep(0.1)


main()
