"""Programs run plain and optimised: each has to do the same, and machine code has to run."""

import contextlib
import gc
import resource
import signal
import sys


class TooLong(BaseException):
    """A program that plain CPython does not finish either."""


def too_long(*_):
    raise TooLong


@contextlib.contextmanager
def at_most(seconds, busy=False):
    """What runs inside ends with `TooLong` when it takes longer; with ``busy`` its processor time counts."""
    number, timer = (signal.SIGPROF, signal.ITIMER_PROF) if busy else (signal.SIGALRM, signal.ITIMER_REAL)
    signal.signal(number, too_long)
    signal.setitimer(timer, seconds, 0.5 if busy else 0)
    try:
        yield
    finally:
        signal.setitimer(timer, 0)


def compile_loops(force=0):
    """Every loop is compiled from here on; with ``force``, what may leave a trace does so once, passed that often."""
    import larder

    if not larder.trace.enable(watch_all=True, hot=3):  # no assert: `-O` would leave it out
        raise AssertionError(larder.trace.stats())
    if force:
        larder._larder.trace_force(force)


def native_iterations():
    import larder.optimiser

    return sum(row["native"] for row in larder.optimiser.loops())


def optimised_as_plain(run, *, times, at_least=100, hot=5):
    """What ``run()`` gives, the same plain and, ``times`` times, optimised; asserts that machine code ran."""
    import larder.optimiser

    plain = run()
    larder.trace.enable(watch_all=True, hot=hot)
    larder.trace.clear()
    try:
        before = native_iterations()
        for _ in range(times):
            assert run() == plain
        assert native_iterations() - before >= at_least, [(r["line"], r["why"]) for r in larder.optimiser.loops()]
    finally:
        larder.trace.clear()
        larder.trace.disable()
    return plain


def differing(name, programs, runs, force=0, *, limits=(5, 60), times=3, busy=False, start=compile_loops, tell=None):
    """Runs programs (by seed) plain and, several times, optimised; prints those that differ, and how many.

    ``runs(program, times)`` makes that many runs and gives what was seen of each; plain and optimised from equally deep, for
    programs recurse to the limit. What takes longer than the first of ``limits`` (in seconds; of processor time if ``busy``) in
    plain Python, or all memory, or is not the same twice, is left out. ``tell`` makes the text printed of a program,
    of its plain run and of the one that differs.
    """

    def look(program, times, seconds):
        try:
            with at_most(seconds, busy):
                return list(runs(program, times))
        except TooLong:
            return ["does not end"]
        except MemoryError:
            return ["takes all memory"]

    # A program that wants more gets a MemoryError, and not the machine.
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, resource.RLIM_INFINITY))
    plain = {}
    for seed, program in programs.items():
        # Under one caller, as the optimised runs are: what a program does to its caller's frame the next run meets.
        first, *again = look(program, 2, 2 * limits[0])
        if again == [first] and first not in ("does not end", "takes all memory") and "MemoryError" not in str(first):
            plain[seed] = first
    start(force)
    bad = native = 0
    for seed, before in plain.items():
        found = [one for one in look(programs[seed], times + bool(force), limits[1]) if one != before]
        if found:
            bad += 1
            print(f"{seed} differs:\n{(tell or told)(programs[seed], before, found[0])}", flush=True)
        native = max(native, native_iterations())  # what is thrown away in between is no longer counted
    print(
        f"{name}: {len(plain)} programs ({len(programs) - len(plain)} left out: they do not end, or are not the same twice), "
        f"force {force}: {bad} differ; {native} iterations native", flush=True,
    )  # fmt: skip
    if native == 0:
        raise AssertionError("nothing was compiled, so nothing was compared")
    return bad


def differing_from(first, count, name, make, runs, force=0, **how):
    """`differing` for the programs that ``make`` makes of these seeds; the collector comes when they ask for it only."""
    gc.disable()
    programs = {seed: make(seed) for seed in range(first, first + count)}
    return differing(f"{name} from seed {first}", programs, runs, force, **how)


def again(observe):
    """The ``runs`` of `differing` for what looks at one run."""
    return lambda program, times: (observe(program) for _ in range(times))


def told(program, plain, found):
    return f"{program}\nplain     {plain}\noptimised {found}"


def command(show, compare):
    """What a source of random programs does when it runs: ``show SEED`` prints a program, ``FIRST COUNT [FORCE]`` compares."""
    arguments = [int(one) if one.isdigit() else one for one in sys.argv[1:]]
    if arguments[0] == "show":
        print(show(*arguments[1:]))
    elif compare(*arguments):
        sys.exit(1)
