"""What exits write into the frame, beyond what most of them do."""

import subprocess
import sys

import pytest
from test_sound import both

import larder.optimiser

pytestmark = pytest.mark.skipif(not larder.optimiser.serves(), reason="the optimiser does not serve this CPython")


def test_a_loop_that_changes_more_variables_than_an_exit_has_room_for():
    names = [f"v{k}" for k in range(60)]
    body = "".join(f"        {name} = {name} + {k}\n" for k, name in enumerate(names, 1))
    source = (
        "def run():\n    told = []\n    for n in (3, 40, 41, 200, 1000):\n        told.append(many(n))\n    return told\n"
        f"def many(n):\n    {' = '.join(names)} = 5000\n    for i in range(n):\n{body}    return {', '.join(names)}, i\n"
    )
    assert both(source)[-1] == (*(5000 + 1000 * k for k in range(1, 61)), 999)


def test_numbers_that_several_variables_hold_are_one_object_after_the_loop_and_spoil_no_other():
    result = both("""
        def twice(n, kept):
            a = b = 1000
            x = y = 0.5
            for i in range(n):
                a = a + 700
                b = a
                x = x * 1.5
                y = x
                if i & 31 == 7:
                    kept.append((a, x))
            return a, b, x, y, a is b, x is y
        def run():
            kept, told = [], []
            for n in (50, 51, 60, 90, 130, 131, 132, 150):
                told.append(twice(n, kept))
                kept.append(told[-1][:2])
            return told, kept
        """)
    told, kept = result
    assert told[0][:2] == (36_000, 36_000) and all(end[4:] == (True, True) for end in told)
    assert kept[:3] == [(6_600, 0.5 * 1.5**8), (29_000, 0.5 * 1.5**40), (36_000, 36_000)]


CONVERT = """
import math
def convert(numbers):
    n = done = 0
    try:
        for x in numbers:
            n = HOW(x)
            n = 3
            done += 1
    except OverflowError:
        return n, done
def run():
    return [convert([1.5] * k + [float("inf")]) for k in (0, 20, 200, 300) for turn in range(6)]
"""


@pytest.mark.parametrize("how", ["int", "math.trunc", "math.floor", "math.ceil", "round"])
def test_a_conversion_raises_though_nobody_reads_what_it_gives(how):
    assert both(CONVERT.replace("HOW", how))[-1] == (3, 300)


LOUD = """
class Loud:
    def __init__(self, like): self.like = like
    def __hash__(self): return hash(self.like)
    def __eq__(self, other):
        told.append(other)
        return False
told = []
def in_set(n, where):
    for i in range(n):
        found = KEY in where
        found = i
def in_dict(n, where):
    for i in range(n):
        found = KEY in where
        found = i
def run():
    counts = []
    for k in range(12): in_set(100, OTHERS), in_dict(100, dict.fromkeys(OTHERS))
    for look, where in (in_set, {Loud(LIKE)}), (in_dict, {Loud(LIKE): 1}):
        look(240, where)
        counts.append(len(told))
        told.clear()
    return counts
"""


@pytest.mark.parametrize(
    ("key", "like", "others", "times"), [("i & 7", "7", "{1, 2, 3}", 30), ("'seven'", "'seven'", "{'one', 'two'}", 240)]
)
def test_a_programs_methods_compare_though_nobody_reads_the_outcome(key, like, others, times):
    source = LOUD.replace("KEY", key).replace("LIKE", like).replace("OTHERS", others)
    # Where a lookup comes by one place twice, it compares twice: that is up to the hash.
    assert all(count > 0 and count % times == 0 for count in both(source))


MADE = """
import resource
import larder
LIMIT = 2 << 30
resource.setrlimit(resource.RLIMIT_AS, (LIMIT, resource.RLIM_INFINITY))
assert larder.trace.enable(watch_all=True, hot=3)
names = [f"a{k}" for k in range(28)]
made = [f"        {name} = i * 300 + {k}" for k, name in enumerate(names)]
told = f"        told.append(({', '.join(names)}))"
lines = ["def run():", "    told = []", "    for i in range(90):", *made, told, "    return told"]
space = {}
exec("\\n".join(lines), space)
want = [tuple(i * 300 + k for k in range(28)) for i in range(90)]
for turn in range(4):
    assert space["run"]() == want
assert larder.trace.stats()["iterations_native"] > 90
"""


def test_a_tuple_of_many_new_numbers_takes_no_more_memory_to_record_than_it_has_items():
    # Not twice as much for each of its items: that would be 2**28 tuples.
    done = subprocess.run([sys.executable, "-X", "faulthandler", "-c", MADE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def test_an_object_that_only_some_ways_round_the_loop_replace_is_the_same_until_they_have():
    result = both("""
        def last(sizes, mark, stop):
            # The inner loop makes new numbers; the outer one leaves them alone. At the mark somebody else takes them.
            new, count, taken, other = 0.25, 1000, None, None
            for size in sizes:
                for k in range(size):
                    if size == stop:
                        return new, count, new is taken, count is other
                    new = k * 0.5 + 700.25
                    count = k + 2000
                    if k == mark:
                        taken, other = new, count
        def run():
            told = []
            for n in range(60):
                last([30, 25, 40, 33, 50] * 10, -1, 0)
            # Machine code begins behind the first pass of the inner loop, its last here, and leaves in the next one's first.
            for sizes in ([1, 9], [1, 9, 7], [1, 8, 9]):
                told.append(last(sizes, 0 if sizes[1] == 9 else -1, 9))
            return told
        """)
    assert result == [(700.25, 2000, True, True)] * 2 + [(703.75, 2007, False, False)]
