"""Comms: the `comm` package's hooks, so that ipywidgets and anywidget talk to the front end."""

from __future__ import annotations

import logging
import re
import sys
import threading
import types
from typing import Any

import comm
from comm.base_comm import BaseComm, CommManager

from .. import hooks
from . import cell as cells

log = logging.getLogger("larder.comm")


class Comm(BaseComm):
    """A comm whose messages go to IOPub under the current cell."""

    kernel: Any = None  # ipywidgets sends only when it is set

    def __setstate__(self, state: dict) -> None:
        """It comes back with a notebook: see `open_again`."""
        self.__dict__.update(state)
        self._closed = True  # no front end knows it
        _back.append(self)

    def publish_msg(self, msg_type, data=None, metadata=None, buffers=None, **keys) -> None:
        if sys.is_finalizing() or cells._last is None:
            return
        asked = _request_id(data)
        if asked is not None:
            self.__dict__.setdefault("_asked", {})[asked] = getattr(_here, "loop", None)
        content = {"data": {} if data is None else data, "comm_id": self.comm_id, **keys}
        cells.current().outputs.publish(msg_type, content, metadata or {}, buffers or [])


_back: list[Comm] = []
"""Comms that came back with a notebook, and are not open yet."""


def open_again() -> None:
    """Widgets came back: open their comms once more under the ids they had, those first that others are made of.

    Their models are then in the front end again, and what it sends finds the widgets. Comms of others stay closed. A widget
    that is on the page already (`checkout`) stays there, and shows what it was.
    """
    owners = [getattr(getattr(one, "_msg_callback", None), "__self__", None) for one in _back]
    _back.clear()
    found = {one._model_id: one for one in owners if getattr(one, "_model_id", None) and getattr(one, "comm", None)}

    def opened(widget: Any) -> None:
        for model_id in re.findall(r"IPY_MODEL_(\w+)", repr(widget.get_state())):
            if model_id in found:
                opened(found.pop(model_id))
        module = sys.modules["ipywidgets.widgets.widget"]
        if _taken_over(widget.comm):
            module._instances[widget._model_id] = widget
            widget.send_state()
            return
        # As `Widget.open` does it, whose observers are not told of a comm that is the one they know.
        state, paths, buffers = module._remove_buffers(widget.get_state())
        data = {"state": state, "buffer_paths": paths}
        widget.comm.open(data, {"version": module.__protocol_version__}, buffers)
        module._instances[widget._model_id] = widget

    while found:
        one = found.pop(next(iter(found)))
        try:
            opened(one)
        except Exception as err:  # one that links to a closed one, say, and could not be shown before either
            why = f"{type(err).__name__}: {err}"
            log.warning("the widget %s came back and cannot be shown: %s", type(one).__name__, why)


def _taken_over(one: Comm) -> bool:
    """Whether a front end knows this comm already; it is then this one's, and its owner so far has none."""
    before = manager().comms.get(one.comm_id)
    if before is None or before is one or getattr(before, "_closed", True):
        return False
    before._closed = True  # its end closes nothing
    owner = getattr(getattr(before, "_msg_callback", None), "__self__", None)
    if owner is not None:
        owner.comm = None
    one._closed = False
    manager().register_comm(one)
    return True


# The main loop of the calling thread: a reply goes to the thread whose cell asked.
_here = threading.local()


def serving(loop) -> None:
    """The calling thread serves requests through ``loop``."""
    _here.loop = loop


def _request_id(data) -> str | None:
    """The id by which a front end will answer: ``data["content"]["id"]``, as widgets send it."""
    content = data.get("content") if isinstance(data, dict) else None
    found = content.get("id") if isinstance(content, dict) else None
    return found if isinstance(found, str) else None


def asker(content: dict) -> Any:
    """The loop whose cell asked what this message answers; None when it answers nothing."""
    one = manager().comms.get(content.get("comm_id", ""))
    asked = _request_id(content.get("data"))
    return getattr(one, "_asked", {}).pop(asked, None) if asked is not None else None


_manager: CommManager | None = None


def manager() -> CommManager:
    global _manager
    if _manager is None:
        _manager = CommManager()
    return _manager


def create(*args, **kwargs) -> Comm:
    return Comm(*args, **kwargs)


class _Pinned(types.ModuleType):
    """`comm` with its two functions held in place: importing ipykernel as a library would redirect them to itself."""

    def __setattr__(self, name, value) -> None:
        if name in ("create_comm", "get_comm_manager") and getattr(value, "__module__", "").startswith("ipykernel"):
            return
        super().__setattr__(name, value)


def install(kernel) -> CommManager:
    """Make this process's comms ours."""
    Comm.kernel = kernel
    comm.create_comm = create
    comm.get_comm_manager = manager
    comm.__class__ = _Pinned
    hooks.BACK.append(open_again)
    return manager()


def handle(msg: dict) -> None:
    """One ``comm_open``, ``comm_msg`` or ``comm_close`` from a front end; an unknown target is closed again."""
    getattr(manager(), msg["header"]["msg_type"])(None, None, msg)


def info(target_name: str | None) -> dict:
    comms = {
        comm_id: {"target_name": one.target_name}
        for comm_id, one in manager().comms.items()
        if target_name is None or one.target_name == target_name
    }
    return {"status": "ok", "comms": comms}
