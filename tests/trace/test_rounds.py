"""Short loops behind a longer one: each is one round, gone round as often as it takes, inside the longer loop's tree."""

import subprocess
import sys
import textwrap

import pytest

import larder.optimiser

pytestmark = pytest.mark.skipif(not larder.optimiser.serves(), reason="the optimiser does not serve this CPython")

START = """
import signal, sys, threading, time
import larder
def loops(source, n, **names):
    # What a function gives, plain and optimised, and the listing of its traces.
    code = compile("def run(n):\\n" + source, "rounds", "exec")
    def call():
        space = {"__name__": "rounds", **{k: v() for k, v in names.items()}}
        exec(code, space)
        return space["run"], space["run"](n), space
    larder.trace.disable()
    plain = call()[1]
    assert larder.trace.optimise(watch_all=True, hot=3)
    function, native, space = call()
    assert native == plain, (native, plain)
    return larder.trace.listing(function), function, space
"""


def run(program):
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", START + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-2000:]
    return done.stdout


def test_a_short_loop_behind_a_longer_one_is_one_round_of_one_trace():
    run('''
        source = """
            x, y = [0.5] * 5, [1.5, 2.5, 3.5, 4.5, 5.5]
            t = 0
            for i in range(n):
                for k in range(9): t += k
                for j in range(5): x[j] += 0.25 * y[j]
            return t, x, j, k
        """
        listing, _, _ = loops(source, 200)
        assert "into trace" in listing and "again trace" in listing, listing
        trace = listing.split("round and round")[1].split("again trace")[0]
        assert trace.count("replacef") == 1, listing
    ''')


def test_what_an_earlier_round_stored_is_read_back():
    run('''
        source = """
            t = 0
            for i in range(n):
                for k in range(9): t += k
                P.x = P.x + 1.0
                for j in range(4): P.x = P.x + F[j]; P.n = P.n + j
                for j in range(3): L[j + 1] = L[j] + 1
            return t, P.x, P.n, L
        """
        class Point:
            def __init__(self): self.x, self.n = 0.5, 700
        listing, _, _ = loops(source, 200, P=Point, F=lambda: [0.5, 2.0, -1.0, 4.0], L=lambda: [300, 1, 2, 3])
        assert listing.count("again trace") >= 2, listing
    ''')


def test_numbers_are_the_same_objects_after_rounds_as_before():
    run('''
        source = """
            out, q, r, t = [], 0.5, 0.5, 0
            for i in range(n):
                for k in range(9): t += k
                q = t * 0.5
                r = q
                for j in range(4): q = q + F[j]
                a = t + 1000
                b = a
                for j in range(3): L[j] = a
                for j in range(3): L[3] = b; b = b + 300
                out.append((q is r, a is L[0], a is L[2], b is L[3], b is a, r == t * 0.5))
            return out, q, r, a, b, L
        """
        loops(source, 120, F=lambda: [0.5, 2.0, -1.0, 4.0], L=lambda: [300, 1, 2, 3])
    ''')


def test_a_loop_that_was_short_and_is_long_now_hears_signals():
    run('''
        source = """
            t, m = 0, M
            for i in range(n):
                for k in range(9): t += k
                for j in range(m[i & 1]): t += 1
            return t
        """
        listing, function, space = loops(source, 200, M=lambda: [4, 5])
        assert "again trace" in listing, listing
        space["M"][1] = 1 << 40
        signal.signal(signal.SIGINT, signal.default_int_handler)  # who starts tests in the background ignores it
        threading.Timer(0.3, signal.raise_signal, [signal.SIGINT]).start()
        began = time.monotonic()
        try:
            function(10)
        except KeyboardInterrupt:
            assert time.monotonic() - began < 60
        else:
            raise AssertionError("not interrupted")
    ''')


def test_rounds_that_let_go_of_more_than_there_is_room_for():
    run('''
        source = """
            t, m = 0, M
            for i in range(n):
                for k in range(9): t += k
                for j in range(m[i & 1]):
                    F[j & 3] = q = j + 0.5
                    L[j & 3] = q
            return t, F, L, q
        """
        names = dict(M=lambda: [4, 5], F=lambda: [0.5, 2.0, -1.0, 4.0], L=lambda: [0.5, 2.0, -1.0, 4.0])
        listing, function, space = loops(source, 200, **names)
        assert "again trace" in listing, listing
        space["M"][1] = 50_001
        t, F, L, q = function(6)
        assert (t, q) == (216, 50000.5) and F == L == [50000.5, 49997.5, 49998.5, 49999.5], (t, q, F, L)
        assert all(a is b for a, b in zip(F, L)) and q is F[0]
        v = [float("2.25")]
        w = [v[0]]
        assert [sys.getrefcount(F[k]) for k in (1, 2, 3)] == [sys.getrefcount(v[0])] * 3
    ''')
