# ruff: noqa: E501
"""Kinds of objects of which pickle alone would bring back something else: they come back as they were, or it is said."""

import collections
import os
import pickle
import random
import re
import signal
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kernelfixtures import kernel, of, text

import larder
from larder import groups, pickled, subclasses, watch
from larder._larder import Walker, pages_begin

ROOT = Path(__file__).parents[2]


class Items(tuple):
    def __new__(cls, *items):
        return super().__new__(cls, items)


class Joined(str):
    def __new__(cls, left, right):
        return super().__new__(cls, left + right)


class Frozen(frozenset):
    __slots__ = ("more",)

    def __new__(cls, *items):
        return super().__new__(cls, items)


class Set(set):
    def __init__(self, *items):
        super().__init__(items)
        self.note = {}


class Queue(collections.deque):
    def __init__(self, items=(), maxlen=7):
        super().__init__(items, maxlen)
        self.tag = ["queue"]


class Made(collections.defaultdict):
    def __init__(self, *more):
        super().__init__(list, *more)
        self.made = []

    def __missing__(self, key):
        self.made.append(key)
        self[key] = value = [key]
        return value


class Counts(dict):
    def __init__(self, tag):
        super().__init__()
        self.tag, self.stores = tag, 0

    def __setitem__(self, key, value):
        self.stores += 1
        super().__setitem__(key, value)


class Doubles(list):
    def append(self, item):
        super().append(item * 2)

    def extend(self, items):
        raise AssertionError("nobody asked for this")


class Order(collections.OrderedDict):
    def __init__(self, tag):
        super().__init__()
        self.tag = tag


class Failure(ValueError):
    def __init__(self, code, more):
        super().__init__(code)
        self.more = more


class Rng(random.Random):
    def __init__(self, seed):
        super().__init__(seed)
        self.drawn = []


def again(values):
    """What comes back of these variables, as one namespace; and what is refused."""
    found, refused = groups.groups(values)
    back = {}
    for one in found:
        back.update(pickle.loads(one.stream, buffers=[memoryview(bytearray(part)) for part in one.buffers]))
    return back, refused


def items_of_itself():
    one = Items([1], 2)
    one.me = one
    return one


def set_of_itself():
    one = Set(1, 2)
    one.note["me"] = one
    return one


def counts():
    one = Counts("x")
    one["a"] = 1
    one["a"] = 2
    return one


def doubles():
    one = Doubles()
    one.append(3)
    return one


def ordered():
    one = Order("t")
    one["z"], one["y"] = 1, 2
    one.move_to_end("z")
    return one


def joined():
    one = Joined("a", "b")
    one.k = [1]
    return one


def frozen():
    one = Frozen(1, 2)
    one.more = [3]
    return one


def counter():
    one = collections.Counter("aab")
    one.tag = [1]
    return one


def made():
    one = Made()
    one[5]
    return one


# What is made, what of it has to be the same, and a change.
KINDS = {
    "tuple": (items_of_itself, lambda x: [list(x), x.me is x], lambda x: setattr(x, "new", 1)),
    "str": (joined, lambda x: [x + "", x.k], lambda x: x.k.append(1)),
    "frozenset": (frozen, lambda x: [sorted(x), x.more], lambda x: x.more.append(1)),
    "set": (set_of_itself, lambda x: [sorted(x), x.note["me"] is x], lambda x: x.add(9)),
    "deque": (lambda: Queue([1, [2]]), lambda x: [list(x), x.maxlen, x.tag], lambda x: x.rotate(1)),
    "defaultdict": (made, lambda x: [dict(x), x.made, x.default_factory, x[6], x.made], lambda x: x.made.append(1)),
    "dict": (counts, lambda x: [dict(x), x.tag, x.stores], lambda x: x.__setitem__("a", 3)),
    "list": (doubles, list, lambda x: x.append(1)),
    "OrderedDict": (ordered, lambda x: [list(x.items()), x.tag], lambda x: x.move_to_end("y")),
    "exception": (lambda: Failure(1, [2]), lambda x: [x.args, x.more], lambda x: x.more.append(1)),
    "Random": (lambda: Rng(3), lambda x: [x.random(), x.drawn], lambda x: x.drawn.append(1)),
    "its own Random": (lambda: random.Random(4), lambda x: [x.gauss(0, 1), vars(x)], lambda x: setattr(x, "tag", 1)),
    "Counter": (counter, lambda x: [dict(x), x.tag], lambda x: x.tag.append(1)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_instance_of_a_class_derived_from_a_container_or_a_value_comes_back_as_it_was(kind):
    make, look, change = KINDS[kind]
    live = make()
    back, refused = again({"x": live, "alias": [live]})
    assert not refused and type(back["x"]) is type(live) and back["alias"][0] is back["x"]
    assert look(back["x"]) == look(live)
    walker = Walker(watch.classify, watch.Registries())

    def digest():
        pages_begin()
        walker.begin()
        return walker.walk(live, True).digest

    before = digest()
    assert digest() == before
    change(live)
    assert digest() != before


@pytest.mark.parametrize("kind", [bool, OSError, collections.Counter, collections.UserDict, random.SystemRandom, type("D", (dict,), {}),
                                  collections.namedtuple("P", "a b"), type("E", (OSError,), {"__init__": lambda self: None})])  # fmt: skip
def test_classes_that_pickle_knows_are_left_to_it(kind):
    assert (subclasses.base_of(kind) is None) == (kind is not collections.Counter and kind is not random.SystemRandom)


@pytest.mark.parametrize("hidden", [True, False])
def test_frames_share_memory_again_where_pandas_does_not_hide_it(monkeypatch, hidden):
    """Before pandas 3 a store into one of them is seen in the other: they are one group, whose arrays are views of one."""
    assert pickled.copies_on_write()
    monkeypatch.setattr(pickled, "copies_on_write", lambda: hidden)
    frame = pd.DataFrame(np.arange(12.0).reshape(4, 3), columns=list("abc"))
    column, part = frame["b"], frame.iloc[1:3]
    walker = Walker(watch.classify, watch.Registries())
    pages_begin()
    walker.begin()
    values = {"frame": frame, "column": column, "part": part}
    walked = {name: walker.walk(one, True) for name, one in values.items()}
    found, refused = groups.groups(values, {}, walked)
    together = sorted(one.names for one in found)
    # The frame and its part have one index of columns.
    assert not refused and together == ([["column"], ["frame", "part"]] if hidden else [["column", "frame", "part"]])
    back, _ = again(values)
    assert all(back[name].equals(values[name]) for name in values)


class Pandas2:
    """What is asked of pandas."""

    __version__ = "2.2.3"


def test_pandas_before_its_version_3_hides_nothing_unless_asked_to(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", Pandas2)
    assert not pickled.copies_on_write()  # of 1.4, which has no such option
    for asked, told in (("warn", False), (False, False), (True, True)):
        Pandas2.options = types.SimpleNamespace(mode=types.SimpleNamespace(copy_on_write=asked))
        assert pickled.copies_on_write() == told


@pytest.fixture(scope="module")
def torch_run(tmp_path_factory):
    """Runs a program in a Python that has torch, with the larder under test."""
    done = subprocess.run([ROOT / "scripts" / "ensure-torch.sh"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    python = done.stdout.split()[-1]
    folder = tmp_path_factory.mktemp("torch")
    (folder / "larder").symlink_to(Path(larder.__file__).parent)

    def run(code):
        env = {**os.environ, "PYTHONPATH": str(folder)}
        done = subprocess.run([python, "-c", TORCH + code], capture_output=True, text=True, env=env, timeout=100)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


TORCH = """
import pickle, torch
from larder import groups
def again(**values):
    found, refused = groups.groups(values)
    back = {}
    for one in found:
        back.update(pickle.loads(one.stream, buffers=[memoryview(bytearray(part)) for part in one.buffers]))
    return back, refused, sorted(one.names for one in found)
"""


def test_options_of_torch_are_set_again(torch_run):
    torch_run("""
from larder.surroundings import LIBRARIES
options = LIBRARIES["(torch options)"]
first = options.read(torch)
torch.set_default_dtype(torch.float64); torch.use_deterministic_algorithms(True)
meta = hasattr(torch, 'set_default_device')
if meta: torch.set_default_device('meta')
torch.set_grad_enabled(False); torch.set_num_threads(1); torch.set_printoptions(precision=2, sci_mode=False)
then = options.read(torch)
back, refused, _ = again(options=then)
options.set(torch, first)
assert options.read(torch) == first and torch.zeros(1).device.type == 'cpu'
options.set(torch, back["options"])
assert not refused and options.read(torch) == then and not torch.is_grad_enabled() and torch.get_num_threads() == 1
assert torch.zeros(1).dtype is torch.float64 and torch.are_deterministic_algorithms_enabled() and torch.zeros(1).is_meta is meta
assert "1.23" in repr(torch.tensor([1.2345], device='cpu')) and "1.234" not in repr(torch.tensor([1.2345], device='cpu'))
""")


def test_tensors_keep_gradients_attributes_and_the_storage_they_share(torch_run):
    torch_run("""
t = torch.arange(10.); far = t[6:]; even = t[::2]
p = torch.nn.Parameter(torch.ones(3)); (p * 2).sum().backward(); p.note = [1]
leaf = torch.ones(2, requires_grad=True); leaf.sum().backward()
z = torch.tensor([1+2j, 3]); c = z.conj()
back, refused, names = again(t=t, far=far, even=even, p=p, g=p.grad, leaf=leaf, z=z, c=c, empty=torch.zeros(0), other=torch.zeros(0))
assert not refused and sorted(names) == [["c", "z"], ["empty"], ["even", "far", "t"], ["g", "p"], ["leaf"], ["other"]], (refused, names)
back["t"][8] = 77
assert back["far"][2] == 77 and back["even"][4] == 77 and back["even"].stride() == (2,)
assert type(back["p"]) is torch.nn.Parameter and back["p"].grad is back["g"] and back["g"].tolist() == [2, 2, 2] and back["p"].note == [1]
assert back["leaf"].grad.tolist() == [1, 1] and back["leaf"].requires_grad
back["empty"].resize_(4); back["t"].resize_(100)
assert back["other"].numel() == 0
back["z"][0] = 7+1j
assert back["c"].is_conj() and back["c"].tolist() == [7-1j, 3-0j]
""")


def test_a_model_and_its_optimiser_come_back_as_one(torch_run):
    torch_run("""
net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)); net[1].weight = net[0].weight
opt = torch.optim.Adam(net.parameters(), lr=0.1)
def step(net, opt):
    opt.zero_grad(); loss = net(torch.ones(1, 2)).pow(2).sum(); loss.backward(); opt.step(); return loss.item()
step(net, opt)
net(torch.ones(1, 2)).sum().backward()  # killed between the two
back, refused, names = again(net=net, opt=opt, w=net[0].weight.data)
assert not refused and names == [["net", "opt", "w"]]
b = back["net"]
assert b[0].weight is b[1].weight and b[0].weight.data_ptr() == back["w"].data_ptr() and back["opt"].param_groups[0]["params"][0] is b[0].weight
opt.step(); back["opt"].step()
assert [step(net, opt) for _ in range(4)] == [step(b, back["opt"]) for _ in range(4)]
""")


def test_what_of_tensors_would_be_lost_is_said(torch_run):
    said = torch_run("""
w = torch.ones(2, requires_grad=True); t = torch.arange(4.)
hooked = torch.ones(1, requires_grad=True); hooked.register_hook(lambda g: g)
back, refused, names = again(loss=[(w * 2).sum()], kept=(w * 2).detach(), hooked=hooked, t=t, a=t.numpy(), w=w)
print(*(f"{name}: {why}" for name, why in sorted(refused.items())), sep="\\n"); print(names)
""").splitlines()
    assert said[0].startswith("a: shares memory with `t`")
    assert said[1].startswith("hooked: torch.Tensor (has hooks of autograd")
    assert said[2].startswith("loss: loss[0]: torch.Tensor (") and "detach" in said[2]
    assert said[3] == "[['kept'], ['t'], ['w']]"


def moved(k, comm_id, value):
    """What a page sends when its slider is moved."""
    data = {"method": "update", "state": {"value": value}, "buffer_paths": []}
    k.kc.shell_channel.send(k.kc.session.msg("comm_msg", {"comm_id": comm_id, "data": data}))


def test_a_descriptor_that_its_class_does_not_give_by_its_name():
    own = types.FunctionType.__dict__
    (one,), refused = groups.groups({"n": [own["__dict__"], own["__code__"]]})
    back = pickle.loads(one.stream, buffers=one.buffers)["n"]
    assert not refused and back[0] is own["__dict__"] and back[1] is own["__code__"]


def test_widgets_are_on_the_page_again_and_follow_it(tmp_path):
    make = """
import ipywidgets as W
w = W.IntSlider(3); seen = []; w.observe(lambda change: seen.append(change['new']), 'value'); box = W.VBox([w]); print(w.model_id)
"""
    with kernel(tmp_path, JPY_SESSION_NAME="widgets.ipynb") as k:
        comm_id = k.text(make).strip()
        moved(k, comm_id, 7)
        k.ok("v = w.value, list(seen)")
        os.kill(k.pid, signal.SIGKILL)
        k.km.shutdown_kernel(now=True)
    with kernel(tmp_path, JPY_SESSION_NAME="widgets.ipynb") as k:
        messages = k.ok("print(v, box.children[0] is w)")
        assert text(messages).endswith("\n(7, [7]) True\n")
        opened = {m["content"]["comm_id"]: m["content"]["data"]["state"] for m in of(messages, "comm_open")}
        assert opened[comm_id]["value"] == 7 and opened[comm_id]["_model_name"] == "IntSliderModel"
        order = list(opened)
        assert order.index(opened[comm_id]["layout"].removeprefix("IPY_MODEL_")) < order.index(comm_id)
        assert [n for n in order if opened[n]["_model_name"] == "VBoxModel"] == order[-1:], (
            "what it is made of comes first"
        )
        assert comm_id in k.ask("comm_info")["comms"]
        moved(k, comm_id, 9)
        assert k.text("print(w.value, seen, box.children[0].value)") == "9 [7, 9] 9\n"
        sent = of(k.ok("w.value = 12"), "comm_msg")
        assert [m["content"]["comm_id"] for m in sent] == [comm_id] and sent[0]["content"]["data"]["state"] == {
            "value": 12
        }
        os.kill(k.pid, signal.SIGKILL)
        k.km.shutdown_kernel(now=True)
    with kernel(tmp_path, JPY_SESSION_NAME="widgets.ipynb") as k:
        assert k.text("print(w.value, seen)").endswith("\n12 [7, 9, 12]\n")
        k.ok("w.unobserve_all(); late = []; w.observe(lambda change: late.append(change['type']))")
        os.kill(k.pid, signal.SIGKILL)
        k.km.shutdown_kernel(now=True)
    with kernel(tmp_path, JPY_SESSION_NAME="widgets.ipynb") as k:
        assert k.text("w.value = 13; w.max = 500; print(seen, late)").endswith("\n[7, 9, 12] ['change', 'change']\n")


def test_what_numpy_makes_of_a_function_comes_back_and_is_seen_to_change(tmp_path):
    code = """
import numpy as np
def counted(x, by=[1]):
    calls.append(x)
    return x + by[0]
calls = []
u = v = np.frompyfunc(counted, 1, 1)
zero = np.frompyfunc(lambda a, b: a + b, 2, 1, identity=0)
none = np.frompyfunc(lambda a, b: a + b, 2, 1, identity=None)
plain = np.frompyfunc(lambda a, b: a + b, 2, 1)
w = np.vectorize(counted, otypes=[float], cache=True)
own = np.add
w(np.arange(3))
"""
    with kernel(tmp_path, JPY_SESSION_NAME="ufuncs.ipynb") as k:
        k.ok(code)
        k.ok("counted.__defaults__ = ([10],)")
        k.ok("1")
        os.kill(k.pid, signal.SIGKILL)
        k.km.shutdown_kernel(now=True)
    with kernel(tmp_path, JPY_SESSION_NAME="ufuncs.ipynb") as k:
        assert "not back" not in k.text("print(u is v, own is np.add, u.__name__)")
        assert k.text("print(u(np.arange(3)), w(np.arange(3)), u.nin)") == "[10 11 12] [10. 11. 12.] 1\n"
        empty = (
            "[(one.reduce(np.array([], dtype=object)) if one is zero else one.identity) for one in (zero, none, plain)]"
        )
        assert k.text(f"print({empty}, none.reduce([1, 2, 3]))") == "[0, None, None] 6\n"
        assert k.text("print(len(calls) >= 6, u.__dict__ if hasattr(u, '__dict__') else {})") == "True {}\n"


MATCHES = [
    re.match("a(b)?", "ac"), re.match("a(b)?", "abab", re.S), re.compile("b").match("abab", 1), re.compile("a.*?").fullmatch("abc"),
    re.search("c", "abcabc"), [*re.finditer("(a)|(b)", "abcab")][-1], re.compile("(?<=a)b").search("abab", 1), re.compile("b").search("ababab", 2, 5),
    re.compile(b"b").search(b"abc"), re.compile("x*").search("aaa", 2), [*re.finditer("", "abc")][2], re.match("(?P<one>a)(?P<two>b)?", "ab"),
    re.compile("a+?").fullmatch("aaaa"), re.compile("$").search("abc\n"),
]  # fmt: skip


@pytest.mark.parametrize("one", MATCHES, ids=str)
def test_a_match_of_a_regular_expression_comes_back(one):
    back, refused = again({"m": one, "n": one})
    assert not refused and back["m"] is back["n"]
    said = [
        (m.regs, m.lastindex, m.lastgroup, m.groupdict(), m.re, m.string, m.pos, m.endpos) for m in (one, back["m"])
    ]
    assert said[0] == said[1]


def test_a_match_that_is_found_no_more_is_named():
    text = bytearray(b"abc")
    one = re.search(b"b", text)
    text[1] = ord("x")
    back, refused = again({"m": one})
    assert not back and "re.Match" in str(refused["m"])


def test_a_widget_on_the_page_goes_back_with_the_notebook(tmp_path):
    with kernel(tmp_path, JPY_SESSION_NAME="widgets.ipynb") as k:
        comm_id = k.text("import ipywidgets as W; w = W.IntSlider(3); box = W.VBox([w]); print(w.model_id)").strip()
        k.ok("w.value = 8; w.description = 'eight'")
        messages = k.ok("%shelf undo")
        k.ok("import gc; gc.collect()")
        assert not of(messages, "comm_close") and not of(messages, "comm_open"), "its model stays, and its views"
        sent = {m["content"]["comm_id"]: m["content"]["data"]["state"] for m in of(messages, "comm_msg")}
        assert sent[comm_id]["value"] == 3 and sent[comm_id]["description"] == ""
        assert comm_id in k.ask("comm_info")["comms"]
        moved(k, comm_id, 5)
        assert k.text("print(w.value, box.children[0] is w, W.Widget.widgets[w.model_id] is w)") == "5 True True\n"
        sent = of(k.ok("w.value = 6"), "comm_msg")
        assert [m["content"]["data"]["state"] for m in sent] == [{"value": 6}]
        k.ok("gone = w; del w, box; gone.close(); del gone")
        messages = k.ok("%shelf undo")  # the page has no model of it any more
        assert comm_id in {m["content"]["comm_id"] for m in of(messages, "comm_open")}
        assert k.text("print(w.value)") == "6\n"
