"""What compiled loops know by its address (types, functions, modules, namespaces) dies when it does in plain CPython, and what
comes to lie at its address is not taken for it."""

import gc
import sys
import textwrap

import pytest
from compared import optimised_as_plain

import larder
import larder.optimiser

pytestmark = pytest.mark.skipif(not larder.optimiser.serves(), reason="the optimiser does not serve this CPython")

# What every program begins with: `told` is the order in which things die.
PRELUDE = """
import gc, random, sys, types, weakref
told = []
def tell(o, name):
    weakref.finalize(o, told.append, name).atexit = False
class Loud:
    def __init__(self, name): self.name = name
    def __del__(self): told.append(self.name)
"""


def run(source):
    space = {"__name__": "program"}
    exec(compile(textwrap.dedent(PRELUDE + textwrap.dedent(source)), "<program>", "exec"), space)
    out = space["run"]()
    gc.collect()
    return out, space["told"]


def both(source, at_least=100):
    """The result of ``run()`` and what was told, the same plain and optimised three times; asserts that machine code ran."""
    gc.collect()
    gc.freeze()  # these programs collect often, and what other tests have imported is of no interest
    try:
        return optimised_as_plain(lambda: run(source), times=3, at_least=at_least)
    finally:
        gc.unfreeze()


def test_a_class_dies_when_it_is_deleted():
    _, told = both("""
        def work(p, n):
            t = 0
            for i in range(n):
                p.n = p.n + i
                t += p.step(i)
            return t
        def run():
            out = []
            for k in range(6):
                class P:
                    held = Loud(("held", k))
                    def __init__(self): self.n = 0
                    def step(self, v): return self.n & 255
                tell(P, ("class", k))
                out.append(work(P(), 100))
                P.__init__ = None
                del P
                gc.collect()
                told.append(("collected", k))
            return out
        """)
    assert told.index(("held", 3)) < told.index(("collected", 3)) and told.index(("class", 3)) < told.index(
        ("collected", 3)
    )


def test_a_class_of_slots_without_cycles_dies_with_its_last_owner():
    both("""
        def work(items, n):
            t = 0
            for i in range(n):
                for p in items:
                    t += p.n
                    p.n = i
            return t
        def run():
            out = []
            for k in range(6):
                P = type("P", (), {"__slots__": ("n",), "mark": Loud(("mark", k))})
                tell(P, ("class", k))
                p = P()
                p.n = k
                out.append(work([p, p], 60))
                del P, p
                told.append(("deleted", k))
                gc.collect()
            return out
        """)


def test_a_function_dies_with_its_defaults_when_its_name_is_bound_anew():
    _, told = both("""
        def step(x): return x
        def work(n):
            t = 0
            for i in range(n):
                t += step(i)
            return t
        def run():
            global step
            out = []
            for k in range(6):
                def new(x, by=k, *, held=Loud(("default", k))): return x + by
                step = new
                del new
                tell(step, ("function", k))
                out.append(work(100))
                out.append(sys.getrefcount(step))
                step = len
                told.append(("bound anew", k))
            return out
        """)
    assert told[:3] == [("function", 0), ("default", 0), ("bound anew", 0)]


def test_a_method_replaced_in_its_class_dies_at_once():
    both("""
        class P:
            def __init__(self): self.n = 1
        def work(p, n):
            t = 0
            for i in range(n):
                t += p.step(i)
            return t
        def run():
            out = []
            p = P()
            for k in range(6):
                exec("def step(self, x, k=%d, held=None): return self.n + x + k" % k, globals())
                P.step = globals().pop("step")
                P.step.__defaults__ = (k, Loud(("held", k)))
                tell(P.step, ("method", k))
                out.append(work(p, 100))
                P.step = None
                told.append(("replaced", k))
            return out
        """)


def test_code_dies_when_its_function_gets_another():
    both("""
        def step(x): return x
        def work(n):
            t = 0
            for i in range(n):
                t += step(i)
            return t
        def run():
            out = []
            for k in range(8):
                space = {}
                exec("def f(x): return x * %d + 1" % k, space)
                step.__code__ = space.pop("f").__code__
                tell(step.__code__, ("code", k))
                out.append(work(100))
                step.__code__ = (lambda x: x).__code__
                told.append(("replaced", k))
            return out
        """)


def test_a_module_dies_with_its_names():
    _, told = both("""
        def work(m, n):
            t = 0
            for i in range(n):
                t += other.scale * i
            return t
        def run():
            global other
            out = []
            for k in range(6):
                other = types.ModuleType("other")
                other.scale, other.held = k, Loud(("held", k))
                if k & 1:
                    sys.modules["other"] = other
                tell(other, ("module", k))
                out.append(work(other, 100))
                sys.modules.pop("other", None)
                other = None
                told.append(("let go", k))
            return out
        """)
    assert told.index(("held", 4)) < told.index(("let go", 4))


@pytest.mark.parametrize("known", [False, True])
def test_the_namespace_of_a_function_dies_with_the_function(known):
    both(f"""
        SOURCE = '''
        def make():
            total = 0
            def f(x):
                return x + step + len(names)
            return f
        step = 1
        names = [1, 2]
        '''
        def work(f, n):
            t = 0
            for i in range(n):
                t += f(i)
            return t
        def run():
            out = []
            for k in range(6):
                space = {{"__name__": "made", "held": Loud(("held", k))}}
                if {known}:
                    module = types.ModuleType("made")
                    module.__dict__.update(space)
                    space = module.__dict__
                    sys.modules["made"] = module
                exec(SOURCE, space)
                f = space["make"]()
                out.append(work(f, 100))
                space.pop("make")
                module = space = None
                sys.modules.pop("made", None)
                told.append(("let go of the space", k))
                f = None
                told.append(("let go of the function", k))
            return out
        """)


def test_the_namespace_a_loop_itself_runs_in_dies_when_it_is_let_go():
    both("""
        CODE = compile('''
        def step(x): return x + scale
        t = 0
        for i in range(100):
            t += step(i)
        ''', "<loop>", "exec")
        def run():
            out = []
            for k in range(8):
                space = {"scale": k, "held": Loud(("held", k))}
                exec(CODE, space)
                out.append(space["t"])
                del space["step"]
                space = None
                told.append(("let go", k))
            return out
        """)


def test_a_generator_of_random_numbers_dies_with_its_last_owner():
    both("""
        def work(n):
            t = 0.0
            for i in range(n):
                t += draw()
            return t
        def run():
            global draw
            out = []
            for k in range(6):
                r = random.Random(k)
                r.held = Loud(("held", k))
                tell(r, ("generator", k))
                draw = r.random
                del r
                out.append((work(100), sys.getrefcount(draw.__self__)))
                draw = None
                told.append(("let go", k))
            return out
        """)


def test_what_comes_to_lie_at_the_address_of_a_dead_class_is_not_taken_for_it():
    addresses, _ = both("""
        def work(p, n):
            t = 0
            for i in range(n):
                t += p.step(i) + p.n
            return t
        def run():
            out, seen, again = [], set(), 0
            for k in range(40):
                P = type("P", (), {"__init__": lambda self, k=k: setattr(self, "n", k),
                                   "step": (lambda self, x: x * 3) if k % 2 else (lambda self, x: x + self.n)})
                again += id(P) in seen
                seen.add(id(P))
                out.append((k, work(P(), 40)))
                P.__init__ = P.step = None
                del P
                gc.collect()
            assert again, "no address was used again"
            return out
        """)
    assert len(addresses) == 40


def test_what_comes_to_lie_at_the_address_of_dead_functions_and_namespaces_is_not_taken_for_them():
    both("""
        CODE = compile('''
        def add(x): return x + scale
        def sub(x): return x - scale
        ''', "<made>", "exec")
        def work(n):
            t = 0
            for i in range(n):
                t += call(i) + other(i)
            return t
        def run():
            global call, other
            out, seen, again = [], set(), 0
            for k in range(60):
                space = {"scale": k, "__name__": "made"}
                exec(CODE, space)
                call, other = space["add"], space["sub"]
                if k % 3 == 0:
                    call, other = other, call
                if k % 5 == 0:
                    space["scale"] = k / 2
                again += id(call) in seen or id(other) in seen or id(space) in seen
                seen.update((id(call), id(other), id(space)))
                out.append(work(30))
                call = other = None
                space.clear()
                del space
            assert again, "no address was used again"
            return out
        """)


def test_what_comes_to_lie_at_the_address_of_dead_modules_and_methods_is_not_taken_for_them():
    both("""
        def work(n):
            t = 0
            for i in range(n):
                t += m.scale * i
                t += int(draw() * 1000)
            return t
        def run():
            global m, draw
            out, seen, again = [], set(), 0
            for k in range(40):
                m = types.ModuleType("m")
                m.scale = k if k % 4 else k / 3
                draw = random.Random(k).random
                again += id(m) in seen or id(draw) in seen or id(m.__dict__) in seen
                seen.update((id(m), id(draw), id(m.__dict__)))
                out.append(work(30))
                m = draw = None
            assert again, "no address was used again"
            return out
        """)


def test_a_class_whose_finalizers_run_loops_while_it_is_collected():
    both("""
        def work(p, n):
            t = 0
            for i in range(n):
                t += p.step(i)
            return t
        def run():
            out = []
            for k in range(12):
                class P:
                    def __init__(self): self.me = self; self.n = k
                    def step(self, x): return self.n + x
                    def __del__(self): told.append((k, work(self, 60)))
                P.one = P()
                out.append(work(P.one, 60))
                tell(P, ("class", k))
                del P
                gc.collect()
                Q = type("P", (), {"step": lambda self, x: x * k})
                out.append(work(Q(), 60))
                del Q
                gc.collect()
            return out
        """)


def test_what_is_seen_from_within_a_weak_references_callback():
    both("""
        def work(p, n):
            t = 0
            for i in range(n):
                t += p.step(i)
            return t
        def run():
            out, refs = [], []
            for k in range(6):
                class P:
                    def step(self, x): return x + k
                class Q:
                    def step(self, x): return x - k
                q = Q()
                refs.append(weakref.ref(P, lambda r, k=k, q=q: told.append((k, work(q, 60)))))
                out.append(work(P(), 60))
                del P
                gc.collect()
                told.append(("collected", k))
            return out
        """)


def test_a_class_dies_in_the_loop_that_was_compiled_for_it():
    both("""
        def work(items, n):
            t = 0
            for i in range(n):
                p = items[i % len(items)]
                t += p.n
                if i == 70:
                    p = None
                    del items[0]
                    told.append("deleted")
            return t
        def run():
            out = []
            for k in range(5):
                P = type("P", (), {"__slots__": ("n",)})
                Q = type("Q", (), {"__slots__": ("n",)})
                tell(P, ("P", k))
                items = [P(), Q()]
                items[0].n, items[1].n = k, 3
                del P, Q
                out.append(work(items, 200))
            return out
        """)


def test_nothing_is_kept_by_trees_that_are_gone():
    source = """
        def work(p, n):
            t = 0
            for i in range(n):
                t += p.step(i)
            return t
        def run():
            for k in range(20):
                class P:
                    def step(self, x): return x + k
                work(P(), 30)
            return len(gc.get_objects()) and 0
        """
    larder.trace.enable(watch_all=True, hot=5)
    try:
        blocks, objects = [], []
        for _ in range(12):
            run(source)
            larder.trace.clear()
            gc.collect()
            blocks.append(sys.getallocatedblocks())
            objects.append(len(gc.get_objects()))
        assert max(blocks[4:]) - min(blocks[4:]) < 300, blocks
        assert max(objects[4:]) - min(objects[4:]) < 20, objects
    finally:
        larder.trace.clear()
        larder.trace.disable()


@pytest.mark.parametrize("made", ["[i, i + 1, 3]", "[1, 2, 5]", "all[1:5]", "[i, i][0:2]", "[(i, i + 1), 3]"])
@pytest.mark.parametrize("where", ["local", "global", "kept"])
def test_a_list_made_in_a_loop_is_the_collectors_afterwards(made, where):
    store = "box.append({})" if where == "kept" else "last = {}"
    found, told = both(f"""
        box = []
        def run():
            {"global last" if where == "global" else "last = None"}
            all, out = list(range(9)), []
            for times in (30, 100, 300):
                for i in range(times): {store.format(made)}
                o = Loud(times)
                o.mine = {"box[-1]" if where == "kept" else "last"}
                out.append(gc.is_tracked(o.mine))
                o.mine.append(o)
                o = last = None
                box.clear()
                gc.collect()
                told.append("looked")
            return out
    """)
    assert found == [True] * 3
    assert told == [30, "looked", 100, "looked", 300, "looked"]
