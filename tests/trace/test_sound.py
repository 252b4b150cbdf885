"""Programs that change the ground a compiled loop stands on: each behaves as without the optimiser, and did run natively."""

import gc
import sys
import textwrap

import pytest
from attacks import CASES
from compared import native_iterations, optimised_as_plain

import larder
import larder.optimiser

pytestmark = pytest.mark.skipif(not larder.optimiser.serves(), reason="the optimiser does not serve this CPython")


def run(source):
    space = {"__name__": "program"}
    exec(compile(textwrap.dedent(source), "<program>", "exec"), space)
    return space["run"]()


def both(source, at_least=100, hot=5):
    """The result of ``run()`` in ``source``, the same plain and optimised twice; asserts that machine code ran."""
    return optimised_as_plain(lambda: run(source), times=2, at_least=at_least, hot=hot)


def test_a_signal_ends_a_native_loop_at_once_with_all_it_has_done():
    result = both("""
        import signal, time
        class Alarm(Exception): pass
        def ring(*a): raise Alarm
        def run():
            signal.signal(signal.SIGALRM, ring)
            i = done = 0
            half = [0.0]
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.15)
                while True:
                    i += 1
                    half[0] = i / 2
                    done = i
            except Alarm:
                pass
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            return i - done <= 1, i * 0.5 - half[0] <= 0.5, i > 1000
        """)
    assert result == (True, True, True)


def test_a_signal_is_not_lost_while_a_native_loop_writes_numbers():
    """What writes an int sees to signals in CPython: in the middle of a trace a handler's exception would be lost."""
    source = """
        import signal

        class Rung(Exception): pass
        def ring(*_): raise Rung

        def count(limit):
            n = None
            for i in range(limit):
                s = f"{i}{n}{i}{i!r}{n!a}{i + 0.5}{i > 5}{i + 0.25!s}{i:x}{i:.2f}"
            return s

        def run():
            heard = 0
            signal.signal(signal.SIGALRM, ring)
            count(200)
            for k in range(40):
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.002 + k * 1e-5)
                    count(100_000_000)
                except Rung:
                    heard += 1
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            return heard
    """
    assert both(source) == 40


def test_other_threads_run_while_a_native_loop_waits_for_them():
    result = both("""
        import threading
        def run():
            flag, count, seen = [0], [0], []
            def other():
                waits = 0
                while count[0] < 50_000:
                    waits += 1
                for i in range(50_000):
                    if i % 10_000 == 0:
                        seen.append(i)
                flag[0] = 1
            thread = threading.Thread(target=other)
            thread.start()
            n = 0
            while flag[0] == 0:
                n += 1
                count[0] = n
            thread.join()
            return seen, n >= 50_000
        """)
    assert result == ([0, 10_000, 20_000, 30_000, 40_000], True)


def test_loops_in_generators_and_recursive_functions():
    both("""
        def numbers(n):
            t = 0
            for i in range(n):
                t += i * i
            yield t
            for i in range(n):
                t ^= i
                if i % 100 == 0:
                    yield t
        def depth(n):
            t = 0
            for i in range(60):
                t += i * n
            return t + (depth(n - 1) if n else 0)
        def run():
            return list(numbers(1000)), depth(40)
        """)


def test_a_tracer_switched_on_in_the_middle_sees_every_line_from_there():
    result = both("""
        import sys
        def run():
            events = []
            def tracer(frame, event, arg):
                events.append((event, frame.f_lineno))
                return tracer
            t = 0
            for i in range(400):
                t += i
                if i == 390:
                    sys._getframe().f_trace = tracer
                    sys.settrace(tracer)
                t ^= 5
            sys.settrace(None)
            return t, events
        """)
    assert len([e for e in result[1] if e[0] == "line"]) > 25


def test_the_optimiser_goes_on_after_a_debugger_has_gone():
    source = """
        def run():
            t = 0
            for i in range(3000):
                t += i & 7
            return t
        """
    larder.trace.enable(watch_all=True, hot=5)
    larder.trace.clear()
    try:
        expected = run(source)
        first = native_iterations()
        assert first > 1000
        sys.settrace(lambda *a: None)
        try:
            assert run(source) == expected
        finally:
            sys.settrace(None)
        during = native_iterations()
        assert run(source) == expected
        assert native_iterations() - during > 1000
    finally:
        larder.trace.clear()
        larder.trace.disable()


def test_names_deleted_and_rebound_while_a_loop_runs():
    both("""
        g = 3
        k = 2
        def change(i):
            global g, k
            if i == 300:
                k = 2.5
            if i == 400:
                k = 2**70
            if i == 600:
                del g
        def run():
            global g, k, len
            g, k = 3, 2
            t, out = 0, []
            try:
                for i in range(1000):
                    t = (t + g * k) % 1000
                    if i % 100 == 0:
                        change(i)
                        out.append(t)
            except NameError as error:
                out.append((str(error), error.__traceback__.tb_lineno, t))
            def len(x):
                return 7
            for i in range(200):
                t += len(out)
            del len
            for i in range(200):
                t += len(out)
            return out, t
        """)


def test_types_and_functions_changed_while_a_loop_runs():
    both("""
        def setup():
            global P, f
            class P:
                def __init__(self):
                    self.n = 1
                def step(self, k):
                    return self.n + k
            def f(x):
                return x + 1
        class Q:
            def __init__(self):
                self.n = 5
            def step(self, k):
                return -k
        def g(x):
            return x * 3
        def swap(i, p):
            global f
            if i == 200:
                P.step = lambda self, k: k * 2
            if i == 300:
                f.__code__ = g.__code__
            if i == 400:
                p.step = lambda k: 100
            if i == 500:
                del p.step
                P.n = property(lambda self: 9, lambda self, v: None)
            if i == 600:
                del P.n
                p.__class__ = Q
            if i == 700:
                p.__dict__["n"] = 77
            if i == 800:
                p.__dict__ = {"n": 1000}
            if i == 900:
                del p.n
        def run():
            setup()
            p, out, t = P(), [], 0
            try:
                for i in range(1000):
                    t += p.step(i) + f(i) + p.n
                    if i % 50 == 0:
                        swap(i, p)
                        out.append(t)
            except AttributeError as error:
                out.append(str(error))
            return out, t
        """)


def test_attributes_and_slots_deleted_while_a_loop_runs():
    both("""
        class P:
            def __init__(self):
                self.n = 1
        class S:
            __slots__ = ("n",)
            def __init__(self):
                self.n = 1
        def run():
            out = []
            for o in (P(), S()):
                t = 0
                try:
                    for i in range(600):
                        t += o.n
                        o.n = o.n + i % 3
                        if i == 500:
                            del o.n
                except AttributeError as error:
                    out.append((str(error), error.__traceback__.tb_lineno, i, t))
            return out
        """)


def test_objects_die_when_they_did_before():
    both("""
        class Loud:
            def __init__(self, name, log):
                self.name, self.log = name, log
            def __del__(self):
                self.log.append(self.name)
        def run():
            log, slots, last = [], [None] * 4, None
            for i in range(300):
                slots[i & 3] = i
                if i % 10 == 0:
                    slots[i & 3] = Loud(i, log)
                    log.append(-i)
                last = slots[(i + 1) & 3]
                log.append(i)
            slots = last = None
            return log
        """)


def test_lists_that_change_while_they_are_walked():
    both("""
        def run():
            out = []
            a = list(range(50))
            for x in a:
                if len(a) < 300:
                    a.append(x + 1)
                out.append(x)
            b = list(range(500))
            for i, x in enumerate(b):
                if i % 3 == 0 and len(b) > 200:
                    b.pop()
                out.append(x + i)
            n = 0
            for x, y in zip(a, b):
                n += x * y
                if n % 7 == 0 and len(b) > 100:
                    del b[-1]
            return out, n, a, b
        """)


def test_errors_inside_native_loops_have_their_lines():
    result = both("""
        def at(error):
            tb, lines = error.__traceback__, []
            while tb:
                lines.append(tb.tb_lineno)
                tb = tb.tb_next
            return type(error).__name__, str(error), lines
        def div(a, b):
            c = a + b
            return c // b
        def run():
            out = []
            d, L = {"a": 1}, [1, 2, 3]
            for kind in range(5):
                try:
                    for i in range(200):
                        x = 100 - i
                        if kind == 0:
                            y = div(i, x)
                        elif kind == 1:
                            y = L[i // 60]
                        elif kind == 2:
                            y = (1 << 40) * (x - i) ** 3 / x
                        elif kind == 3:
                            y = d["a" if i < 150 else "b"]
                        else:
                            y = "hello"[i // 30]
                except Exception as error:
                    out.append((at(error), i, x, y))
            return out
        """)
    assert len(result) == 5


def test_nothing_is_left_behind():
    source = """
        class P:
            def __init__(self):
                self.n, self.w = 0, 0.5
            def add(self, k):
                self.n += k
        def run():
            p, a, f, d = P(), list(range(1000)), [0.5] * 16, {"a": 1000, "b": 2.5}
            t, out = 0, []
            for i in range(2000):
                a[i % 1000] = a[(i + 1) % 1000] + 1000
                f[i & 15] = f[(i + 3) & 15] * 0.999 + i
                f[i & 3], f[5] = f[5], f[i & 3]
                p.add(i)
                p.w = p.w + i * 0.5
                d["a"] = i + 100000
                d["b"] = f[3]
                out.append(i * 1.5)
                t += p.n
            return t, sum(a), sum(f), p.n, p.w, d, len(out)
        """
    plain = run(source)
    larder.trace.enable(watch_all=True, hot=5)
    larder.trace.clear()
    try:
        counts = []
        for _ in range(12):
            assert run(source) == plain
            larder.trace.clear()
            gc.collect()
            counts.append(sys.getallocatedblocks())
        assert max(counts[4:]) - min(counts[4:]) < 300, counts
    finally:
        larder.trace.clear()
        larder.trace.disable()


@pytest.mark.parametrize("name", CASES)
def test_attack(name):
    both(CASES[name], at_least=0)


def test_sequences_only_the_loop_holds_die_when_it_ends():
    both("""
        class Loud:
            def __init__(self, log, name):
                self.log, self.name = log, name
            def __del__(self):
                self.log.append(self.name)
        def ends(make, log, n):
            t = 0
            for x in make([Loud(log, "ended"), *range(n)][1 if n < 100 else 0:]):
                t += 1
            log.append(("after", t))
        def breaks(make, log, n):
            t = 0
            for x in make([*range(n), Loud(log, "broken")]):
                if t > n - 3:
                    break
                t += 1
            log.append(("after", t))
        def returns(make, log, n):
            for i in range(5):
                for k, x in enumerate(make([*range(n), Loud(log, "left")])):
                    if k > n - 3:
                        log.append(k)
                        return k
        def nested(log, rows):
            for row in [[Loud(log, r), *range(r)] for r in rows]:
                t = 0
                for x in row:
                    t += 1
                log.append(t)
        def run():
            log = []
            for make in (list, tuple):
                for f in (ends, breaks, returns):
                    for n in (300, 10, 400, 200):
                        f(make, log, n)
                        log.append(f.__name__)
            nested(log, [50, 60, 70, 5, 80])
            return log
        """)


def test_what_one_pass_changed_is_kept_when_the_next_cannot_begin():
    # The second pass leaves before it begins: what does not change in the loop (t % 7) is looked at first.
    both(
        """
        TEXT = '''
        class P:
            def __init__(self, i):
                self.n = i
        class V(P):
            pass
        t, log, rows = 0, [], [P(0), V(1), P(2), P(3)]
        for i in range(60):
            for j in [1, 2, 3, 4, 5]:
                t += 1
                for row in rows:
                    if t % 7 == 3:
                        log.append(row)
        '''
        def run():
            space = {"__name__": "cell"}
            exec(compile(TEXT, "<cell>", "exec"), space)
            return [row.n for row in space["log"]]
        """,
        at_least=0,
        hot=3,
    )


def test_an_iterator_the_caller_holds_is_seen_to_move():
    both("""
        def walk(it, n):
            t = 0
            for x in it:
                t += x
                if x >= n:
                    return t
            return t
        def run():
            # Loops that own their iterators are compiled first.
            out = [walk(range(1000), 900), walk(list(range(1000)), 900)]
            for make in (lambda: iter(list(range(1000))), lambda: iter(range(1000)), lambda: iter(tuple(range(1000)))):
                it = make()
                out.append((walk(it, 300), next(it), walk(it, 600), next(it), walk(it, 5000), next(it, None)))
            pairs = enumerate(list(range(500)))
            t = 0
            for i, x in pairs:
                t += i * x
                if i == 300:
                    break
            out.append((t, next(pairs)))
            return out
        """)


def test_an_iterator_the_caller_holds_is_spent_for_all():
    # On 3.15 only the caller counts as an owner of `a`: the loop's stack entry borrows it.
    both(
        """
        def walk(a, n):
            t = 0
            for k in range(n):
                for x in a:
                    t += x
                t += 1
            return t
        def run():
            out = [walk(range(100), 3), walk(list(range(100)), 3)]
            for r in range(60):
                for make in (lambda: iter(range(200)), lambda: iter(list(range(200))), lambda: reversed(list(range(200)))):
                    it = make()
                    out.append((walk(it, 20), next(it, None)))
            return out
        """,
        at_least=0,
    )


def test_ranges_and_iterators_in_variables_are_objects():
    both(
        """
        def run():
            span, it, out = range(1000, 1200), iter(range(70_000, 70_100)), []
            for k in range(60):
                t = 0
                for x in span:
                    t += x
                for x in it:
                    t += x
                    if x % 10 == k % 10:
                        break
                out.append(t)
            return out, list(it)
        """,
        at_least=0,
    )


def test_arguments_are_whole_again_after_a_loop_that_replaced_them():
    both("""
        def work(a, b, n):
            for i in range(n):
                if i > n - 5:
                    a = [i]
                b = b + 1.5
            return a, b
        def run():
            big, half, out = [1, 2, 3], 2.5, []
            for n in (300, 200, 100):
                out.append((work(big, half, n), big, half))
            return out
        """)


def test_text_and_nested_sequences_are_walked():
    both("""
        def run():
            text, wide, n, out = "abc" * 300, "ab\\u0416" * 100, 0, []
            for c in text:
                if c == "b":
                    n += 1
            for c in wide:
                if c != "a":
                    n += 2
            for c in b"xyz" * 100:
                n += c
            rows = [list(range(k)) for k in range(60)]
            for row in rows:
                for x in row:
                    for y in (1, 2, x):
                        n += x * y
                out.append(n)
            return n, out, [c for c in text if c == "a"], tuple(x for row in rows for x in row)
        """)


@pytest.mark.skipif(sys.version_info < (3, 15), reason="lazy imports are 3.15's")
def test_a_lazy_import_is_done_by_the_loop_that_needs_it():
    both("""
        lazy import colorsys
        lazy import fractions
        def run():
            kept, n = None, 0
            for i in range(300):
                n += i
                if i == 200:
                    kept = colorsys
                if i > 250:
                    kept = fractions
                    n += fractions.Fraction(i, 1).numerator
            return n, kept.__name__, type(kept).__name__
        """)


def test_a_number_put_in_a_dict_stays_the_one_in_its_variable():
    # A side trace begins at the new key: it knows `b` from the stack only when the dict's object is made of it.
    both("""
        def last(n):
            a, b, t, held = 855, 1, 0, {i: i * 300 for i in range(5)}
            for k in range(n):
                held[a & 15] = b
                if t % 7 == 3:
                    t += 1
                place = a & 15
                a, b = b, (a + b) % 1000
            return held[place] is a, a, b, held
        def run():
            return [last(n) for n in range(2, 40)]
        """)


def test_places_of_a_loop_are_not_taken_for_objects():
    # On 3.15 the stack has the position in `text`, while owners of the swapped objects are looked for on it.
    both(
        """
        class P:
            def __init__(self, n):
                self.n = n
        def run():
            text, t, rows = "hello abcabd zz", 0, [P(1), P(2), P(3), P(4)]
            kept = list(rows)
            for i in range(200):
                for k in text:
                    t += 1
                    rows[0], rows[1] = rows[1], rows[0]
                rows[2], rows[3] = rows[3], rows[2]
            return t, [r.n for r in rows], len(kept)
        """,
        hot=3,
    )


def test_an_object_popped_for_the_last_time_dies_when_its_variable_is_overwritten():
    both("""
        class Loud:
            def __init__(self, name, log):
                self.name, self.log = name, log
            def __del__(self):
                self.log.append(-self.name)
        def run():
            log, held = [], []
            o = Loud(1, log)
            for i in range(2, 60):
                held.append(o)
                if i % 3 == 0:
                    o = Loud(i, log)
            for i in range(55):
                o = held.pop()
                log.append(i)
            return log
        """)


def test_a_list_that_only_its_iterator_held_beside_its_variable_dies_when_that_is_overwritten():
    both(
        """
        class Loud:
            def __init__(self, name, log):
                self.name, self.log = name, log
            def __del__(self):
                self.log.append(-self.name)
        def run():
            log, t = [], 0
            items = [None, None, 5, None]
            for i in range(200):
                x = items[t & 3] = Loud(1000 + i, log)
                for x in items:
                    t += 1
                items = [None, None, None, t]
                t += 1
                log.append(t)
            return log
        """,
        at_least=10,
    )


def test_a_loop_of_many_lines_is_met_and_its_line_told():
    # To ask for the line of each of its instructions on its own took half a minute for this one.
    size = 20_000
    body = "".join(f"        x += i\n        if x > {10**9 + k}: x = 0\n" for k in range(size))
    space = {}
    # The line of its condition, which is repeated at its end.
    source = f"def run(n):\n    x = i = 0\n    while (\n        i < n\n    ):\n        i += 1\n{body}    return x\n"
    exec(compile(source, "<long>", "exec"), space)
    larder.trace.clear()
    assert larder.trace.enable(watch_all=True, hot=3)
    try:
        assert space["run"](60) == size * 60 * 61 // 2
        (row,) = [row for row in larder.optimiser.loops() if row["file"] == "<long>"]
        assert row["line"] == 4
    finally:
        larder.trace.disable()


FORKS = """
import gc, os
def make(k):
    space = {}
    exec(f"def f(n):\\n    t = {k}\\n    for i in range(n):\\n        t += i * {k}\\n    return t\\n", space)
    return space["f"]
def run():
    told = []
    kept = [make(k) for k in range(1, 20)]
    want = [f(500) for f in kept]
    for turn in range(3):
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            # The child lets go of what was compiled, and compiles other loops.
            try:
                same = [f(500) for f in kept] == want
                del kept[:]
                gc.collect()
                more = [make(k) for k in range(100, 130)]
                same = same and [f(500) for f in more] == [k + 124750 * k for k in range(100, 130)]
                os.write(writing, b"same" if same else b"not the same")
            finally:
                os._exit(0)
        os.close(writing)
        # The parent runs, and compiles, at the same time.
        told += [[f(500) for f in kept] == want, make(turn + 50)(500)]
        told.append(os.read(reading, 100))
        os.close(reading)
        told += [os.waitpid(child, 0)[1], [f(500) for f in kept] == want, make(turn + 70)(500)]
    return told
"""


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_neither_runs_nor_writes_its_parents_machine_code():
    assert both(FORKS, at_least=5_000) == [
        part for turn in range(3) for part in (True, 124751 * (turn + 50), b"same", 0, True, 124751 * (turn + 70))
    ]


def test_what_an_iterator_gave_last_lives_until_it_gives_the_next():
    """`enumerate`, `zip` and the items of a dict give one tuple again and again, which owns what was in it last."""
    log = []

    class Loud:
        def __init__(self, k):
            self.k = k

        def __del__(self):
            log.append(-self.k)

    def taken():
        loud, numbers = [Loud(k) for k in range(1, 100)], [0.5, 1.5, 2.5]
        for k, v in enumerate(loud):
            v = None  # noqa: F841
            loud[k] = 5
            for _ in numbers:
                log.append(k)

    def last(it):
        t = None
        for k, _ in it:
            t = k
        _ = None
        log.append(("end", t))

    def run():
        log.clear()
        taken()
        last(enumerate([Loud(k) for k in range(60)]))
        last(zip(range(99), [Loud(k) for k in range(60)], strict=False))
        last(iter({k: Loud(k) for k in range(60)}.items()))
        return list(log)

    plain = run()
    larder.trace.optimise(watch_all=True, hot=3)
    try:
        for _ in range(4):
            assert run() == plain
        assert sum(row["native"] for row in larder.optimiser.loops()) > 100
    finally:
        larder.trace.disable()
