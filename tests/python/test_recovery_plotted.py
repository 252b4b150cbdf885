"""Figures are saved each for itself: what all of them hold is matplotlib's. A larger walk tells of what it went into."""

import enum
import http
import pickle
import signal

import numpy as np
import pytest

from larder import groups, named, pickled, plotted, watch
from larder._larder import Walker, pages_begin, pickler_met

pytest.importorskip("matplotlib").use("agg")
import matplotlib  # noqa: E402
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.markers import CapStyle, MarkerStyle  # noqa: E402
from matplotlib.transforms import IdentityTransform  # noqa: E402


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def drawn(**kwargs):
    figure, axes = plt.subplots(**kwargs)
    axes.plot([1, 3, 2], "o--")
    figure.canvas.draw()
    return figure, axes


class Looking:
    """What a recorder does with walks."""

    def __init__(self):
        self.walker = Walker(watch.classify, watch.Registries())

    def __call__(self, values, hold=True):
        pages_begin()
        self.walker.begin(plotted.own())
        found = {name: self.walker.walk(value, hold) for name, value in values.items()}
        self.walker.sweep()
        return found


def saved(values, walked=None):
    found, refused = groups.groups(values, None, walked)
    back = {}
    for one in found:
        back |= pickle.loads(one.stream, buffers=[bytearray(part) for part in one.buffers])
    return sorted(one.names for one in found), back, refused


@pytest.mark.parametrize("with_walks", [False, True])
def test_figures_are_saved_apart_and_have_the_marks_of_matplotlib(with_walks):
    (one, first), (other, second) = drawn(), drawn()
    values = {"one": one, "first": first, "other": other, "second": second}
    together, back, refused = saved(values, Looking()(values) if with_walks else None)
    assert together == [["first", "one"], ["other", "second"]] and not refused
    assert back["one"].axes == [back["first"]] and back["first"].figure is back["one"]
    for axes in (back["first"], back["second"]):
        assert axes.xaxis.majorTicks[0].tick1line._marker._path is first.xaxis.majorTicks[0].tick1line._marker._path
    assert back["first"].xaxis.get_major_formatter()._powerlimits == matplotlib.rcParams["axes.formatter.limits"]
    back["one"].canvas.draw()


def test_what_figures_share_by_a_variable_they_still_share():
    (one, _), (other, _) = drawn(), drawn()
    one.common = other.common = common = [1]
    together, back, _ = saved({"one": one, "other": other, "common": common})
    assert together == [["common", "one", "other"]]
    assert back["one"].common is back["other"].common is back["common"]


def test_paths_and_arrays_of_matplotlib_are_those_again():
    path = MarkerStyle._tickvert_path
    unit = IdentityTransform._mtx
    values = {"figure": drawn()[0], "path": path, "points": path.vertices, "unit": unit, "view": unit[1:], "in": [path]}
    together, back, refused = saved(values, Looking()(values))
    assert not refused and ["figure"] in together
    assert back["path"] is path and back["points"] is path.vertices and back["unit"] is unit and back["in"] == [path]
    assert back["in"][0] is path and back["view"].base is not None and np.shares_memory(back["view"], unit)


def test_what_is_not_what_matplotlib_has_comes_back_as_it_was(monkeypatch):
    path = MarkerStyle._tickvert_path
    changed = type(path)([[0.0, 0.0], [0.0, 7.0]])
    monkeypatch.setattr(MarkerStyle, "_tickvert_path", changed)
    figure, axes = drawn()
    _, back, _ = saved({"changed": changed, "points": changed.vertices, "figure": figure})
    assert back["changed"] is changed and back["points"] is changed.vertices
    found, _ = groups.groups({"changed": changed, "points": changed.vertices, "axes": axes})
    monkeypatch.undo()
    back = {}
    for one in found:
        back |= pickle.loads(one.stream, buffers=[bytearray(part) for part in one.buffers])
    assert back["changed"] is not path and back["changed"].vertices.tolist() == [[0.0, 0.0], [0.0, 7.0]]
    assert back["points"].tolist() == [[0.0, 0.0], [0.0, 7.0]]
    assert back["axes"].xaxis.majorTicks[0].tick1line._marker._path.vertices.tolist() == [[0.0, 0.0], [0.0, 7.0]]
    back["changed"].vertices[0, 0] = 1.0  # a copy, to be written to


def test_addresses_that_were_matplotlibs_are_nobody_elses():
    path = MarkerStyle._tickvert_path
    before = plotted.own()
    assert plotted.own() is before and before.names[id(path._vertices)].one is path._vertices
    vertices = path._vertices
    try:
        path._vertices = vertices.copy()
        now = plotted.own()
        assert now is not before and id(vertices) not in now.names and id(path._vertices) in now.names
    finally:
        path._vertices = vertices
    assert id(vertices) in plotted.own().names


def test_a_dict_of_a_path_past_the_path_is_refused_and_with_it_is_not():
    path, figure = MarkerStyle._tickvert_path, drawn()[0]
    values = {"figure": figure, "inside": vars(path)}
    for walked in (None, Looking()(values)):
        together, _, refused = saved(values, walked)
        assert together == [["figure"]] and "__dict__ of a Path" in refused["inside"]


def test_lists_of_settings_are_shared_by_who_holds_them_without_a_figure():
    limits = matplotlib.rcParams["axes.formatter.limits"]
    values = {"limits": limits, "both": {"limits": limits}, "figure": drawn()[0]}
    together, back, _ = saved(values, Looking()(values))
    assert together == [["both", "limits"], ["figure"]] and back["both"]["limits"] is back["limits"]


def test_members_of_an_enumeration_of_a_module_tie_nothing_together():
    values = {"a": [http.HTTPStatus.OK], "b": {1: http.HTTPStatus.OK, 2: signal.SIGINT}}
    for walked in (None, Looking()(values)):
        together, back, _ = saved(values, walked)
        assert together == [["a"], ["b"]]
        assert back["a"][0] is http.HTTPStatus.OK and back["b"][2] is signal.SIGINT


class Held(enum.Enum):
    ONE = "one"
    LIST = [1]  # noqa: RUF012


class Own(enum.Enum):
    ONE = 1

    def __reduce_ex__(self, protocol):
        return str, ("other",)


def test_enumerations_that_say_more_are_walked():
    assert named.members(http.HTTPStatus) and not named.members(Held) and not named.members(Own)
    assert not named.members(int) and not named.members(enum.Enum("Nowhere", "A B"))
    walker = Looking()
    before = walker({"x": Held.LIST})["x"].digest
    Held.LIST.value.append(2)
    assert walker({"x": Held.LIST})["x"].digest != before
    Held.LIST.value.pop()


def test_what_a_larger_walk_went_into_is_told_by_it_and_changes_with_it():
    figure, axes = drawn()
    line = axes.lines[0]
    values = {"figure": figure, "axes": axes, "line": line, "lines": [line]}
    walker = Looking()
    walker(values)
    for _ in range(3):
        figure.canvas.draw()
        before = {name: one.digest for name, one in walker(values).items()}
        for _ in range(3):
            assert {name: one.digest for name, one in walker(values, False).items()} == before
        line.set_linewidth(line.get_linewidth() + 1)
        now = {name: one.digest for name, one in walker(values).items()}
        assert not set(now.values()) & set(before.values())
    # Without the larger one each is walked for itself, and goes on being told.
    figure = values.pop("figure")
    walker(values)
    before = {name: one.digest for name, one in walker(values).items()}
    assert {name: one.digest for name, one in walker(values).items()} == before
    axes.set_title("x")
    now = {name: one.digest for name, one in walker(values).items()}
    assert all(now[name] != before[name] for name in now)


def test_what_a_figure_names_is_not_saved_with_it():
    values = {
        "figure": drawn()[0],
        "Line2D": plt.Line2D,
        "Path": type(MarkerStyle._tickvert_path),
        "CapStyle": CapStyle,
    }
    together, back, _ = saved(values, Looking()(values))
    assert ["figure"] in together and back["Line2D"] is plt.Line2D


def test_what_begins_to_be_held_by_something_larger_that_stays_is_not_taken_for_changed():
    figure, axes = drawn()
    walker = Looking()
    for _ in range(3):
        walker({"axes": axes})
    before = walker({"axes": axes})["axes"].digest
    walker({"axes": axes, "figure": figure})
    assert walker({"axes": axes, "figure": figure})["axes"].digest == before
    patches = {"axes": axes, "figure": figure, "patch": axes.patch, "spine": axes.spines["left"]}
    walker(patches)
    before = {name: one.digest for name, one in walker(patches).items()}
    for _ in range(4):
        assert {name: one.digest for name, one in walker(patches, False).items()} == before


def test_what_changed_is_held_by_the_walk_that_saw_it():
    figure, axes = drawn()
    values = {"figure": figure}
    walker = Walker(watch.classify, watch.Registries())

    def look(known):
        walker.begin(plotted.own())
        walked, _, held, _ = walker.look(values, known, {"figure": 1.0}, {}, {"figure"}, 1.0, 1e-9, 1.0)
        walker.sweep()
        return walked["figure"], held

    first, held = look({})
    assert held == {"figure"}
    known = {"figure": groups.Known(first, ("figure",))}
    look(known)
    axes.set_title("x")
    second, held = look(known)
    assert second.digest != first.digest and held == {"figure"}


def test_what_a_pickler_met_is_what_its_memo_says():
    part = [1.5, "x"]
    values = {"a": part, "b": (part, {"c": np.arange(3)}), "f": sum, "kind": http.HTTPStatus.OK}
    import io

    for count in (0, 3, 5000):
        values["many"] = [[at] for at in range(count)]
        one = pickled.pickler()(io.BytesIO(), lambda buffer: True, "x", frozenset())
        one.dump(values)
        expected = {key: part for key, (_, part) in one.memo.copy().items() if type(part) not in pickled.UNSHARED}
        asked = []

        def shareable(kind, asked=asked):
            asked.append(kind)
            return None if kind is dict else kind is list

        memo, ids, kinds = pickler_met(one, pickled.UNSHARED, shareable, lambda part: "c" in part)
        assert memo == expected and all(memo[key] is expected[key] for key in memo)
        assert len(asked) == len(set(asked)) == len(kinds) and set(kinds) == set(asked) == set(map(type, memo.values()))
        assert ids == {key for key, part in memo.items() if type(part) is list or (type(part) is dict and "c" in part)}
    with pytest.raises(TypeError):
        pickler_met(one, pickled.UNSHARED, lambda kind: 1, lambda part: True)
    with pytest.raises(ZeroDivisionError):
        pickler_met(one, pickled.UNSHARED, lambda kind: 1 / 0, lambda part: True)


def test_what_a_child_took_counts_less_than_what_the_kernel_did():
    from larder.costs import CHILDS, Costs

    costs = Costs()
    costs.took("m.T", "x", 0.040, 0.001, True)
    assert costs.seconds("m.T", "x", 0.001) == pytest.approx(0.040 / CHILDS)
    costs.took("m.T", "x", 0.030, 0.001)
    costs.took("m.T", "x", 0.040, 0.001, True)
    assert costs.seconds("m.T", "x", 0.001) == pytest.approx(0.030), "the kernel found out"
    costs.took("m.T", "x", 0.020, 0.001, True)
    assert costs.seconds("m.T", "x", 0.001) == pytest.approx(0.020 / CHILDS), "it became less"
    costs.took("m.T", "y", 0.010, 0.0001)
    assert costs.seconds("m.T", "y", 0.0011) == pytest.approx(0.015), "what came to it is not a hundred times its walk"
    assert costs.seconds("m.T", "y", 0.00005) == pytest.approx(0.005)
