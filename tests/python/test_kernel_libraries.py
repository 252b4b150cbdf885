"""What libraries do in a kernel: widgets, pdb, GUI loops, trio-less runners, logging, late imports of ipykernel."""

import os
import signal

import pytest
from kernelfixtures import kernel, manager, of, text

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


def test_a_widget_opens_changes_from_both_sides_and_calls_back(k):
    messages = k.ok(
        "import ipywidgets\nslider = ipywidgets.IntSlider(value=3)\nseen = []\n"
        "slider.observe(lambda change: (seen.append(change['new']), print('moved', change['new'])), 'value')\nslider"
    )
    opened = [m["content"] for m in of(messages, "comm_open")]
    model = next(c for c in opened if c["data"]["state"].get("_model_name") == "IntSliderModel")
    shown = of(messages, "execute_result")[0]["content"]["data"]
    assert shown["application/vnd.jupyter.widget-view+json"]["model_id"] == model["comm_id"]
    data = {"method": "update", "state": {"value": 8}, "buffer_paths": []}
    msg = k.kc.session.msg("comm_msg", {"comm_id": model["comm_id"], "data": data})
    k.kc.shell_channel.send(msg)
    assert text(k.until_idle(msg["header"]["msg_id"])) == "moved 8\n"
    assert k.value("slider.value, seen") == "(8, [8])"
    changed = [m["content"]["data"] for m in of(k.ok("slider.value = 9"), "comm_msg")]
    assert {"method": "update", "state": {"value": 9}, "buffer_paths": []} in changed


def test_an_output_widget_takes_the_output_of_its_block(k):
    messages = k.ok("out = ipywidgets.Output()\nwith out:\n    print('inside')")
    redirected = [m["content"]["data"]["state"] for m in of(messages, "comm_msg") if "state" in m["content"]["data"]]
    assert any(state.get("msg_id") for state in redirected)


def test_an_anywidget_opens_with_its_module(k):
    messages = k.ok(
        "import anywidget, traitlets\nclass W(anywidget.AnyWidget):\n"
        "    _esm = 'export default {}'\n    n = traitlets.Int(1).tag(sync=True)\nw = W(); w"
    )
    states = [m["content"]["data"]["state"] for m in of(messages, "comm_open")]
    assert any(state.get("_esm") == "export default {}" for state in states)


def test_importing_ipykernel_as_a_library_leaves_comms_working(k):
    messages = k.ok("import ipykernel.ipkernel, comm\nc = comm.create_comm(target_name='after')")
    assert [m["content"]["target_name"] for m in of(messages, "comm_open")] == ["after"]


@pytest.mark.parametrize("how", ["signal", "message"])
def test_pdb_asks_the_front_end_and_an_interrupt_ends_it_at_once(k, how):
    k.ok("def f():\n    x = 5\n    import pdb; pdb.set_trace()\n    return x")
    msg_id = k.send("f()", allow_stdin=True)
    assert "pdb" in k.kc.get_stdin_msg(timeout=10)["content"]["prompt"]
    k.kc.input("p x + 1")
    assert "pdb" in k.kc.get_stdin_msg(timeout=10)["content"]["prompt"]
    if how == "signal":
        os.kill(k.pid, signal.SIGINT)
    else:
        k.kc.control_channel.send(k.kc.session.msg("interrupt_request", {}))
    assert k.reply(msg_id, timeout=10)["content"]["status"] == "ok"  # pdb ends, and what it stopped goes on
    assert "6" in text(k.until_idle(msg_id))
    assert k.text("print('alive')") == "alive\n"


def test_logging_goes_to_stderr_of_the_cell(k):
    assert "careful" in k.text("import logging; logging.getLogger('x').warning('careful')", "stderr")


def test_debug_looks_into_the_last_error(k):
    assert k.run("def g():\n    inner = 7\n    1 / 0\ng()")[0]["ename"] == "ZeroDivisionError"
    msg_id = k.send("%debug", allow_stdin=True)
    for answer in ("p inner * 6", "q"):
        assert "pdb" in k.kc.get_stdin_msg(timeout=10)["content"]["prompt"]
        k.kc.input(answer)
    assert k.reply(msg_id)["content"]["status"] == "ok"
    assert "42" in text(k.until_idle(msg_id))


def test_trio_runs_cells_and_is_interrupted(k):
    k.ok("%autoawait trio")
    try:
        k.ok("import trio\nasync with trio.open_nursery() as nursery:\n    nursery.start_soon(trio.sleep, 0.01)")
        assert k.value("await trio.sleep(0, ) or trio.lowlevel.__name__") == "'trio.lowlevel'"
        msg_id = k.send("print('go', flush=True)\nawait trio.sleep(60)")
        k.wait_for(lambda m: m["msg_type"] == "stream")
        os.kill(k.pid, signal.SIGINT)
        assert k.reply(msg_id, timeout=10)["content"]["ename"] == "KeyboardInterrupt"
        k.until_idle(msg_id)
    finally:
        k.ok("%autoawait asyncio")
    k.ok("import asyncio; await asyncio.sleep(0)")


def test_ipykernel_as_a_library_knows_this_shell_and_this_connection(k):
    k.ok("from ipykernel.zmqshell import ZMQInteractiveShell\nimport ipykernel.connect")
    assert k.value("isinstance(get_ipython(), ZMQInteractiveShell)") == "True"
    assert k.value("ipykernel.connect.get_connection_file()") == repr(k.km.connection_file)
    port = k.km.get_connection_info()["shell_port"]
    assert k.value("ipykernel.connect.get_connection_info(unpack=True)['shell_port']") == str(port)


def test_programs_that_ask_for_ipykernel_by_name_find_a_notebook(k):
    assert k.value("str(type(get_ipython()))") == "\"<class 'ipykernel.zmqshell.ZMQInteractiveShell'>\""
    assert (
        k.value("import sys\n'ipykernel' in sys.modules, type(sys.stdout).__module__") == "(True, 'ipykernel.iostream')"
    )
    assert k.value(
        "import ipykernel\nipykernel.__version__.count('.') >= 1, callable(ipykernel.connect_qtconsole)"
    ) == ("(True, True)")
    assert k.value("import ipykernel.iostream\nisinstance(sys.stdout, ipykernel.iostream.OutStream)") == "True"
    asked = "from ipykernel.kernelbase import Kernel\nKernel.initialized(), Kernel.instance() is get_ipython().kernel"
    assert k.value(asked) == "(True, True)"


def test_tqdm_asks_for_ipykernels_shell_and_finds_it_without_an_import_of_ipykernel(tmp_path):
    asked = "import sys\nsys.modules['ipykernel.zmqshell'].ZMQInteractiveShell is type(get_ipython())"
    gone = (  # an environment without ipykernel
        "from importlib.machinery import PathFinder\nfind = PathFinder.find_spec\n"
        "PathFinder.find_spec = lambda name, *more: None if name == 'ipykernel' else find(name, *more)"
    )
    for sitecustomize, installed in (("", True), (gone, False)):
        (tmp_path / "sitecustomize.py").write_text(sitecustomize)
        with kernel(tmp_path, PYTHONPATH=str(tmp_path)) as running:
            assert running.value("'ipykernel.kernelbase' in __import__('sys').modules") == "False"
            assert running.value(asked) == "True"
            assert running.value("__import__('importlib.util').util.find_spec('ipykernel') is not None") == str(
                installed
            )
            if installed:
                assert (
                    running.value("import ipykernel.zmqshell as z; z.ZMQInteractiveShell is type(get_ipython())")
                    == "True"
                )
                assert (
                    running.value(
                        "from ipykernel import zmqshell; zmqshell.ZMQShellDisplayHook is type(sys.displayhook)"
                    )
                    == "True"
                )


def test_what_a_pool_of_threads_is_given_writes_into_the_cell_that_gave_it(k):
    k.ok("import asyncio\nfrom concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(1)")
    first = k.ok(
        "pool.submit(print, 'first').result()\n"
        "async def run(): await asyncio.get_running_loop().run_in_executor(pool, print, 'loop')"
    )
    second = k.ok("pool.submit(print, 'second').result()\nawait run()")
    assert (text(first), text(second)) == ("first\n", "second\nloop\n")
    failed = (
        "import gc, weakref\nclass Big: pass\ndef fail(big): raise ValueError\nbig = Big(); gone = weakref.ref(big)\n"
    )
    k.ok(failed + "gc.disable()\njob = pool.submit(fail, big); error = job.exception(); del job, error, big")
    assert k.value("alive = gone() is not None; gc.enable(); alive") == "False"
    k.ok("pool.shutdown()")


def test_a_patched_loop_is_interrupted_at_its_await(tmp_path):
    with kernel(tmp_path) as running:
        running.ok("import asyncio, nest_asyncio2\nnest_asyncio2.apply()")
        assert running.value("asyncio.run(asyncio.sleep(0, 'nested'))") == "'nested'"
        msg_id = running.send("print('go', flush=True)\nawait asyncio.sleep(60)")
        running.wait_for(lambda m: m["msg_type"] == "stream")
        running.km.interrupt_kernel()
        assert running.reply(msg_id, timeout=10)["content"]["ename"] == "KeyboardInterrupt"
        assert text(running.until_idle(msg_id), "stderr") == ""


def test_a_comm_of_ipykernels_own_class_speaks_and_listens(k):
    messages = k.ok(
        "import traitlets\nfrom ipykernel.comm import Comm\nclass Mine(Comm):\n    heard = traitlets.List()\n"
        "mine = Mine('target', data={'a': 1})\nmine.on_msg(lambda m: setattr(mine, 'heard', [m['content']['data']]))\n"
        "assert mine.kernel is get_ipython().kernel\nmine.send({'b': 2})"
    )
    opened, sent = of(messages, "comm_open")[0]["content"], of(messages, "comm_msg")[0]["content"]
    assert (opened["target_name"], opened["data"], sent["data"]) == ("target", {"a": 1}, {"b": 2})
    msg = k.kc.session.msg("comm_msg", {"comm_id": opened["comm_id"], "data": {"c": 3}})
    k.kc.shell_channel.send(msg)
    k.until_idle(msg["header"]["msg_id"])
    assert k.value("mine.heard") == "[{'c': 3}]"


def test_main_is_a_module_as_in_ipykernel(k):
    assert (
        k.value("type(sys.modules['__main__']).__name__, __doc__[:28]") == "('module', 'Automatically created module')"
    )


def test_files_beside_a_notebook_do_not_stand_in_for_the_standard_library(tmp_path):
    for name in ("random", "queue", "typing", "asyncio", "traitlets"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('a file of the user')")
    (tmp_path / "helper.py").write_text("value = 7")
    km = manager(connection_file=str(tmp_path / "kernel.json"))
    start = km.start_kernel
    km.start_kernel = lambda **options: start(cwd=str(tmp_path), **options)
    with kernel(tmp_path, km=km) as running:
        assert running.value("import random, helper\nhelper.value, random.__name__") == "(7, 'random')"


def test_other_loop_runners_run(k):
    k.ok("%autoawait sync\nasync def one(): return 1")
    k.ok("%autoawait asyncio")
    assert k.value("await one()") == "1"
