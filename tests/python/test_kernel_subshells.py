"""Subshells are real threads: many of them, and the main shell, write to one shelf at the same time."""

import os
import signal
from contextlib import contextmanager
from queue import Empty

import pytest
from kernelfixtures import kernel

import larder

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


def control(k, kind, **content):
    msg = k.kc.session.msg(kind, content)
    k.kc.control_channel.send(msg)
    while True:
        answer = k.kc.control_channel.get_msg(timeout=10)
        if answer["parent_header"]["msg_id"] == msg["header"]["msg_id"]:
            return answer["content"]


def send(k, shell, code):
    """Send ``code`` to a subshell, or to the main shell if ``shell`` is None."""
    msg = k.kc.session.msg("execute_request", {"code": code, "stop_on_error": False})
    msg["header"]["subshell_id"] = shell
    k.kc.shell_channel.send(msg)
    return msg["header"]["msg_id"]


def replies(k, sent):
    """The replies to ``sent``, in whichever order they come."""
    waiting, found = set(sent), {}
    while waiting:
        msg = k.kc.get_shell_msg(timeout=30)
        msg_id = msg["parent_header"]["msg_id"]
        if msg_id in waiting:
            waiting.discard(msg_id)
            found[msg_id] = msg["content"]
    return [found[msg_id] for msg_id in sent]


@contextmanager
def subshells(k, count):
    made = [control(k, "create_subshell_request")["subshell_id"] for _ in range(count)]
    yield made
    for one in made:
        assert control(k, "delete_subshell_request", subshell_id=one)["status"] == "ok"


def killed(k, monkeypatch, tmp_path):
    """End the kernel with SIGKILL; opens its shelf from here."""
    os.kill(k.pid, signal.SIGKILL)
    monkeypatch.setenv("LARDER_HOME", str(tmp_path / "home"))
    return larder.open("w", mode="r")


def test_cells_of_four_shells_write_one_shelf_and_every_answered_one_survives_a_kill(tmp_path, monkeypatch):
    with kernel(tmp_path) as k:
        k.ok("import larder, numpy as np\nshelf = larder.open('w')\nfor n in range(4): shelf[f'a{n}'] = np.zeros(5000)")
        with subshells(k, 3) as made:
            sent = [
                send(
                    k, shell, f"shelf.a{n}[{j}::100] = {j} + {n}\nshelf.b{n} = {j}\nassert shelf.a{n}[{j}] == {j} + {n}"
                )
                for j in range(25)
                for n, shell in enumerate([None, *made])
            ]
            assert [r["status"] for r in replies(k, sent)] == ["ok"] * 100
        with killed(k, monkeypatch, tmp_path) as shelf:
            assert [shelf[f"b{n}"] for n in range(4)] == [24] * 4
            assert [float(shelf[f"a{n}"].sum()) for n in range(4)] == [
                50.0 * (sum(range(25)) + 25 * n) for n in range(4)
            ]
            assert shelf.verify().ok


def test_transactions_of_several_shells_take_turns_and_a_rollback_takes_only_its_own(tmp_path, monkeypatch):
    # In a function: the shells share their globals, a loop's variable too.
    code = (
        "def turns{n}():\n    for j in range(20):\n        try:\n            with shelf.transaction():\n"
        "                shelf.a{n}[:] = j\n                shelf.c{n} = j\n                if j % 2: raise ValueError\n"
        "        except ValueError: pass\nturns{n}()\nassert shelf.c{n} == 18 and set(shelf.a{n}) == {{18.0}}"
    )
    with kernel(tmp_path) as k:
        k.ok("import larder, numpy as np\nshelf = larder.open('w')\nfor n in range(3): shelf[f'a{n}'] = np.zeros(3000)")
        with subshells(k, 2) as made:
            sent = [send(k, shell, code.format(n=n)) for n, shell in enumerate([None, *made])]
            assert [r["status"] for r in replies(k, sent)] == ["ok"] * 3
        with killed(k, monkeypatch, tmp_path) as shelf:
            assert [(shelf[f"c{n}"], set(shelf[f"a{n}"].tolist())) for n in range(3)] == [(18, {18.0})] * 3
            assert shelf.verify().ok


def test_a_cell_that_stores_while_another_shell_is_in_a_transaction_is_answered_when_it_is_durable(
    tmp_path, monkeypatch
):
    with kernel(tmp_path) as k:
        k.ok(
            "import larder, threading, numpy as np\nshelf = larder.open('w'); shelf.x = np.zeros(10)\n"
            "inside, gate = threading.Event(), threading.Event()"
        )
        with subshells(k, 2) as (first, second):
            send(k, first, "with shelf.transaction():\n    shelf.y = 1\n    inside.set(); gate.wait(20)")
            stored = send(k, None, "inside.wait(20); shelf.x[3] = 7")
            with pytest.raises(Empty):
                k.reply(stored, timeout=0.5)
            send(k, second, "gate.set()")
            assert k.reply(stored)["content"]["status"] == "ok"
        with killed(k, monkeypatch, tmp_path) as shelf:
            assert (shelf.x[3], shelf.y) == (7, 1)


def test_what_came_back_comes_once_when_two_shells_ask_for_it_at_the_same_time(tmp_path):
    """A page whose widgets talk to a subshell asks for everything there, while the first cell asks for it as well."""
    make = (
        "import ipywidgets, time\nclass Slow:\n"
        "    def __setstate__(self, state): time.sleep(0.5); self.__dict__.update(state)\n"
        "slow = Slow(); slider = slow.slider = ipywidgets.IntSlider(3)\nprint(slider.model_id)"
    )
    look = (
        "import gc; from ipywidgets.widgets.widget import _instances\n"
        "print(sum(type(one) is Slow for one in gc.get_objects()), _instances[{id!r}] is slider, slow.slider is slider)"
    )
    with kernel(tmp_path, JPY_SESSION_NAME="subshells.ipynb") as k:
        model_id = k.text(make).strip()
        os.kill(k.pid, signal.SIGKILL)
        k.km.shutdown_kernel(now=True)
    with kernel(tmp_path, JPY_SESSION_NAME="subshells.ipynb") as k, subshells(k, 1) as (other,):
        asks = k.kc.session.msg("comm_open", {"comm_id": "c", "target_name": "jupyter.widget.control", "data": {}})
        asks["header"]["subshell_id"] = other  # to make one asked for no variable
        k.kc.shell_channel.send(asks)
        assert k.text(look.format(id=model_id)).endswith("\n1 True True\n")
