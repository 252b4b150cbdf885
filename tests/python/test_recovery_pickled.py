"""What pickle by itself would lose of arrays and indexes comes back."""

import io
import math
import pickle
import pickletools

import numpy as np
import pandas as pd
import pytest
from kernelfixtures import kernel, kill

from larder import groups, pickled


def back(**values):
    """What comes back of variables, each of which is saved by itself."""
    found, refused = groups.groups(values)
    assert not refused
    return {name: one for group in found for name, one in pickle.loads(group.stream, buffers=group.buffers).items()}


def test_what_is_no_number_in_an_array_of_objects_is_the_one_that_pandas_means_by_is():
    made = np.array([["a", np.nan], [float("nan"), 1.5]], dtype=object)
    values = back(
        row=np.array([np.nan, "a", 1], dtype=object),
        columns=np.asfortranarray(made),
        one=np.array(np.nan, dtype=object),
        locked=pd.Series(["a b", np.nan], dtype=object).values,
    )
    assert values["row"][0] is np.nan and values["row"][1:].tolist() == ["a", 1]
    assert values["columns"][0, 1] is values["columns"][1, 0] is np.nan and values["columns"][1, 1] == 1.5
    assert values["columns"].flags.f_contiguous and values["one"][()] is np.nan
    assert values["locked"][1] is np.nan and not values["locked"].flags.writeable
    frame = back(frame=pd.DataFrame({"a": ["a b", np.nan], "n": [1, 2]}, dtype=object))["frame"]
    assert frame["a"].str.split(expand=True).loc[1].tolist() == [np.nan] * 2, "what is not split is missing, not None"
    text = back(text=pd.Series(["a b", np.nan], dtype=object))["text"]
    assert text[1] is np.nan


def test_the_name_that_a_multi_index_has_beside_those_of_its_levels():
    index = pd.MultiIndex.from_product([[1, 2], ["a"]], names=["one", "two"])
    index.name = "both"
    one = back(index=index)["index"]
    assert one.name == "both" and list(one.names) == ["one", "two"]
    assert repr(one) == repr(index) and one.equals(index)


@pytest.mark.parametrize("items", [5, 9000, 60_000])
def test_a_read_only_array_can_be_made_writeable_again(items):
    array, columns = np.arange(float(items)), np.asfortranarray(np.ones((items, 2)))
    array.flags.writeable = columns.flags.writeable = False
    values = back(array=array, columns=columns, view=np.arange(9.0)[2:])
    for name, was in (("array", array), ("columns", columns)):
        one = values[name]
        assert not one.flags.writeable and (one == was).all() and one.strides == was.strides
        one.flags.writeable = True
        one[0] = 7.0


def test_what_is_no_number_in_containers_and_by_itself():
    values = back(
        found={np.nan: 1, "a": [np.nan, math.nan, np.nan]}, alone=np.nan, other=[float("nan")], many={math.nan, np.nan}
    )
    found = values["found"]
    assert np.nan in found and found[np.nan] == 1 and values["alone"] is np.nan
    assert found["a"][0] is found["a"][2] is np.nan and found["a"][1] is math.nan
    assert values["other"][0] is not np.nan and np.isnan(values["other"][0])
    assert math.nan in values["many"] and np.nan in values["many"]


CLASSES = """
class Asks:
    made = []
    def __new__(cls, one, *, two):
        self = super().__new__(cls)
        self.one, self.two = one, two
        cls.made.append(self)
        return self

class Slotted:
    __slots__ = ("asks",)
    def __new__(cls, asks):
        self = object.__new__(cls)
        self.asks = asks
        return self

class Stated(Asks):
    def __getstate__(self):
        return {"one": self.one}
    def __setstate__(self, state):
        self.one, self.two = state["one"], "set"

asks = Asks([1], two=2)
slotted, stated, own = Slotted(asks), Stated(3, two=4), vars(asks)
"""


def test_instances_whose_class_asks_for_arguments_when_they_are_made(tmp_path):
    with kernel(tmp_path, JPY_SESSION_NAME="asks.ipynb") as k:
        k.ok(CLASSES)
        kill(k)
    with kernel(tmp_path, JPY_SESSION_NAME="asks.ipynb") as k:
        shown = k.text("print(asks.one, asks.two, slotted.asks is asks, stated.one, stated.two, own is vars(asks))")
        assert shown.endswith("\n[1] 2 True 3 set True\n") and "not back" not in shown, shown
        assert k.text("print([*map(type, Asks.made)] == [Asks, Stated], Asks.made[0] is asks)") == "True True\n"
        assert k.text("print(Asks(5, two=6).one, len(Asks.made))") == "5 3\n"


def test_the_fields_of_sympy_that_a_notebook_has_imported(tmp_path):
    with kernel(tmp_path, JPY_SESSION_NAME="fields.ipynb") as k:
        k.ok("from sympy import RR, CC, Poly, Symbol; fields = [RR, CC]")
        assert k.text("print(RR(1) + RR(2))") == "3.0\n"
        kill(k)
    with kernel(tmp_path, JPY_SESSION_NAME="fields.ipynb") as k:
        shown = k.text("import sympy; print(fields[0] is RR is sympy.RR, fields[1] is CC is sympy.CC, RR(1) + RR(2))")
        assert shown.endswith("\nTrue True 3.0\n") and "not back" not in shown, shown
        assert k.text("print(Poly(Symbol('x') + 0.5, domain=RR).domain)") == "RR\n"


def test_what_draws_from_the_global_random_numbers_goes_on_drawing_from_them(tmp_path):
    with kernel(tmp_path, JPY_SESSION_NAME="drawn.ipynb") as k:
        k.ok("import random, numpy as np\nfrom random import randint, seed\nfrom numpy.random import rand, mtrand")
        k.ok(
            "held = [mtrand._rand, random._inst, random.Random(1), np.random.RandomState(1)]; seed(5); np.random.seed(5)"
        )
        drawn = k.text("print(randint(1, 10**9), rand(), held[0].rand())")
        k.ok("seed(5); np.random.seed(5)")
        kill(k)
    with kernel(tmp_path, JPY_SESSION_NAME="drawn.ipynb") as k:
        assert k.text("print(randint(1, 10**9), rand(), held[0].rand())").endswith(f"\n{drawn}"), "they go on"
        code = "random.seed(3); np.random.seed(3); print(randint(1, 10**9), rand(), held[0].rand(), held[1].random())"
        assert k.text(code) == k.text(code), "and are seeded as before"
        assert k.text("print(held[2].random() == random.Random(1).random(), held[2] is random._inst)") == "True False\n"


def test_what_types_say_alone_in_rust_is_what_the_pickler_says_of_each_object():
    plt = pytest.importorskip("matplotlib.pyplot")
    figure, axes = plt.subplots()
    rows = np.arange(60.0).reshape(3, 20).copy()
    axes.plot(rows.T[::2], marker="o")
    axes.hist(rows[0])
    figure.canvas.draw()

    class Own:
        pass

    parts = [Own() for _ in range(20)]
    for part in parts:
        part.rows, part.view, part.when = rows, rows[1:], [np.float64(2), parts]
    locked = np.arange(3)
    locked.flags.writeable = False
    frame = pd.DataFrame({"a": [1.5, 2], "b": ["x", "y"]})

    def said(how, value):
        out, buffers = io.BytesIO(), []
        one = pickled.pickler()(out, lambda raw: bool(buffers.append(bytes(raw.raw()))), "value", frozenset())
        getattr(one, how)(value)
        assert "reducer_override" not in vars(one)
        spans = [span for span in one.spans if span.obj == id(rows)]
        # The parts of a figure count how often they were pickled.
        words = [
            (code.name, repr(word)) for code, word, _ in pickletools.genops(out.getvalue()) if word not in range(99)
        ]
        return words, buffers, spans, len(one.spans), len(one.keep), any(kept is rows for kept in one.keep)

    for value in ({"figure": figure}, {"parts": parts}, {"frame": frame, "inside": frame["a"].values}, [locked, rows]):
        assert said("dump", value) == said("dump_many", value)
    assert said("dump_many", parts)[2][0][:2] == (rows.ctypes.data, rows.ctypes.data + rows.nbytes)
    plt.close(figure)
