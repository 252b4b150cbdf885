"""What pickle would write as a name that only the notebook has, and what classes are annotated with, comes back."""

import sys

import pytest
from kernelfixtures import kernel, kill, text

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

MADE = """
import typing, functools
UserId = typing.NewType('UserId', int)
P = typing.ParamSpec('P')
Ts = typing.TypeVarTuple('Ts')
T = typing.TypeVar('T', bound=int)
class Missing:
    def __reduce__(self): return 'MISSING'
MISSING = Missing()
MISSING.seen = [1]
held = [MISSING, UserId, P, T]
class Takes(typing.Generic[P]): pass
Functional = typing.TypedDict('Functional', {'a': int})
class Row(typing.TypedDict, total=False):
    a: int
class More(Row):
    b: typing.Required[str]
class Plain:
    a: int
    K = int
    def f(self, x: K, y: T) -> list[K]: return [x]
    z: K
class Once:
    @functools.cached_property
    def value(self): return [7]
once = Once(); once.value.append(8)
"""
ASKED = """
assert held[0] is MISSING and MISSING.seen == [1] and type(MISSING) is Missing
assert held[1] is UserId and UserId(3) == 3 and UserId.__supertype__ is int and repr(UserId) == '__main__.UserId'
assert held[2] is P is Takes.__parameters__[0] and P.__name__ == 'P' and held[3] is T and T.__bound__ is int
assert Ts.__name__ == 'Ts' and Ts.__module__ == P.__module__ == '__main__'
assert Functional.__annotations__ == {'a': int} and Functional(a=1) == {'a': 1}
assert Row.__annotations__ == {'a': int} and Row.__total__ is False and typing.is_typeddict(More)
assert More.__annotations__ == {'a': int, 'b': typing.Required[str]} and More.__required_keys__ == {'b'}
assert Plain.__annotations__ == {'a': int, 'z': int}
assert Plain.f.__annotations__ == {'x': int, 'y': T, 'return': list[int]} and Plain().f(1, 2) == [1]
assert once.value == [7, 8] and Once().value == [7]
print('all there')
"""
IN_3_12 = """
class Box[U]:
    item: U
    type Many = list[U]
    def m[V: (int, str)](self, a: V) -> U: ...
type Simple = list[int]
type Json = dict[str, Json] | list[Json] | str
type Pairs[A, B] = dict[A, tuple[B, Simple]]
boxed = Box[int]
"""
ASKED_3_12 = """
assert Simple.__value__ == list[int] and repr(Simple) == 'Simple' and Simple.__module__ == '__main__'
assert Json.__value__.__args__[0].__args__[1] is Json
A, B = Pairs.__type_params__
assert Pairs.__value__ == dict[A, tuple[B, Simple]] and Pairs[int, str].__origin__ is Pairs
(U,) = Box.__type_params__
assert str(U) == 'U' and U.__infer_variance__ and Box.__annotations__ == {'item': U} and Box.Many.__value__ == list[U]
assert Box.m.__type_params__[0].__constraints__ == (int, str) and boxed == Box[int]
"""
IN_3_13 = "D = typing.TypeVar('D', default=int)\nQ = typing.ParamSpec('Q', default=[int])\n"
ASKED_3_13 = "assert D.__default__ is int and D.has_default() and Q.__default__ == [int]\n"
IN_3_14 = """
class Late:
    later: Undefined
    me: Late
"""
ASKED_3_14 = """
try: Late.__annotations__
except NameError as error: assert 'Undefined' in str(error)
else: raise AssertionError(Late.__annotations__)
Undefined = float
assert Late.__annotations__ == {'later': float, 'me': Late}
namespace = Plain.f.__annotate__.__closure__[0].cell_contents
Plain.added = 1
assert namespace['added'] == 1 and namespace['f'] is Plain.f  # the class's own, no copy
"""
IN_3_15 = "NOTHING = sentinel('NOTHING')\nholds = {'x': NOTHING}\n"
ASKED_3_15 = "assert holds['x'] is NOTHING and repr(NOTHING) == 'NOTHING' and NOTHING.__module__ == '__main__'\n"
NEWER = (
    ((3, 12), IN_3_12, ASKED_3_12),
    ((3, 13), IN_3_13, ASKED_3_13),
    ((3, 14), IN_3_14, ASKED_3_14),
    ((3, 15), IN_3_15, ASKED_3_15),
)


def test_what_has_only_a_name_and_annotations_come_back_after_a_kill(tmp_path):
    here = [(made, asked) for since, made, asked in NEWER if sys.version_info >= since]
    made, asked = MADE + "".join(one for one, _ in here), "".join(one for _, one in here) + ASKED
    with kernel(tmp_path, JPY_SESSION_NAME="named.ipynb") as k:
        k.ok(made)
        kill(k)
    with kernel(tmp_path, JPY_SESSION_NAME="named.ipynb") as k:
        back = k.text("print('first cell')")
        assert "not back" not in back, back
        reply, messages = k.run(asked)
        assert text(messages) == "all there\n", "\n".join(reply.get("traceback", []))


def test_what_has_only_a_name_goes_on_a_shelf(tmp_path):
    with kernel(tmp_path) as k:
        k.ok(
            MADE
            + "import larder\nshelf = larder.open('named')\nshelf.held, shelf.once, shelf.plain = held, once, Plain"
        )
        kill(k)
    with kernel(tmp_path) as k:
        asked = (
            "import larder\nshelf = larder.open('named')\nmissing, user, p, t = shelf.held\n"
            "print(type(missing).__name__, missing.seen, user(4), p.__name__, t.__bound__, shelf.once.value)\n"
            "print(shelf.plain.__annotations__ == {'a': int, 'z': int})"
        )
        assert k.text(asked) == "Missing [1] 4 P <class 'int'> [7, 8]\nTrue\n"
