"""What exits write into the frame, beyond what most of them do."""

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
