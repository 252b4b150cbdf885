"""The debugger over the control channel: a breakpoint in a cell, variables there, and on again."""

import itertools
import sys
import time
from pathlib import Path

import pytest
from kernelfixtures import kernel, of, wait_until

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

seqs = itertools.count(1)


@pytest.fixture(scope="module")
def k(tmp_path_factory):
    with kernel(tmp_path_factory.mktemp("kernel")) as running:
        yield running
        folder = Path(ask(running, "debugInfo")["body"]["tmpFilePrefix"])
    assert not folder.exists()  # cells written for the debugger go with the kernel


def ask(k, command, **arguments):
    content = {"type": "request", "seq": next(seqs), "command": command, "arguments": arguments}
    msg = k.kc.session.msg("debug_request", content)
    k.kc.control_channel.send(msg)
    answer = k.kc.control_channel.get_msg(timeout=30)
    assert answer["parent_header"]["msg_id"] == msg["header"]["msg_id"]
    return answer["content"]


CODE = "def f(a):\n    b = a + 1\n    c = [a, b]\n    return b\n\nf(41)"


def begin(k, code, line):
    """A debug session with a breakpoint at ``line`` of ``code``; returns the source's path."""
    assert ask(k, "initialize", clientID="test", adapterID="")["success"]
    assert ask(k, "attach")["success"]
    path = ask(k, "dumpCell", code=code)["body"]["sourcePath"]
    reply = ask(k, "setBreakpoints", source={"path": path}, breakpoints=[{"line": line}], sourceModified=False)
    assert [(b["line"], b["verified"]) for b in reply["body"]["breakpoints"]] == [(line, True)]
    assert ask(k, "configurationDone")["success"]
    return path


def stopped(k):
    """The thread and the top frame at the next stop."""
    event = k.wait_for(lambda m: m["msg_type"] == "debug_event" and m["content"]["event"] == "stopped")["content"]
    thread = event["body"]["threadId"]
    return thread, ask(k, "stackTrace", threadId=thread)["body"]["stackFrames"][0]


def locals_of(k, frame):
    scope = ask(k, "scopes", frameId=frame["id"])["body"]["scopes"][0]
    shown = ask(k, "variables", variablesReference=scope["variablesReference"])["body"]["variables"]
    return {v["name"]: v["value"] for v in shown}


def test_the_whole_way_from_attach_to_disconnect(k):
    assert ask(k, "debugInfo")["body"]["isStarted"] is False
    path = begin(k, CODE, 3)
    info = ask(k, "debugInfo")["body"]
    assert path.startswith(info["tmpFilePrefix"]) and path.endswith(info["tmpFileSuffix"])
    assert info["isStarted"] is True and info["richRendering"] is True and info["copyToGlobals"] is True
    assert info["breakpoints"] == [{"source": path, "breakpoints": [{"line": 3}]}]
    assert ask(k, "source", source={"path": path})["body"]["content"] == CODE

    msg_id = k.send(CODE)
    thread, frame = stopped(k)
    assert thread in ask(k, "debugInfo")["body"]["stoppedThreads"]
    assert (frame["name"], frame["line"], frame["source"]["path"]) == ("f", 3, path)
    stack = ask(k, "stackTrace", threadId=thread)["body"]["stackFrames"]
    assert [(f["name"], f["source"]["path"]) for f in stack] == [("f", path), ("<module>", path)]
    assert locals_of(k, frame) == {"a": "41", "b": "42"}
    assert ask(k, "evaluate", expression="a + b", frameId=frame["id"], context="repl")["body"]["result"] == "83"
    rich = ask(k, "richInspectVariables", variableName="b", frameId=frame["id"])
    assert rich["body"]["data"] == {"text/plain": "42"}
    assert ask(k, "copyToGlobals", srcVariableName="b", dstVariableName="copied", srcFrameId=frame["id"])["success"]

    assert ask(k, "next", threadId=thread)["success"]
    thread, frame = stopped(k)
    assert (frame["line"], locals_of(k, frame)["c"]) == (4, "[41, 42]")
    assert ask(k, "continue", threadId=thread)["success"]
    assert k.reply(msg_id)["content"]["status"] == "ok"
    k.until_idle(msg_id)
    wait_until(lambda: ask(k, "debugInfo")["body"]["stoppedThreads"] == [])
    assert ask(k, "disconnect", restart=False, terminateDebuggee=False)["success"]
    assert ask(k, "debugInfo")["body"]["isStarted"] is False
    assert k.value("copied") == "42"


def test_disconnect_never_ends_the_kernel_and_the_next_session_stops_again(k):
    for _ in range(2):
        begin(k, CODE, 2)
        msg_id = k.send(CODE)
        thread, frame = stopped(k)
        assert frame["line"] == 2
        ask(k, "continue", threadId=thread)
        k.until_idle(msg_id)
        assert ask(k, "disconnect", restart=False, terminateDebuggee=True)["success"]
        time.sleep(1.2)  # debugpy would have ended the process a second after this
        assert k.value("f(1)") == "2"


def test_a_session_out_of_order_is_answered_and_not_waited_for(k):
    assert ask(k, "initialize")["success"] is True  # debugpy takes it, and misses the arguments later
    assert ask(k, "attach")["success"] is False
    assert ask(k, "disconnect")["success"] is True
    begin(k, CODE, 2)
    assert ask(k, "disconnect")["success"] is True


def test_sessions_that_end_at_once_leave_the_next_one_answered(k):
    for _ in range(30):
        assert ask(k, "initialize", clientID="test", adapterID="")["success"]
        assert ask(k, "disconnect")["success"]


def test_disconnect_while_stopped_lets_the_cell_go_on(k):
    begin(k, CODE, 2)
    msg_id = k.send(CODE)
    stopped(k)
    assert ask(k, "disconnect")["success"] is True
    assert k.reply(msg_id)["content"]["status"] == "ok"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the optimiser needs CPython 3.12")
def test_the_optimiser_stands_aside_for_the_debugger_and_comes_back(k):
    k.ok("import larder, sys")
    assert k.value("larder.trace.stats()['on']") == "True"
    begin(k, CODE, 2)
    assert (
        k.value("larder.trace.stats()['on'], larder.trace.stats()['why']") == "(False, \"the tool 'pydevd' is active\")"
    )
    msg_id = k.send(CODE)
    thread, _ = stopped(k)
    ask(k, "continue", threadId=thread)
    k.until_idle(msg_id)
    ask(k, "disconnect")
    assert k.value("larder.trace.stats()['on'], sys.monitoring.get_tool(sys.monitoring.DEBUGGER_ID)") == "(True, None)"


def test_states_are_saved_in_the_kernel_while_a_debugger_is_attached(k):
    asked = "__import__('larder.saver').saver.why_not()"
    begin(k, CODE, 2)
    assert "a debugger is attached" in k.value(asked)
    ask(k, "disconnect")
    assert k.value(asked) == "''"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the optimiser needs CPython 3.12")
def test_the_optimiser_stands_aside_for_settrace_and_coverage_and_comes_back(k):
    k.ok(
        "import larder, sys\nlarder.trace.optimise()\n"
        "def total(n):\n    found = 0\n    i = 0\n    while i < n:\n        found += i\n        i += 1\n    return found\n"
        "lines = []\ndef tracer(frame, event, arg):\n"
        "    if frame.f_code is total.__code__:\n        lines.append(event)\n        return tracer"
    )
    assert k.value("total(200_000)") == "19999900000"
    # A loop that is already hot, in the very cell that sets the tracer: it sees every line.
    assert k.value("sys.settrace(tracer); found = total(2000); sys.settrace(None); found") == "1999000"
    assert k.value("lines.count('line') >= 3 * 2000") == "True"
    on = "larder.trace.stats()['on']"
    assert k.value(on) == "True"
    k.ok("sys.settrace(tracer)")
    assert k.value(on + ", sys.gettrace() is tracer") == "(False, True)"
    k.ok("sys.settrace(None)")
    assert k.value(on) == "True"
    k.ok("sys.monitoring.use_tool_id(sys.monitoring.COVERAGE_ID, 'coverage')")
    assert k.value("larder.trace.stats()['why']") == "\"the tool 'coverage' is active\""
    k.ok("sys.monitoring.free_tool_id(sys.monitoring.COVERAGE_ID)")
    assert k.value(on + ", total(200_000)") == "(True, 19999900000)"


def test_variables_are_listed_without_a_debugger_running(k):
    k.ok("answer = 42; _hidden = 1")
    found = ask(k, "inspectVariables")["body"]["variables"]
    assert {"name": "answer", "value": "42"} in [{"name": v["name"], "value": v["value"]} for v in found]
    assert "get_ipython" not in {v["name"] for v in found}


def test_a_first_look_at_the_variables_says_nothing_in_the_notebook(tmp_path):
    with kernel(tmp_path) as running:
        running.ok("answer = 42")
        assert ask(running, "inspectVariables")["success"]
        last, seen = running.send("pass"), []
        while not (seen and seen[-1]["parent_header"].get("msg_id") == last and of(seen[-1:], "execute_input")):
            seen.append(running.kc.get_iopub_msg(timeout=20))
        assert not of(seen, "stream")
