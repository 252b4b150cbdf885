"""Cells over the wire: results, displays, streams, errors, payloads, stdin."""

import json
import sqlite3

import pytest
from kernelfixtures import kernel, of, text

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


def test_a_cell_gives_busy_input_outputs_and_idle_in_this_order(k):
    content, messages = k.run("print('out')\n6 * 7")
    kinds = [m["msg_type"] for m in messages]
    assert kinds == ["status", "execute_input", "stream", "execute_result", "status"]
    assert content["status"] == "ok"
    assert of(messages, "execute_result")[0]["content"]["data"] == {"text/plain": "42"}
    assert of(messages, "execute_result")[0]["content"]["execution_count"] == content["execution_count"]


def test_one_print_is_one_stream_message(k):
    messages = k.ok("print('a', 'b')")
    assert [m["content"]["text"] for m in of(messages, "stream")] == ["a b\n"]


def test_stdout_and_stderr_keep_their_order(k):
    messages = k.ok("import sys\nfor i in range(3):\n    print(i)\n    print(-i, file=sys.stderr)")
    assert [m["content"]["name"] for m in of(messages, "stream")] == ["stdout", "stderr"] * 3


def test_silent_cells_show_and_count_nothing(k):
    before = k.run("1")[0]["execution_count"]
    content, messages = k.run("quiet = 5; quiet", silent=True)
    assert content["status"] == "ok"
    assert {m["msg_type"] for m in messages} == {"status"}
    assert k.run("quiet")[0]["execution_count"] == before + 1


def test_store_history_false_leaves_the_counter(k):
    before = k.run("1")[0]["execution_count"]
    k.run("2", store_history=False)
    assert k.run("3")[0]["execution_count"] == before + 1


def test_user_expressions_are_evaluated_and_fail_alone(k):
    content, _ = k.run("u = 3", user_expressions={"good": "u + 1", "bad": "nope"})
    assert content["user_expressions"]["good"]["data"]["text/plain"] == "4"
    assert content["user_expressions"]["bad"]["ename"] == "NameError"


def test_an_error_has_name_value_and_traceback_in_reply_and_on_iopub(k):
    content, messages = k.run("1 / 0")
    (shown,) = of(messages, "error")
    assert content["status"] == "error"
    for where in (content, shown["content"]):
        assert where["ename"] == "ZeroDivisionError"
        assert where["evalue"] == "division by zero"
        assert any("1 / 0" in line.replace("\x1b", "") or "ZeroDivisionError" in line for line in where["traceback"])


def let_go(k, go):
    """The kernel has what it was sent: who is asked last answers last, the second time even if it looked just before."""
    for _ in range(2):
        k.kc.control_channel.send(k.kc.session.msg("kernel_info_request", {}))
        assert k.kc.control_channel.get_msg(timeout=10)["content"]["status"] == "ok"
    go.touch()


def test_cells_queued_behind_an_error_are_aborted_and_the_next_one_runs(k, tmp_path):
    go = tmp_path / "go"
    wait = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)"
    first = k.send(f"{wait}\nraise RuntimeError('stop')")
    second, third = k.send("print('never')"), k.send("print('never')")
    let_go(k, go)
    assert k.reply(first)["content"]["status"] == "error"
    assert k.reply(second)["content"]["status"] == "aborted"
    assert k.reply(third)["content"]["status"] == "aborted"
    assert k.text("print('again')") == "again\n"


def test_cells_behind_an_awaiting_cell_are_aborted_too(k, tmp_path):
    go = tmp_path / "go"
    wait = f"import asyncio, os\nwhile not os.path.exists({str(go)!r}): await asyncio.sleep(0.01)"
    first = k.send(f"{wait}\nraise RuntimeError('stop')")
    second = k.send("print('never')")
    let_go(k, go)
    assert k.reply(first)["content"]["status"] == "error"
    assert k.reply(second)["content"]["status"] == "aborted"


def test_without_stop_on_error_the_next_cell_runs(k):
    first = k.send("raise RuntimeError('go on')", stop_on_error=False)
    second = k.send("'ran'")
    assert k.reply(first)["content"]["status"] == "error"
    assert k.reply(second)["content"]["status"] == "ok"


def test_a_display_is_updated_and_cleared_under_its_id(k):
    messages = k.ok(
        "from IPython.display import display, update_display, clear_output\n"
        "h = display('one', display_id='d1'); update_display('two', display_id='d1'); clear_output(wait=True)"
    )
    shown, updated, cleared = (
        of(messages, kind)[0]["content"] for kind in ("display_data", "update_display_data", "clear_output")
    )
    assert shown["transient"] == updated["transient"] == {"display_id": "d1"}
    assert (shown["data"]["text/plain"], updated["data"]["text/plain"]) == ("'one'", "'two'")
    assert cleared == {"wait": True}


def test_a_display_hook_may_change_or_swallow_messages(k):
    k.ok(
        "def hook(msg):\n    msg['content']['metadata']['seen'] = msg['parent_header']['msg_type']\n    return msg\n"
        "get_ipython().display_pub.register_hook(hook)"
    )
    messages = k.ok("display(1)")
    assert of(messages, "display_data")[0]["content"]["metadata"]["seen"] == "execute_request"
    k.ok("pub = get_ipython().display_pub; assert pub.unregister_hook(hook); pub.register_hook(lambda m: None)")
    assert of(k.ok("display(1)"), "display_data") == []
    k.ok("pub._hooks.list().clear()")


def test_matplotlib_draws_into_the_cell(k):
    messages = k.ok("import matplotlib.pyplot as plt\nplt.plot([1, 2]);")
    images = [m for m in of(messages, "display_data") if "image/png" in m["content"]["data"]]
    assert len(images) == 1


def test_nan_lone_surrogates_and_ten_megabytes_survive(k):
    assert k.text("print('a\\udc80b')") == "a\\udc80b\n"
    shown = of(k.ok("display({'application/json': {'x': float('nan')}}, raw=True)"), "display_data")
    assert shown[0]["content"]["data"]["application/json"] == {"x": "nan"}
    assert len(k.text("print('x' * 10_000_000)")) == 10_000_001


def test_a_flood_of_prints_is_few_messages_and_loses_nothing(k):
    messages = k.ok("for i in range(100_000): print(i)")
    assert text(messages) == "".join(f"{i}\n" for i in range(100_000))
    assert len(of(messages, "stream")) <= 200


def test_c_code_and_children_write_into_the_cell(k):
    assert k.text("import os; os.write(1, b'from c\\n');") == "from c\n"
    assert k.text("os.system('echo child');") == "child\n"
    assert k.text("!echo shell").replace("\r", "") == "shell\n"
    assert k.text("import ctypes; ctypes.CDLL(None).puts(b'stdio');") == "stdio\n"
    assert text(k.ok("os.write(2, b'err\\n');"), "stderr") == "err\n"
    peek = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1)'], stdout=sys.stdout, stderr=sys.stderr);"
    assert k.text(peek) == "1\n"


def test_what_children_and_c_code_write_stands_where_the_program_wrote_it(k):
    code = (
        "import ctypes, os, subprocess, time\nfor i in range(20):\n    print(i)\n    subprocess.run(['echo', f'child {i}'])\n"
        "print('end')"
    )
    assert k.text(code) == "".join(f"{i}\nchild {i}\n" for i in range(20)) + "end\n"
    messages = k.ok("print(1); ctypes.CDLL(None).puts(b'2'); display(3); print(4)")
    said = [m["content"].get("text", m["msg_type"]) for m in messages if m["msg_type"] in ("stream", "display_data")]
    assert "".join(said) == "1\n2\ndisplay_data4\n"
    forked = "pid = os.fork()\nif pid == 0:\n    print('forked')\n    os._exit(0)\nos.waitpid(pid, 0)[1]"
    kinds = [m["msg_type"] for m in k.ok(forked) if m["content"].get("name") != "stderr"]  # 3.12 warns of the fork
    assert kinds[-3:] == ["stream", "execute_result", "status"]


def test_keys_keep_their_order(k):
    shown = of(k.ok("from IPython.display import JSON\nJSON({'b': 1, 'a': {'z': 1, 'y': 2}})"), "execute_result")[0]
    assert str(shown["content"]["data"]["application/json"]) == "{'b': 1, 'a': {'z': 1, 'y': 2}}"


def test_a_writer_that_holds_the_gil_does_not_hang(k):
    code = "import ctypes, os\nb = b'y' * 1_000_000\nctypes.PyDLL(None).write(1, b, len(b));"
    assert len(k.text(code)) > 60_000  # one write(2) to a pipe may be short; it must not block for ever
    assert k.text("print('alive')") == "alive\n"


def test_bytes_written_to_stdout_buffer_arrive_as_text(k):
    assert (
        k.text("import sys; sys.stdout.buffer.write('ü'.encode()[:1]); sys.stdout.buffer.write('ü'.encode()[1:]);")
        == "ü"
    )


def test_input_and_getpass_ask_the_front_end(k):
    msg_id = k.send("import getpass; name = input('name? '); secret = getpass.getpass('secret: ')", allow_stdin=True)
    asked = k.kc.get_stdin_msg(timeout=10)
    assert asked["content"] == {"prompt": "name? ", "password": False}
    k.kc.input("ada")
    asked = k.kc.get_stdin_msg(timeout=10)
    assert asked["content"] == {"prompt": "secret: ", "password": True}
    k.kc.input("xyz")
    assert k.reply(msg_id)["content"]["status"] == "ok"
    k.until_idle(msg_id)
    assert k.value("name, secret") == "('ada', 'xyz')"


def test_input_without_stdin_is_an_error_that_says_so(k):
    content, _ = k.run("input('?')", allow_stdin=False)
    assert content["ename"] == "StdinNotImplementedError"


def test_payloads_page_next_input_edit(k, tmp_path):
    assert k.run("len?")[0]["payload"][0]["source"] == "page"
    payload = k.run("get_ipython().set_next_input('x = 1')")[0]["payload"]
    assert payload == [{"source": "set_next_input", "text": "x = 1", "replace": False}]
    file = tmp_path / "edited.py"
    file.write_text("pass\n")
    (payload,) = k.run(f"%edit {file}")[0]["payload"]
    assert (payload["source"], payload["filename"]) == ("edit_magic", str(file))


def test_completion_has_types_and_inspection_finds_docs(k):
    k.ok("some_value = {'a': 1}")
    content = k.ask("complete", "some_val")
    assert content["matches"] == ["some_value"]
    (typed,) = content["metadata"]["_jupyter_types_experimental"]
    assert (typed["text"], typed["start"], typed["end"]) == ("some_value", 0, 8)
    found = k.ask("inspect", "some_value", 5)
    assert found["found"] is True
    assert "dict" in found["data"]["text/plain"]
    assert k.ask("inspect", "not_there", 5)["found"] is False


def test_magics_run(k):
    assert k.text("%%bash\necho from-bash") == "from-bash\n"
    assert "IPKernelApp" in k.value("list(get_ipython().config)")
    info = json.loads(k.text("%connect_info").partition("\n\n")[0])
    assert info["shell_port"] == k.kc.get_connection_info()["shell_port"]


def test_libraries_recognise_a_notebook(k):
    assert k.value("get_ipython().__class__.__name__") == "'ZMQInteractiveShell'"
    assert k.value("get_ipython().kernel.get_parent()['header']['msg_type']") == "'execute_request'"
    assert k.value("get_ipython().get_parent()['content']['silent']") == "False"
    assert k.value("get_ipython().display_pub.parent_header == get_ipython().parent_header['header']") == "True"


def history_file(tmp_path):
    return tmp_path / "ipython" / "profile_default" / "history.sqlite"


def test_the_history_of_a_session_is_in_ipythons_database(tmp_path):
    with kernel(tmp_path) as k:
        k.ok("first = 1")
        number = int(k.value("get_ipython().history_manager.session_number"))
        assert "first = 1" in k.text("%history")
        found = k.ask("history", hist_access_type="tail", n=2, raw=True, output=False)["history"]
        assert [line for _, _, line in found][-1] == "%history"
    with sqlite3.connect(history_file(tmp_path)) as db:
        lines = db.execute("SELECT source_raw FROM history WHERE session = ? ORDER BY line", (number,)).fetchall()
        ended = db.execute("SELECT end, num_cmds FROM sessions WHERE session = ?", (number,)).fetchone()
    db.close()
    assert lines[0] == ("first = 1",)
    assert ended[0] is not None and ended[1] == 3


def test_a_database_that_cannot_be_written_costs_the_history_and_not_the_kernel(tmp_path):
    with kernel(tmp_path) as k:
        k.ok("1")
    db = sqlite3.connect(history_file(tmp_path))
    db.execute("CREATE TRIGGER no BEFORE INSERT ON sessions BEGIN SELECT RAISE(ABORT, 'no room'); END")
    db.commit()
    db.close()
    with kernel(tmp_path) as k:
        assert k.text("print('runs')") == "runs\n"
        assert "print('runs')" in k.text("%history")
        assert k.value("get_ipython().history_manager.hist_file") == "':memory:'"


def test_reset_begins_another_session_of_the_history(tmp_path):
    with kernel(tmp_path) as k:
        k.ok("x = 1")
        first = int(k.value("get_ipython().history_manager.session_number"))
        k.ok("get_ipython().reset(new_session=True)")
        assert int(k.value("get_ipython().history_manager.session_number")) == first + 1


# A connection whose transaction is over when it is told so, and a thread that writes the history through it.
HELD = """
import threading
history = get_ipython().history_manager
class Held:
    inside, go, rows = threading.Event(), threading.Event(), []
    def __enter__(self): return self
    def __exit__(self, *error): self.inside.set(); self.go.wait()
    def executemany(self, insert, rows): self.rows += rows
held = Held()
while not held.inside.wait(0.1):  # the shell's own writer may have been first
    with history.db_input_cache_lock:
        history.db_input_cache = [*history.db_input_cache, (10**6, "late", "late")]
    writer = threading.Thread(target=history.writeout_cache, args=(held,), daemon=True)
    writer.start()
"""


def test_no_cell_waits_for_the_disk_that_the_history_goes_to(tmp_path):
    with kernel(tmp_path) as k:
        k.ok(HELD)
        assert k.text("print('at once', writer.is_alive())") == "at once True\n"
        k.ok("held.go.set(); writer.join()")
        assert "(1000000, 'late', 'late')" in k.text("print([row[1:] for row in held.rows])")
        assert "print('at once'" in k.text("%history")


def test_the_historys_writer_goes_on_beside_a_child_that_saves_and_ends_for_other_forks(tmp_path):
    fork = "pid = os.fork()\nif pid == 0:\n    os._exit(0)\n_ = os.waitpid(pid, 0)\n"
    with kernel(tmp_path) as k:
        k.ok(
            "import os\nfrom larder import saver\nhistory = get_ipython().history_manager\nwriter = history.save_thread"
        )
        k.ok(f"saver.forking = True\n{fork}saver.forking = False")
        assert k.value("history.save_thread is writer and writer.is_alive()") == "True"
        if k.value("hasattr(history, '_restart_thread_if_stopped')") == "False":
            return  # an IPython that lets its writer be
        assert k.text(f"{fork}print(writer.is_alive(), history.save_thread)") == "False None\n"
        assert k.value("type(history.save_thread.save_flag).__name__") == "'_Gathering'"
        assert "print(writer.is_alive()" in k.text("%history")
