# ruff: noqa: E501
"""Enumerations that cells define come back with all that their members are, as do members on a shelf."""

from kernelfixtures import kernel, kill, settle

# Most of these are of Python's own description of enumerations.
CLASSES = """
import dataclasses, datetime, decimal
from enum import *

class Color(Enum):
    RED = 1
    CRIMSON = 1
    BLUE = 2
    _quiet = nonmember(5) if "nonmember" in globals() else property(lambda self: 5)

class Planet(Enum):
    MERCURY = (3.303e+23, 2.4397e6)
    EARTH = (5.976e+24, 6.37814e6)
    def __init__(self, mass, radius):
        self.mass, self.radius = mass, radius
    @property
    def surface_gravity(self):
        return 6.67300E-11 * self.mass / (self.radius * self.radius)

class Coordinate(bytes, Enum):
    def __new__(cls, value, label, unit):
        obj = bytes.__new__(cls, [value])
        obj._value_ = value
        obj.label = label
        obj.unit = unit
        return obj
    PX = (0, 'P.X', 'km')
    PY = (1, 'P.Y', 'km')

class AutoNumber(Enum):
    def __new__(cls):
        obj = object.__new__(cls)
        obj._value_ = len(cls.__members__) + 1
        return obj
    def __init_subclass__(cls, **more):
        super().__init_subclass__(**more)
        made.append(cls.__name__)
made = []

class Numbered(AutoNumber):
    ONE = ()
    TWO = ()

class Ordinal(Enum):
    @staticmethod
    def _generate_next_value_(name, start, count, last):
        return name.lower() + "th"

class Perm(Flag):
    R = auto(); W = auto(); X = auto()
    RWX = R | W | X

class Kept(IntFlag, boundary=KEEP):
    A = 1; B = 10

@dataclasses.dataclass
class Mix:
    size: str
    legs: int = dataclasses.field(repr=False)

class Creature(Mix, Enum):
    BEETLE = 'small', 6
    DOG = 'medium', 4

class Pairs(tuple, Enum):
    A = 1, 2
    B = 3, 4

class Days(datetime.date, Enum):
    NEW = 2024, 1, 1

class Shares(decimal.Decimal, Enum):
    HALF = "0.5"

class Odd(Enum):
    LIST = [1, 2]
    NAN = float("nan")
    OTHER = {"x": 1}
    def _missing_(value): return None

calls = []
class Called(Enum):
    A = 1
    def __init__(self, *given):
        calls.append(given)
Named = Enum("Named", "ANT BEE", start=5)
class Text(str, Enum):
    A = "a"
    def __str__(self): return "text " + self.value
"""

MADE = """
class Second(Ordinal):
    FIFTH = auto()
Planet.EARTH.note = ["set later"]
Numbered.TWO.label = "two"
ALL = [Color, Planet, Coordinate, AutoNumber, Numbered, Ordinal, Second, Perm, Kept, Creature, Pairs, Days, Shares, Odd, Called, Named, Text]
held = {one: one.name for kind in ALL for one in kind if kind is not Creature}
both, nan, again = Perm.R | Perm.X, Odd.NAN, [Planet.EARTH.note]
few = Color.CRIMSON, Coordinate.PY, Numbered.TWO, Creature.DOG, Shares.HALF, Days.NEW, Pairs.B
"""

SEEN = """
def plain(one):
    return {name: value for name, value in sorted(vars(one).items()) if name != "__objclass__"}
def shown(kind):
    return [
        (name, repr(plain(one)), str(one) if kind is not Coordinate else bytes(one), kind[name] is one, getattr(kind, name) is one)
        for name, one in kind.__members__.items()
    ]
for kind in ALL:
    print(kind, len(kind), shown(kind))
print([held[one] == one.name for kind in ALL for one in kind if kind is not Creature], both, Perm(5) is both, nan is Odd.NAN)
print(Planet.EARTH.surface_gravity, Coordinate.PY.label, Planet.EARTH.note is again[0], Perm(7).name, ~Perm.R, Kept(9), Creature.DOG.legs)
print(few[0] is Color.RED, few[1] is Coordinate.PY, few[2] is Numbered.TWO, few[3] is Creature.DOG, few[4] is Shares.HALF, few[5] is Days.NEW)
print(Shares.HALF + 1, Days.NEW.year, sum(Pairs.B), few[6] is Pairs.B, Odd([1, 2]) is Odd.LIST, Text("a"), f"{Text.A}", Color(2), made, calls)
class Third(Ordinal):
    SIXTH = auto()
class More(AutoNumber):
    ONE = ()
print(Third.SIXTH.value, More.ONE.value, Color._quiet if type(Color._quiet) is int else 5)
made.pop()
del Third, More
"""


def test_enumerations_come_back_with_all_that_their_members_are(tmp_path):
    with kernel(tmp_path, JPY_SESSION_NAME="enums.ipynb") as k:
        k.ok(CLASSES)
        k.ok(MADE)
        k.ok(SEEN)  # flags note what their opposites are
        before = k.text(SEEN)
        assert "'note': ['set later']" in before and "'unit': 'km'" in before and "fifthth" in before
        settle(k)
        kill(k)
    with kernel(tmp_path, JPY_SESSION_NAME="enums.ipynb") as k:
        assert "not back" not in k.text("1;")
        assert k.text(SEEN) == before
        k.ok("Planet.EARTH.note.append(2); Planet.EARTH.mass = 1; Color.RED.more = 1")
        assert k.text(SEEN) != before
        k.ok("%shelf undo")
        k.ok("%shelf undo")
        assert k.text(SEEN) == before


def test_their_members_can_be_read_from_a_shelf(tmp_path):
    with kernel(tmp_path) as k:
        k.ok(CLASSES)
        k.ok(MADE)
        k.ok(f"import larder; shelf = larder.open({str(tmp_path / 'some.shelf')!r}); shelf.few = few")
        assert k.text("print([a is b for a, b in zip(few, shelf.few)])") == f"[{', '.join(['True'] * 7)}]\n"
    with kernel(tmp_path) as k:
        k.ok(f"import larder; shelf = larder.open({str(tmp_path / 'some.shelf')!r}); few = shelf.few")
        assert (
            k.text("print(few[1].label, few[2].label, few[3].legs, few[4] + 1, few[5].year, few[0].name)")
            == "P.Y two 4 1.5 2024 RED\n"
        )
