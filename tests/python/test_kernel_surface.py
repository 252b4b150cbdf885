"""What users and libraries find in the kernel by habit: magics, history, completions, transports, what ``Out`` keeps."""

import os
import shutil
import subprocess
import sys
import threading

import pytest
from kernelfixtures import kernel, manager, of, text, wait_until

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def k(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernel")
    # A qtconsole that writes down how it was called.
    (folder / "qtconsole").mkdir()
    (folder / "qtconsole" / "__init__.py").touch()
    script = f"import sys, pathlib; pathlib.Path({str(folder / 'called')!r}).write_text(' '.join(sys.argv[1:]))"
    (folder / "qtconsole" / "__main__.py").write_text(script)
    with kernel(folder, PYTHONPATH=str(folder)) as running:
        running.folder = folder
        yield running


def test_man_and_less_open_the_pager(k):
    (payload,) = k.run("%man ls")[0]["payload"]
    assert payload["source"] == "page"
    assert ("LS(1)" if shutil.which("man") else "not found") in payload["data"]["text/plain"]
    file = k.folder / "page.txt"
    file.write_text("read me\n")
    (payload,) = k.run(f"%less {file}")[0]["payload"]
    assert (payload["source"], payload["data"]["text/plain"]) == ("page", "read me\n")


def test_qtconsole_is_started_on_this_kernel(k):
    k.ok("%qtconsole --style monokai")
    called = k.folder / "called"
    wait_until(lambda: called.exists() and called.read_text())
    assert called.read_text() == f"--existing {k.km.connection_file} --style monokai"


def test_edit_opens_the_source_of_a_function_and_the_text_of_a_variable(k):
    k.ok("import json.decoder\ntext = 'written = 1\\n'")
    (payload,) = k.run("%edit -n 3 json.decoder.JSONDecoder")[0]["payload"]
    assert (payload["source"], payload["line_number"]) == ("edit_magic", 3)
    assert payload["filename"].endswith("json/decoder.py")
    (payload,) = k.run("%edit text")[0]["payload"]
    with open(payload["filename"]) as file:
        assert file.read() == "written = 1\n"


def test_subshell_says_where_the_cell_runs(k):
    shown = k.text("%subshell")
    assert "subshell id: None" in shown and "subshell list: []" in shown
    msg = k.kc.session.msg("create_subshell_request", {})
    k.kc.control_channel.send(msg)
    subshell = k.kc.control_channel.get_msg(timeout=10)["content"]["subshell_id"]
    ask = k.kc.session.msg("execute_request", {"code": "%subshell"})
    ask["header"]["subshell_id"] = subshell
    k.kc.shell_channel.send(ask)
    shown = text(k.until_idle(ask["header"]["msg_id"]))
    assert f"subshell id: {subshell}" in shown and f"subshell list: ['{subshell}']" in shown
    k.kc.control_channel.send(k.kc.session.msg("delete_subshell_request", {"subshell_id": subshell}))
    assert k.kc.control_channel.get_msg(timeout=10)["content"]["status"] == "ok"


def test_history_is_in_sqlite_from_kernel_to_kernel(tmp_path):
    with kernel(tmp_path) as k:
        k.ok("kept_by_sqlite = 'first kernel'")
        k.ok("kept_by_sqlite + '!'")
    with kernel(tmp_path) as k:
        k.ok("print('second kernel')")
        last = k.ask("history", hist_access_type="tail", n=3)["history"]
        assert [source for _, _, source in last] == [
            "kept_by_sqlite = 'first kernel'",
            "kept_by_sqlite + '!'",
            "print('second kernel')",
        ]
        found = k.ask("history", hist_access_type="search", pattern="kept_by*", raw=True, output=False, n=5)["history"]
        assert [line for _, line, _ in found] == [1, 2]
        assert "first kernel" in k.text("%history -g kept_by_sqlite")


def test_completions_have_types_and_signatures(k):
    k.ok("import zipfile\ndef some_function(a, b=1): ...\nclass SomeClass: ...")
    typed = {}
    for prefix in ("some_", "SomeC", "zipf"):
        content = k.ask("complete", prefix, len(prefix))
        typed |= {t["text"]: t for t in content["metadata"]["_jupyter_types_experimental"]}
        assert set(content["matches"]) == {t for t in typed if t.startswith(prefix)}
    kinds = {name: typed[name]["type"] for name in ("some_function", "SomeClass", "zipfile")}
    assert kinds == {"some_function": "function", "SomeClass": "class", "zipfile": "module"}
    assert typed["some_function"]["signature"] == "(a, b=1)"


def test_what_follows_our_magics_is_not_completed_as_python(k):
    for line in ("%shelf ", "%tier ", "%trace ", "x = 1\n%shelf "):
        matches = k.ask("complete", line, len(line))["matches"]
        assert matches and not {"in", "and", "not"} & set(matches), (line, matches)
    assert "in" in k.ask("complete", "x i", 3)["matches"]


def test_it_all_goes_over_local_sockets_too(tmp_path):
    km = manager(transport="ipc", ip=str(tmp_path / "socket"), connection_file=str(tmp_path / "kernel.json"))
    km.start_kernel()
    kc = km.client()
    kc.start_channels()
    try:
        kc.wait_for_ready(timeout=30)
        found = []
        kc.execute_interactive(
            "print(6 * 7)", timeout=20, output_hook=lambda m: found.append(m["content"].get("text", ""))
        )
        assert "42\n" in "".join(found)  # the line end may come by itself
    finally:
        kc.stop_channels()
        km.shutdown_kernel()
        km.cleanup_resources()


def test_a_connect_request_is_told_the_ports(k):
    msg = k.kc.session.msg("connect_request", {})
    k.kc.shell_channel.send(msg)
    content = k.reply(msg["header"]["msg_id"])["content"]
    ports = k.km.get_connection_info()
    assert {name: content[name] for name in ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")} == {
        name: ports[name] for name in ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
    }


def test_a_thread_may_say_which_cell_its_output_belongs_to(k):
    first = k.send("first = get_ipython().get_parent()")
    k.until_idle(first)
    code = (
        "import threading\ndef other():\n    token = get_ipython().set_thread_parent(first)\n    print('to the first')\n"
        "    get_ipython().reset_thread_parent(token); print('to the second')\n"
        "thread = threading.Thread(target=other); thread.start(); thread.join()"
    )
    second = k.send(code)
    shown, idle = {}, False
    while not idle or len(shown) < 2:
        msg = k.kc.get_iopub_msg(timeout=10)
        parent = msg["parent_header"]["msg_id"]
        if msg["msg_type"] == "stream":
            shown[parent] = shown.get(parent, "") + msg["content"]["text"]
        idle = idle or (parent == second and msg["content"].get("execution_state") == "idle")
    assert shown == {first: "to the first\n", second: "to the second\n"}
    assert threading.active_count() < 50


def test_the_names_that_libraries_reach_for_are_there(k):
    k.ok(
        "ip = get_ipython(); kernel = ip.kernel\n"
        "message = kernel.session.msg('display_data', {'data': {'text/plain': 'sent'}, 'metadata': {}, 'transient': {}})\n"
        "from traitlets.config import SingletonConfigurable"
    )
    shown = of(k.ok("kernel.session.send(kernel.iopub_socket, message, parent=kernel.get_parent());"), "display_data")
    assert [m["content"]["data"] for m in shown] == [{"text/plain": "sent"}]
    shown = k.ok("kernel.send_response(kernel.iopub_socket, 'stream', {'name': 'stdout', 'text': 'direct'})")
    assert text(shown) == "direct"
    assert k.value("kernel.shell is ip, kernel.comm_manager.comms, kernel.execution_count > 0") == "(True, {}, True)"
    assert k.value("type(kernel.io_loop).__module__.split('.')[0]") == "'tornado'"
    assert k.value("ip.display_pub.parent_header['msg_id'] == ip.parent_header['header']['msg_id']") == "True"
    info = "kernel.language_info['name'], kernel.language_version.count('.'), kernel.banner[:6], len(kernel.help_links)"
    assert k.value(info) == "('python', 2, 'larder', 2)"
    assert k.value("kernel.kernel_info['implementation'], kernel.user_module is ip.user_module") == "('larder', True)"
    k.ok("events = []\nip.events.register('post_run_cell', lambda result: events.append(result.info.raw_cell))")
    k.ok("'seen'")
    assert k.value("events[-1]") == "\"'seen'\""


def test_out_never_keeps_the_memory_of_a_shelf(k):
    k.ok(
        "import gc, weakref, larder, numpy as np, pandas as pd\nshelf = larder.open('out')\n"
        "shelf.small = np.arange(4.0)\nshelf.large = np.zeros(1_000_000)\nshelf.frame = pd.DataFrame({'a': np.zeros(300_000)})"
    )
    assert k.value("small = shelf.small; r = weakref.ref(small); small").startswith("ShelfArray")
    assert k.value("_") == "array([0., 1., 2., 3.])"
    k.ok("del small; shelf.small[0] = 9")
    assert k.value("gc.collect(); r() is None, float(_[0])") == "(True, 0.0)"
    for shown in (
        "shelf.large",
        "shelf.large[5:]",
        "[shelf.large]",
        "{'x': shelf.large.reshape(1000, 1000)}",
        "shelf.frame",
    ):
        k.ok(shown)
        assert "on a shelf: not kept in Out" in k.value("_"), shown
    assert k.value("np.zeros(3)") == k.value("_") == "array([0., 0., 0.])"
    k.ok("shelf.close()")


def test_a_kernel_in_a_kernel_is_refused_and_how_to_join_it_is_told(k):
    content, _ = k.run("from ipykernel.embed import embed_kernel\nembed_kernel()")
    assert content["ename"] == "RuntimeError" and "%connect_info" in content["evalue"]
    assert f"$> jupyter <app> --existing {k.km.connection_file}\n" in k.text("%connect_info")


@pytest.fixture
def profile(tmp_path):
    """An IPython profile as users have it; `kernel` looks in this folder."""
    folder = tmp_path / "ipython" / "profile_default"
    (folder / "startup").mkdir(parents=True)
    (folder / "startup" / "00-first.py").write_text("started = 'startup'")
    (folder / "startup" / "01-second.ipy").write_text("%env STARTED=ipy")
    (folder / "ipython_config.py").write_text(
        "c = get_config()\nc.InteractiveShellApp.exec_lines = ['line = 1']\nc.InteractiveShellApp.extensions = ['autoreload']\n"
        "c.InteractiveShell.ast_node_interactivity = 'all'\nc.InlineBackend.figure_formats = {'svg'}"
    )
    (folder / "ipython_kernel_config.py").write_text("c.InteractiveShellApp.exec_lines.append('line += 1')")
    return folder


def test_the_profile_is_ipythons(profile, tmp_path):
    with kernel(tmp_path) as k:
        assert k.value("started, line, __import__('os').environ['STARTED']") == "('startup', 2, 'ipy')"
        assert k.value("'autoreload' in get_ipython().magics_manager.magics['line']") == "True"
        assert [m["content"]["data"]["text/plain"] for m in of(k.ok("1\n2"), "execute_result")] == ["1", "2"]
        shown = of(k.ok("import matplotlib.pyplot as plt\nplt.plot([1, 2]);"), "display_data")
        assert "image/svg+xml" in shown[0]["content"]["data"]


def test_the_command_line_is_ipykernels(tmp_path):
    km = manager(connection_file=str(tmp_path / "kernel.json"))
    argv = km._kernel_spec.argv
    argv[3:3] = ["--ext=autoreload", "--InteractiveShellApp.exec_lines=asked = 5", "--cache-size=7"]
    argv += ["--matplotlib=inline"]
    with kernel(tmp_path, km=km) as k:
        assert (
            k.value("asked, get_ipython().cache_size, get_ipython().config.IPKernelApp.matplotlib")
            == "(5, 7, 'inline')"
        )
        assert k.value("'autoreload' in get_ipython().magics_manager.magics['line']") == "True"


@pytest.mark.parametrize("word, said", [("--nosuchflag", "--nosuchflag"), ("--profile=nowhere", "'nowhere' not found")])
def test_a_kernel_that_cannot_be_begun_as_asked_says_so_where_it_was_started(tmp_path, word, said):
    env = {**os.environ, "LARDER_HOME": str(tmp_path), "IPYTHONDIR": str(tmp_path / "ipython")}
    command = [sys.executable, "-m", "larder", "-f", str(tmp_path / "kernel.json"), word]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env, check=False)
    assert done.returncode in (1, 2) and said in done.stderr
