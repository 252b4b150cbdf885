"""What the pickler found out about types and names is found out again when these change."""

import pickle
import sys
import types

import pytest

from larder import groups, pickled
from larder._larder import type_version

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="the versions of types are not known")

CODE = """
class Base:
    pass

class Kept(Base):
    def __init__(self):
        self.number, self.left_out = 1, 2

class Other(Base):
    pass

class Items(list):
    pass

def function():
    return 1

def another():
    return 2
"""


@pytest.fixture
def home(monkeypatch):
    module = types.ModuleType("a_home_of_types")
    exec(CODE, module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def back(value):
    """What comes back of it."""
    return pickle.loads(stream(value))["one"]


def stream(value):
    (found,), refused = groups.groups({"one": value})
    assert not refused and not found.buffers, refused
    return found.stream


def test_a_type_has_one_version_until_it_or_its_base_is_changed(home):
    seen = []
    for change in (
        lambda: None,
        lambda: setattr(home.Kept, "new", 1),
        lambda: setattr(home.Base, "new", 2),
        lambda: setattr(home.Kept, "__bases__", (home.Other,)),
        lambda: delattr(home.Kept, "new"),
    ):
        change()
        home.Kept.__name__, home.Kept().number
        seen.append(type_version(home.Kept))
        assert seen[-1] == type_version(home.Kept) != 0
    assert len({*seen, type_version(home.Other), type_version(dict)}) == len(seen) + 2


def reduced(self):
    return eval, ("'as the class says now'",)


def reduced_so(self, protocol):
    return reduced(self)


@pytest.mark.parametrize("where", ["Kept", "Base"])
@pytest.mark.parametrize("name, way", [("__reduce__", reduced), ("__reduce_ex__", reduced_so)])
def test_a_class_that_begins_to_say_how_it_is_pickled_is_asked(home, where, name, way):
    one = home.Kept()
    assert vars(back(one)) == vars(back(one)) == {"number": 1, "left_out": 2}
    setattr(getattr(home, where), name, way)
    assert back(one) == "as the class says now"
    delattr(getattr(home, where), name)
    assert vars(back(one)) == {"number": 1, "left_out": 2}


def test_a_state_that_a_class_begins_to_choose_is_the_one_that_comes_back(home):
    one = home.Kept()
    assert vars(back(one)) == vars(back(one)) == {"number": 1, "left_out": 2}
    home.Kept.__getstate__ = lambda self: {"number": self.number}
    assert vars(back(one)) == {"number": 1}
    home.Base.__setstate__ = lambda self, state: vars(self).update(state, set=True)
    assert vars(back(one)) == {"number": 1, "set": True}


def test_a_list_whose_class_begins_to_have_methods_in_their_place_is_made_by_the_lists_own(home):
    one = home.Items([1, 2])
    assert back(one) == back(one) == [1, 2]
    home.Items.append = home.Items.extend = lambda self, *items: None
    assert back(one) == [1, 2] and type(back(one)) is home.Items


def test_whether_an_instance_is_plain_is_asked_again_when_its_class_is_another(home):
    assert pickled.plain_instance(home.Kept) and pickled.plain_instance(home.Kept)
    home.Base.__setstate__ = lambda self, state: None
    assert not pickled.plain_instance(home.Kept)
    del home.Base.__setstate__
    assert pickled.plain_instance(home.Kept)


def test_a_way_of_pickling_that_is_registered_later_is_taken(home, monkeypatch):
    import copyreg

    one = home.Kept()
    assert vars(back(one)) == vars(back(one)) == {"number": 1, "left_out": 2}
    monkeypatch.setitem(copyreg.dispatch_table, home.Kept, reduced)
    assert back(one) == "as the class says now"


def test_classes_of_the_notebook_are_not_kept():
    class Mine:
        pass

    Mine.__module__ = "__main__"
    pickled._plain.keep(Mine, True)
    assert pickled._plain.get(Mine) is None
    Mine.__module__ = "elsewhere"
    Mine.any = 1
    Mine().any  # noqa: B018
    pickled._plain.keep(Mine, True)
    assert pickled._plain.get(Mine) is True
    pickled._plain._found.pop(Mine)


@pytest.mark.parametrize("name, other", [("Kept", "Other"), ("function", "another")])
def test_what_a_module_no_longer_has_by_its_name_is_not_pickled_as_that(home, name, other):
    one = getattr(home, name)
    assert back(one) is back(one) is one
    setattr(home, name, getattr(home, other))
    assert back(one) is not getattr(home, name), "that is another one"
    assert back(one).__name__ == name
    setattr(home, name, one)
    assert back(one) is one


@pytest.mark.parametrize("name", ["Kept", "function"])
def test_what_is_to_be_pickled_by_value_is(home, name):
    import cloudpickle

    one = getattr(home, name)
    by_name = stream(one)
    assert back(one) is one
    cloudpickle.register_pickle_by_value(home)
    try:
        assert len(stream(one)) > 2 * len(by_name)
    finally:
        cloudpickle.unregister_pickle_by_value(home)
    assert stream(one) == by_name


def test_types_that_have_names_of_their_own_in_pickles_come_back():
    kinds = [
        type(None),
        type(...),
        types.FunctionType,
        types.CellType,
        types.SimpleNamespace,
        types.ModuleType,
        dict,
        type,
    ]
    assert back(list(kinds)) == kinds
