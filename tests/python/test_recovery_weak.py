# ruff: noqa: E501
"""Weak references to objects of the notebook come back, as does what Python keeps by them."""

from kernelfixtures import kernel, kill, settle

CLASSES = """
import functools, threading, weakref
class Node:
    live = weakref.WeakSet()
    def __init__(self, name, parent=None):
        self.name, self.kids = name, []
        self.parent = None if parent is None else weakref.ref(parent)
        if parent is not None: parent.kids.append(self)
        Node.live.add(self)
class Named:
    name = "?"
    def __init__(self, name):
        self.name, self.near, self.far = name, weakref.WeakSet(), weakref.WeakKeyDictionary()
    def __hash__(self): return hash(self.name)
    def __eq__(self, other): return self.name == other.name
class Shown:
    @functools.singledispatchmethod
    def show(self, one): return "object"
    @show.register
    def _(self, one: int): return "int"
"""

MADE = """
root = Node("root"); kid = Node("kid", root)
by_name, notes, some = weakref.WeakValueDictionary(root=root, kid=kid), weakref.WeakKeyDictionary({kid: [1]}), weakref.WeakSet([root, Node])
gone, lost = weakref.ref(Node("lost")), []
watched = weakref.ref(kid, lost.append)
names = [Named("a"), Named("b")]
for one in names:
    one.near.update(names)
    one.far.update((other, other.name) for other in names)
shown = Shown()
shown.show(1)
del one
"""

SEEN = """print(kid.parent() is root, root.kids[0] is kid, sorted(one.name for one in Node.live), by_name["kid"] is kid, len(by_name),
    notes[kid], root in some, Node in some, len(some), gone(), watched() is kid, lost, shown.show(1), shown.show(""),
    [[other in one.near, one.far[other] == other.name, len(one.near)] for one in names for other in names])"""

WHAT = "True True ['kid', 'root'] True 2 [1] True True 2 None True [] int object " + str([[True, True, 2]] * 4) + "\n"


def test_weak_references_come_back(tmp_path):
    with kernel(tmp_path, JPY_SESSION_NAME="weak.ipynb") as k:
        k.ok(CLASSES)
        k.ok(MADE)
        assert k.text(SEEN) == WHAT
        settle(k)
        kill(k)
    with kernel(tmp_path, JPY_SESSION_NAME="weak.ipynb") as k:
        assert "not back" not in k.text("1;")
        assert k.text(SEEN) == WHAT
        k.ok("kid.parent = weakref.ref(kid); notes[kid].append(2); some.discard(root); by_name['new'] = kid")
        settle(k)
        kill(k)
    with kernel(tmp_path, JPY_SESSION_NAME="weak.ipynb") as k:
        k.ok("1")
        assert (
            k.text("print(kid.parent() is kid, notes[kid], root in some, by_name['new'] is kid)")
            == "True [1, 2] False True\n"
        )
        k.ok("root.kids.clear(); del kid")
        assert k.text(
            "print(sorted(one.name for one in Node.live), len(by_name), len(notes), watched(), lost == [watched])"
        ) == ("['root'] 1 0 None True\n")


def test_what_weak_references_to_libraries_objects_are_in_is_named(tmp_path):
    with kernel(tmp_path, JPY_SESSION_NAME="weak.ipynb") as k:
        k.ok(
            "import threading, weakref\nref = weakref.ref(threading.main_thread()); threads = weakref.WeakSet([threading.main_thread()])"
        )
        told = k.value("import larder; larder.session.status()")
        assert "cannot pickle 'weakref.ReferenceType' object" in told and told.count("main_thread") == 0
        kill(k)
    with kernel(tmp_path, JPY_SESSION_NAME="weak.ipynb") as k:
        assert "not back: ref" in k.text("1;")
