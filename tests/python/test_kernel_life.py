"""Start, interrupts, asyncio, threads and the end."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from queue import Empty

import pytest
from kernelfixtures import alive, kernel, manager, of, text, wait_until

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


def started(k, code, **options):
    """Send ``code``, wait for its first output."""
    msg_id = k.send(code, **options)
    k.wait_for(lambda m: m["msg_type"] == "stream" and m["parent_header"].get("msg_id") == msg_id)
    return msg_id


@pytest.mark.parametrize("how", ["signal", "message"])
@pytest.mark.parametrize(
    "body",
    [
        "while True: pass",
        "import time; time.sleep(60)",
        "import asyncio; await asyncio.sleep(60)",
        "import asyncio; await asyncio.gather(asyncio.sleep(60), asyncio.sleep(60))",
        "import subprocess; subprocess.run(['sleep', '60'])",
        "import asyncio\nawait asyncio.sleep(0)\nwhile True: pass",
        "import re; re.match('(a+)+b', 'a' * 60)",  # C code that checks for signals
        "import threading; threading.Event().wait()",
        "import os; os.read(os.pipe()[0], 1)",
    ],
)
def test_an_interrupt_ends_the_cell_with_keyboard_interrupt(k, body, how):
    msg_id = started(k, f"print('go', flush=True)\n{body}")
    time.sleep(0.05)
    if how == "signal":
        os.kill(k.pid, signal.SIGINT)
    else:
        k.kc.control_channel.send(k.kc.session.msg("interrupt_request", {}))
    content = k.reply(msg_id, timeout=10)["content"]
    assert (content["status"], content["ename"]) == ("error", "KeyboardInterrupt")
    k.until_idle(msg_id)
    assert k.text("print('alive')") == "alive\n"


def test_an_interrupt_ends_input(k):
    msg_id = k.send("input('?')", allow_stdin=True)
    k.kc.get_stdin_msg(timeout=10)
    os.kill(k.pid, signal.SIGINT)
    assert k.reply(msg_id, timeout=10)["content"]["ename"] == "KeyboardInterrupt"
    k.until_idle(msg_id)


def test_an_interrupt_ends_a_callback_of_the_loop_and_the_loop_goes_on(k):
    msg_id = k.send(
        "import asyncio\ndef stuck():\n    print('stuck', flush=True)\n    while True: pass\n"
        "handle = asyncio.get_running_loop().call_soon(stuck)"
    )
    k.shown("stuck\n")
    os.kill(k.pid, signal.SIGINT)
    shown = k.shown("KeyboardInterrupt")
    assert shown["parent_header"]["msg_id"] == msg_id
    assert k.text("print('alive')") == "alive\n"


def test_a_cell_that_came_before_the_interpreter_was_ready_runs_in_the_loop_too(tmp_path):
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    go = tmp_path / "go"
    wait = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)"
    (startup / "wait.py").write_text(wait)
    with kernel(tmp_path) as early:
        msg_id = early.send("import asyncio; asyncio.get_running_loop().call_soon(print, 'from the loop');")
        time.sleep(0.2)
        go.touch()
        assert early.reply(msg_id)["content"]["status"] == "ok"
        assert early.shown("from the loop\n")["parent_header"]["msg_id"] == msg_id


def test_interrupts_between_cells_do_nothing(k):
    for _ in range(5):
        os.kill(k.pid, signal.SIGINT)
        time.sleep(0.01)
    assert k.text("print('alive')") == "alive\n"


def test_the_loop_runs_in_plain_cells_and_tasks_go_on_between_them(k):
    k.ok(
        "import asyncio\nloop = asyncio.get_running_loop()\nasync def work():\n    await asyncio.sleep(0.1)\n    return 7"
    )
    k.ok("task = asyncio.create_task(work())")
    wait_until(lambda: k.value("task.done()") == "True")
    assert k.value("task.result()") == "7"
    assert k.value("await work()") == "7"


def test_context_variables_live_from_cell_to_cell(k):
    k.ok("from contextvars import ContextVar; v = ContextVar('v'); v.set(1)")
    k.ok("import asyncio; await asyncio.sleep(0); v.set(v.get() + 1)")
    assert k.value("v.get()") == "2"


def test_output_of_a_thread_and_of_a_task_goes_to_the_cell_that_started_it(k):
    first = k.send(
        "import threading, asyncio\ngo, also_go = threading.Event(), asyncio.Event()\n"
        "def later():\n    go.wait(); print('from thread')\n"
        "async def also():\n    await also_go.wait(); print('from task')\n"
        "t = threading.Thread(target=later); t.start(); task = asyncio.create_task(also())"
    )
    k.until_idle(first)
    second = k.send("import asyncio; go.set(); also_go.set(); await task; t.join(); await asyncio.sleep(0.1)")
    late = []
    while True:
        msg = k.kc.get_iopub_msg(timeout=10)
        if msg["msg_type"] == "stream":
            late.append((msg["parent_header"]["msg_id"], msg["content"]["text"]))
        if msg["msg_type"] == "status" and msg["content"]["execution_state"] == "idle":
            if msg["parent_header"]["msg_id"] == second:
                break
    assert {who for who, _ in late} == {first}
    assert sorted("".join(t for _, t in late).split()) == ["from", "from", "task", "thread"]


def test_output_of_a_child_that_outlives_its_cell_goes_to_that_cell(k):
    first = k.send("import subprocess; p = subprocess.Popen('sleep 0.4; echo late', shell=True)")
    k.until_idle(first)
    second = k.send("import time; time.sleep(0.8)")
    msg = k.wait_for(lambda m: m["msg_type"] == "stream")
    assert (msg["parent_header"]["msg_id"], msg["content"]["text"]) == (first, "late\n")
    k.until_idle(second)


def test_a_forked_child_is_ended_by_a_signal_that_comes_before_it_has_begun(k):
    code = """
import os, signal, time
ends = set()
for _ in range(100):
    pid = os.fork()
    if pid == 0:
        time.sleep(30)
        os._exit(0)
    os.kill(pid, signal.SIGTERM)
    ends.add(os.waitpid(pid, 0)[1])
print(ends)
"""
    assert k.text(code) == "{15}\n"
    of_the_kernel = "print(signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL, signal.pthread_sigmask(0, ()))"
    assert k.text(of_the_kernel) == "True set()\n"


def test_a_forked_child_prints_into_the_cell_and_does_not_answer_it(k):
    code = "import os\npid = os.fork()\nif pid == 0:\n    print('child')\n    os._exit(0)\nos.waitpid(pid, 0);"
    assert k.text(code) == "child\n"
    assert k.text("pid = os.fork()\nif pid == 0:\n    print('runs on')\nelse:\n    os.waitpid(pid, 0)\n") == "runs on\n"
    assert k.text("print('alive')") == "alive\n"


def test_print_is_seen_while_the_cell_runs(k):
    msg_id = started(k, "print('now')\nimport time; time.sleep(0.5)")
    assert of(k.until_idle(msg_id), "status")


def test_comms_with_buffers_open_answer_and_close(k):
    k.ok(
        "import comm\n"
        "def target(c, msg):\n"
        "    c.on_msg(lambda m: c.send({'echo': m['content']['data']}, buffers=[bytes(m['buffers'][0])[::-1]]))\n"
        "comm.get_comm_manager().register_target('t', target)"
    )
    open_ = k.kc.session.msg("comm_open", {"comm_id": "c1", "target_name": "t", "data": {}})
    k.kc.shell_channel.send(open_)
    k.until_idle(open_["header"]["msg_id"])
    assert k.ask("comm_info", "t")["comms"] == {"c1": {"target_name": "t"}}
    msg = k.kc.session.msg("comm_msg", {"comm_id": "c1", "data": {"x": 1}})
    k.kc.session.send(k.kc.shell_channel.socket, msg, buffers=[b"abc"])
    answer = k.wait_for(lambda m: m["msg_type"] == "comm_msg")
    assert answer["content"]["data"] == {"echo": {"x": 1}}
    assert [bytes(b) for b in answer["buffers"]] == [b"cba"]


def test_an_unknown_comm_target_is_closed(k):
    k.kc.shell_channel.send(k.kc.session.msg("comm_open", {"comm_id": "c9", "target_name": "none", "data": {}}))
    closed = k.wait_for(lambda m: m["msg_type"] == "comm_close")
    assert closed["content"]["comm_id"] == "c9"


def test_a_comm_message_reaches_a_cell_that_awaits_it(k):
    k.ok(
        "import asyncio, comm\ngot = None\ndef waiting(c, msg):\n    got.set_result(msg['content']['data'])\n"
        "comm.get_comm_manager().register_target('w', waiting)"
    )
    msg_id = k.send("got = asyncio.get_running_loop().create_future(); print('go'); await got")
    k.wait_for(lambda m: m["msg_type"] == "stream")
    k.kc.shell_channel.send(k.kc.session.msg("comm_open", {"comm_id": "c2", "target_name": "w", "data": {"v": 5}}))
    assert k.reply(msg_id, timeout=10)["content"]["status"] == "ok"
    k.until_idle(msg_id)


def run_kernel(tmp_path, name="kernel.json", **env):
    file = tmp_path / name
    process = subprocess.Popen(
        [sys.executable, "-m", "larder", "-f", str(file)],
        env=dict(os.environ, LARDER_HOME=str(tmp_path / "home"), IPYTHONDIR=str(tmp_path / "ip"), **env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_until(file.exists)
    return process, file


def test_a_missing_connection_file_is_made_for_its_owner_only_and_removed_at_the_end(tmp_path):
    process, file = run_kernel(tmp_path)
    info = json.loads(file.read_text())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert all(info[f"{name}_port"] for name in ("shell", "iopub", "stdin", "control", "hb"))
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=15)
    assert (out, err) == (b"", b"")
    assert not file.exists()


def test_a_kernel_that_cannot_start_says_why_on_its_standard_error(tmp_path):
    (tmp_path / "IPython").mkdir()
    (tmp_path / "IPython" / "__init__.py").write_text("raise RuntimeError('this IPython is broken')\n")
    process, file = run_kernel(tmp_path, PYTHONPATH=str(tmp_path))
    _, err = process.communicate(timeout=30)
    assert (process.returncode, file.exists()) == (1, False)
    assert b"RuntimeError: this IPython is broken" in err


def test_nothing_is_written_to_stderr_and_shutdown_ends_children(tmp_path):
    km = manager(connection_file=str(tmp_path / "kernel.json"))
    log = tmp_path / "log"
    with log.open("wb") as sink:
        env = dict(os.environ, LARDER_HOME=str(tmp_path), IPYTHONDIR=str(tmp_path))
        km.start_kernel(stdout=sink, stderr=sink, env=env)
        kc = km.client()
        kc.start_channels()
        kc.wait_for_ready(timeout=30)
        reply = []
        kc.execute_interactive(
            "import subprocess; p = subprocess.Popen(['sleep', '600']); print(p.pid)",
            timeout=20,
            output_hook=lambda m: reply.append(m["content"].get("text", "")),
        )
        child = int("".join(reply))
        pid = km.provisioner.pid
        km.shutdown_kernel()
        kc.stop_channels()
    wait_until(lambda: not alive(child) and not alive(pid), timeout=10)
    assert log.read_bytes() == b""


def test_shutdown_kills_children_that_ignore_term_and_leaves_other_process_groups_alone(tmp_path):
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    )
    with kernel(tmp_path) as k:
        started(k, f"import subprocess, sys\ndeaf = subprocess.Popen([sys.executable, '-c', {stubborn!r}])")
        own = int(k.value("deaf.pid"))
        other = int(k.value("subprocess.Popen(['sleep', '600'], process_group=0).pid"))
        try:
            k.kc.shutdown()
            wait_until(lambda: not alive(own) and not alive(k.pid), timeout=15)
            assert alive(other)
        finally:
            os.kill(other, signal.SIGKILL)


@pytest.mark.parametrize("word", ["exit()", "quit"])
def test_exit_in_a_cell_ends_the_kernel(tmp_path, word):
    with kernel(tmp_path) as k:
        content, _ = k.run(word)
        assert content["payload"][0]["source"] == "ask_exit"
        pid = k.pid
        wait_until(lambda: not alive(pid), timeout=15)


def test_the_kernel_ends_when_its_parent_dies(tmp_path):
    file = tmp_path / "kernel.json"
    script = (
        "import os, subprocess, sys, time\n"
        f"p = subprocess.Popen([sys.executable, '-m', 'larder', '-f', {str(file)!r}],"
        " env=dict(os.environ, JPY_PARENT_PID=str(os.getpid())), start_new_session=True)\n"
        "print(p.pid, flush=True)\ntime.sleep(600)\n"
    )
    env = dict(os.environ, LARDER_HOME=str(tmp_path), IPYTHONDIR=str(tmp_path / "ip"))
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=env)
    pid = int(parent.stdout.readline())
    wait_until(file.exists)
    time.sleep(0.5)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not alive(pid), timeout=15)


def test_a_shutdown_request_is_answered_before_the_process_ends(tmp_path):
    with kernel(tmp_path) as k:
        msg = k.kc.session.msg("shutdown_request", {"restart": False})
        k.kc.control_channel.send(msg)
        answer = k.kc.control_channel.get_msg(timeout=10)
        assert answer["content"] == {"status": "ok", "restart": False}
        pid = k.pid
        wait_until(lambda: not alive(pid), timeout=10)


def test_shutdown_interrupts_a_running_cell(tmp_path):
    with kernel(tmp_path) as k:
        started(k, "print('go')\nwhile True: pass")
        k.kc.control_channel.send(k.kc.session.msg("shutdown_request", {"restart": False}))
        assert k.kc.control_channel.get_msg(timeout=10)["content"]["status"] == "ok"


def test_text_helper_reads_only_the_named_stream():
    msg = {"msg_type": "stream", "content": {"name": "stderr", "text": "x"}}
    assert (text([msg]), text([msg], "stderr")) == ("", "x")


def control(k, kind, content=None):
    msg = k.kc.session.msg(kind, content or {})
    k.kc.control_channel.send(msg)
    while True:
        answer = k.kc.control_channel.get_msg(timeout=10)
        if answer["parent_header"]["msg_id"] == msg["header"]["msg_id"]:
            return answer["content"]


def test_a_subshell_runs_cells_in_the_same_namespace_while_the_main_shell_is_busy(k):
    subshell = control(k, "create_subshell_request")["subshell_id"]
    assert control(k, "list_subshell_request")["subshell_id"] == [subshell]
    k.ok("import threading; release = threading.Event()")
    busy = k.send("release.wait(20)")
    msg = k.kc.session.msg("execute_request", {"code": "print('beside'); release.set()"})
    msg["header"]["subshell_id"] = subshell
    k.kc.shell_channel.send(msg)
    assert text(k.until_idle(msg["header"]["msg_id"])) == "beside\n"
    assert k.reply(busy)["content"]["status"] == "ok"
    assert control(k, "delete_subshell_request", {"subshell_id": subshell})["status"] == "ok"
    assert control(k, "list_subshell_request")["subshell_id"] == []


def test_a_request_to_a_dead_subshell_is_an_error_not_silence(k):
    msg = k.kc.session.msg("execute_request", {"code": "1"})
    msg["header"]["subshell_id"] = "gone"
    k.kc.shell_channel.send(msg)
    assert k.reply(msg["header"]["msg_id"])["content"]["ename"] == "UnknownSubshellError"
    assert control(k, "delete_subshell_request", {"subshell_id": "gone"})["status"] == "error"


def test_sigterm_in_a_cell_ends_the_kernel_and_the_cell_is_not_answered(tmp_path):
    with kernel(tmp_path) as k:
        msg_id = started(k, "print('go')\nwhile True: pass")
        pid = k.pid
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not alive(pid), timeout=15)
        with pytest.raises(Empty):
            k.reply(msg_id, timeout=0.3)
