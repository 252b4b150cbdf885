"""Programs of other sources as a kernel runs them: with its own thresholds, and with all that happens to its compiled loops.

Loops go round twenty times as often as their makers say, so that they are timed and judged before and after they are
compiled. Half of the batches (by seed) have the usual low threshold instead, and a timer whose handler, at any time between two
instructions, lets time pass for compiled loops (they settle, cool down and go), changes the room for machine
code (which is compacted, loops make room), or throws all of it away.

    python shaken.py FIRST_SEED COUNT [FORCE]       # compares plain and optimised runs
"""

import gc
import random
import re
import signal

import calls
import deaths
import kinds
from compared import again, command, compile_loops, differing

BY = 20
# Not those that recurse to the limit: a handler is one call more.
KINDS = "aliases drifting dying edges rebound rounds strange typed".split()


def make(seed):
    r = random.Random(f"shaken {seed}")
    number = r.randrange(10**9)
    k = r.randrange(len(KINDS) + 4)
    text = (
        kinds.make(KINDS[k], number)
        if k < len(KINDS)
        else deaths.make(number)
        if k == len(KINDS)
        else calls.make(number)
    )
    return longer(text)


def longer(text):
    """The program with loops that go round more often, and events as much later."""
    times = r"(20|40|45|60|70|90)\b"
    for before in (r"range\(", r"while i < ", r"\bi == (?=19|23|30|37)", r"\bcount\(", r"L \* "):
        text = re.sub(rf"({before})({times}|19|23|30|37|9|12|15)\b", lambda m: f"{m[1]}{int(m[2]) * BY}", text)
    return text


def observe(text):
    """As of `kinds`, and of `deaths` for theirs."""
    return deaths.observe(text) if text.startswith(deaths.PRELUDE[:30]) else kinds.observe(text)


def shake(r):
    """Begins to disturb what is compiled, for good."""
    import larder

    native = larder._larder

    def handler(number, frame, random=r.random, int=int, range=range):  # programs delete builtins
        k = random()
        if k < 0.6:
            for _ in range((1, 1, 2, 12)[int(4 * random())]):
                native.trace_tick()
        elif k < 0.97:
            native.trace_limit((4096, 16384, 1 << 20)[int(3 * random())])
        else:
            native.trace_clear()
        signal.setitimer(signal.ITIMER_REAL, (3e-5, 1e-4, 1e-3)[int(3 * random())])

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 1e-4)


def compare(first, count, force=0):
    gc.disable()
    r = random.Random(first)
    still = first // 100 % 2 == 0

    def start(force):
        if still:
            import larder

            assert larder.trace.enable(watch_all=True), larder.trace.stats()
            if force:
                larder._larder.trace_force(force)
        else:
            compile_loops(force)
            shake(r)

    programs = {seed: make(seed) for seed in range(first, first + count)}
    name = f"{'still' if still else 'shaken'} from seed {first}"
    try:
        return differing(name, programs, again(observe), force, busy=True, limits=(3, 120), start=start)
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)  # a handler about to run would set the timer once more
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    command(make, compare)
