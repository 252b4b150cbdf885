"""The debugger over the control channel: a breakpoint in a cell, variables there, and on again."""

import itertools
from pathlib import Path

import pytest
from kernelfixtures import kernel

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

seqs = itertools.count(1)


@pytest.fixture
def k(tmp_path):
    with kernel(tmp_path) as running:
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


def test_a_breakpoint_stops_its_cell_shows_its_variables_and_lets_it_go_on(k):
    code = "def f(a):\n    b = a + 1\n    return b\n\nf(41)"
    assert ask(k, "debugInfo")["body"]["isStarted"] is False
    assert ask(k, "initialize", clientID="test", adapterID="")["success"]
    assert ask(k, "attach")["success"]
    path = ask(k, "dumpCell", code=code)["body"]["sourcePath"]
    info = ask(k, "debugInfo")["body"]
    assert path.startswith(info["tmpFilePrefix"]) and path.endswith(info["tmpFileSuffix"])
    assert ask(k, "setBreakpoints", source={"path": path}, breakpoints=[{"line": 3}])["success"]
    assert ask(k, "configurationDone")["success"]
    msg_id = k.send(code)
    stopped = k.wait_for(lambda m: m["msg_type"] == "debug_event" and m["content"]["event"] == "stopped")
    thread = stopped["content"]["body"]["threadId"]
    assert thread in ask(k, "debugInfo")["body"]["stoppedThreads"]
    frame = ask(k, "stackTrace", threadId=thread)["body"]["stackFrames"][0]
    assert (frame["name"], frame["line"]) == ("f", 3)
    scope = ask(k, "scopes", frameId=frame["id"])["body"]["scopes"][0]
    shown = ask(k, "variables", variablesReference=scope["variablesReference"])["body"]["variables"]
    assert {v["name"]: v["value"] for v in shown} == {"a": "41", "b": "42"}
    rich = ask(k, "richInspectVariables", variableName="b", frameId=frame["id"])
    assert rich["body"]["data"] == {"text/plain": "42"}
    assert ask(k, "copyToGlobals", srcVariableName="b", dstVariableName="copied", srcFrameId=frame["id"])["success"]
    assert ask(k, "continue", threadId=thread)["success"]
    assert k.reply(msg_id)["content"]["status"] == "ok"
    k.until_idle(msg_id)
    assert ask(k, "disconnect", restart=False, terminateDebuggee=True)["success"]
    assert k.value("copied") == "42"


def test_variables_are_listed_without_a_debugger_running(k):
    k.ok("answer = 42; _hidden = 1")
    found = ask(k, "inspectVariables")["body"]["variables"]
    assert {"name": "answer", "value": "42"} in [{"name": v["name"], "value": v["value"]} for v in found]
    assert "get_ipython" not in {v["name"] for v in found}
