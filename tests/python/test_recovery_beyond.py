# ruff: noqa: E501
"""What objects have beyond what their own pickles keep comes back, is seen to change, and what cannot be made again is named."""

from kernelfixtures import kernel, kill, settle

CLASSES = """
import array, collections, datetime, decimal, fractions, ipaddress, itertools, pathlib, warnings
import numpy as np, pandas as pd, polars as pl
warnings.simplefilter("ignore")

class Told(np.ndarray):
    "As NumPy's documentation has it."
    def __new__(cls, values, info=None):
        made = np.asarray(values).view(cls)
        made.info = info
        return made
    def __array_finalize__(self, other):
        if other is not None:
            self.info = getattr(other, "info", None)

class Slotted(np.ndarray):
    __slots__ = ("info",)

class Masked(np.ma.MaskedArray): pass
class Day(datetime.date): pass
class Moment(datetime.datetime): pass
class Span(datetime.timedelta): pass
class Price(decimal.Decimal): pass
class Part(fractions.Fraction): pass
class Place(type(pathlib.Path())): pass
class Host(ipaddress.IPv4Address): pass
class Marked(datetime.date):
    __slots__ = ("info",)
class Frame(pd.DataFrame): pass
class Numbers(array.array): pass
class Own(datetime.date):
    def __reduce__(self):
        return Own, (self.year, self.month, self.day)
"""

MADE = """
note = ["first"]
base = np.arange(6.0)
told, copied, slotted = Told(base, note), Told([1, 2, 3], note) * 2, np.ones(2).view(Slotted)
slotted.info, part = note, copied[1:]
locked = Told(np.arange(3), note); locked.flags.writeable = False
masked = Masked([1, 2], mask=[True, False])
data = np.zeros(3, dtype=[("a", "i4"), ("b", "f8")])
records, field = data.view(np.recarray), data["a"]
square = np.arange(4.0).reshape(2, 2)
matrix, row = np.asmatrix(square), np.asmatrix(square)[0]
day, moment, span, price, third = Day(2020, 1, 2), Moment(2020, 1, 2), Span(3), Price("1.5"), Part(1, 3)
place, host, marked = Place("a/b"), Host("1.2.3.4"), Marked(2020, 1, 2)
numbers, frame, column = Numbers("i", [1]), Frame({"a": [1]}), pd.Series([1])
df, index, index2, pf, ps = pd.DataFrame({"a": [1.0, 2.0]}), pd.Index([1]), pd.MultiIndex.from_tuples([(1, 2)]), pl.DataFrame({"a": [1]}), pl.Series([1])
inner = pd.DataFrame({"z": [1.0, 2.0]})
shared = inner["z"].values
GIVEN = [masked, records, day, moment, span, price, third, place, host, marked, numbers, frame, column, df, index, index2, pf, ps, inner]
for one in GIVEN:
    (one.__dict__.__setitem__ if hasattr(one, "__dict__") else lambda name, value: setattr(one, name, value))("info", note)
own = Own(2020, 1, 2); own.info = note
said = pd.DataFrame({"a": [1]}); said.lines, said.name = (line for line in "ab"), "train"
"""


def test_attributes_that_pickles_leave_out_come_back_and_are_seen_to_change(tmp_path):
    with kernel(tmp_path, JPY_SESSION_NAME="beyond.ipynb") as k:
        k.ok(CLASSES)
        k.ok(MADE)
        k.ok("df.info = day.info = told.info = marked.info = pf.info = frame.info = masked.info = ['second']")
        k.ok("host.more = price.more = index.more = [1]; base[0] = 7")
        k.ok("price.more.append(2)")
        settle(k)
        kill(k)
    with kernel(tmp_path, JPY_SESSION_NAME="beyond.ipynb") as k:
        assert "not back" not in k.text("1;")
        assert k.text("print([i for i, one in enumerate(GIVEN) if one.info is not note])") == "[0, 2, 9, 11, 13, 16]\n"
        second = "all(one.info == ['second'] for one in (df, day, told, marked, pf, frame, masked)), df.info is day.info is pf.info"
        assert k.text(f"print({second})") == "True True\n"
        assert k.text("print(host.more is price.more is index.more, index.more)") == "True [1, 2]\n"
        assert k.text("print(*(type(one).__name__ for one in GIVEN[:12]))") == (
            "Masked recarray Day Moment Span Price Part Place Host Marked Numbers Frame\n"
        )
        assert (
            k.text(
                "print(copied.info is note, part.info is note, slotted.info is note, locked.info is note, locked.flags.writeable)"
            )
            == "True True True True False\n"
        )
        k.ok("base[1] = 8; copied[1] = 9; records.a[2] = 5; matrix[0, 1] = 6")
        assert k.text("print(told[:2], part[0], field, data['a'], square[0], row)") == (
            "[7. 8.] 9 [0 0 5] [0 0 5] [0. 6.] [[0. 6.]]\n"
        )
        assert k.text(
            "print(type(told).__name__, type(row).__name__, type(records).__name__, type(masked).__name__, masked)"
        ) == ("Told matrix recarray Masked [-- 2]\n")
        assert k.text("print(said.name, hasattr(said, 'lines'))") == "train False\n", (
            "a generator says that it cannot be pickled"
        )
        assert k.text("print(own, hasattr(own, 'info'))") == "2020-01-02 False\n", "its class says how it is pickled"


def test_what_is_unchanged_is_not_saved_again(tmp_path):
    with kernel(tmp_path, JPY_SESSION_NAME="beyond.ipynb") as k:
        k.ok(CLASSES)
        k.ok(MADE)
        k.ok("first = 1")
        k.ok("second = 2")
        settle(k)
        assert (
            k.text("import larder; print([one['changed'] for one in larder.session.log()][-2:])")
            == "['first', 'second']\n"
        )


def test_an_object_whose_pickle_would_make_another_type_is_named(tmp_path):
    code = """
import numpy as np, pandas as pd
class Real(np.float64): pass
class Wait(pd.Timedelta): pass
class Dice(np.random.RandomState): pass
real, wait, dice = Real(2.5), Wait.__new__(Wait, "1d"), Dice(3)
"""
    with kernel(tmp_path, JPY_SESSION_NAME="types.ipynb") as k:
        k.ok(code)
        settle(k)
        said = k.text("import larder; print(larder.session.status())")
        for name, kind in ("real", "Real"), ("wait", "Wait"), ("dice", "Dice"):
            (line,) = [line for line in said.splitlines() if line.startswith(f"{name} ")]
            assert " no " in line and f"would not make a {kind} again" in line, line


def test_views_of_an_array_in_an_order_of_its_own_share_it_again_and_an_arrow_plot_is_saved(tmp_path):
    code = """
import numpy as np, matplotlib.pyplot as plt
whole = np.moveaxis(np.arange(48.0).reshape(8, 3, 2), 0, 1).copy(order="K")
part, row = whole[1], whole[:, 2, 0]
x = np.linspace(0, 2, 12); X, Y = np.meshgrid(x, x); u = np.ones_like(X)
fig = plt.figure(); arrows = plt.quiver(X, Y, u, 0 * u); fig.canvas.draw()
"""
    with kernel(tmp_path, JPY_SESSION_NAME="arrows.ipynb", MPLBACKEND="agg") as k:
        k.ok(code)
        before = k.text(
            "print(whole.strides, whole.flags.forc, whole.tolist() == whole.copy().tolist(), part.tolist())"
        )
        k.ok("part[0, 0] = -1")
        settle(k)
        kill(k)
    with kernel(tmp_path, JPY_SESSION_NAME="arrows.ipynb", MPLBACKEND="agg") as k:
        assert "not back" not in k.text("1;")
        assert before.startswith("(16, 48, 8) False True")
        assert (
            k.text("print(whole.strides, whole[1, 0, 0], part[0, 0], np.shares_memory(whole, row))")
            == "(16, 48, 8) -1.0 -1.0 True\n"
        )
        k.ok("row[1] = 77.0; part[2, 0] += 1")
        assert k.text("print(whole[1, 2, 0], row[1], part[2, 0])") == "78.0 78.0 78.0\n"
        k.ok("paths = arrows.get_paths(); fig.canvas.draw()")
        assert (
            k.text("print(len(paths), np.shares_memory(paths[0].vertices.base, paths[1].vertices.base))")
            == "144 True\n"
        )
