"""The same cells in ipykernel and in larder: what a notebook shows is the same, message by message."""

import json
import re
import sys
from contextlib import ExitStack

import pytest
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpec
from kernelfixtures import kernel, manager

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
    pytest.mark.timeout(300),
]

CELLS = {
    "errors": [
        "1/0",
        "def f(a):\n    return a / 0\nf(3)",
        "try:\n    1/0\nexcept Exception as e:\n    raise ValueError('v') from e",
        "e = ValueError('x'); e.add_note('a note'); raise e",
        "raise ExceptionGroup('g', [ValueError(1), TypeError(2)])",
        "class E(Exception):\n    def _render_traceback_(self): return ['my own']\nraise E('x')",
        "class B:\n    def __repr__(self): 1/0\nB()",
        "class H:\n    def _repr_html_(self): 1/0\nH()",
        "raise KeyboardInterrupt",
        "raise SystemExit(3)",
        "x = (",
        "  x = 1",
        "return 5",
        "yield 5",
        "%xmode Plain",
        "1/0",
        "%xmode Minimal",
        "1/0",
        "%xmode Context",
        "%tb",
        "get_ipython().set_custom_exc((ZeroDivisionError,), lambda self, et, ev, tb, tb_offset=None: print('mine'))\n1/0",
        "import threading, time\ndef t(): raise ValueError('in a thread')\n"
        "thread = threading.Thread(target=t, name='T'); thread.start(); thread.join()",
    ],
    "magics": [
        "%%capture cap\nimport sys\nprint('a'); print('b', file=sys.stderr); 5",
        "cap.stdout, cap.stderr, cap.outputs",
        "cap.show()",
        "%%writefile script.py\nimport sys\nprint(sys.argv, __name__)\nvalue = 5\n",
        "%run script.py a b",
        "value",
        "%run nosuch.py",
        "%load script.py",
        "%pycat script.py",
        "%load_ext autoreload\n%autoreload 2",
        "%%script bash\necho hi; echo err >&2; exit 3",
        "%%bash\nfor i in 1 2; do echo $i; done",
        "!echo hi; exit 4",
        "_exit_code",
        "r = !echo listed\nr",
        "!seq 1 3000 | tail -n 2",
        "%sx echo b",
        "%env LARDER_BESIDE=1",
        "%env LARDER_BESIDE",
        "%who_ls int",
        "%history -n 1-2",
        "%recall 1",
        "sum?",
        "%pinfo2 nosuch",
        "%psearch su*",
        "%config InteractiveShell.ast_node_interactivity = 'all'",
        "1\n2",
        "%config InteractiveShell.ast_node_interactivity = 'last_expr'",
        "%precision 3",
        "3.14159",
        "%pprint",
        "%doctest_mode",
        "1/0",
        "%doctest_mode",
        "%notebook out.ipynb",
        "%logstate",
        "%gui",
        "%gui inline",
        "%gui widget",
        "%nosuchmagic",
        "%%nosuchcell\nx",
        "%%html\n<b>x</b>",
        "%%javascript\n1+1",
        "%%latex\n$x$",
        "%%markdown\n# x",
        "get_ipython().set_next_input('abc')",
        "%reset -f",
        "value",
    ],
    "displays": [
        "from IPython.display import *",
        "handle = display('one', display_id='d1')",
        "handle.update('two')",
        "update_display('three', display_id='d1')",
        "for i in range(3):\n    clear_output(wait=True); print(i)",
        "display(HTML('<b>x</b>'), Markdown('# x'), Latex('$x$'), JSON({'a': 1}), SVG('<svg/>'), Math('x'), Code('x=1'))",
        "display({'text/plain': 'a', 'text/html': '<i>a</i>'}, raw=True)",
        "publish_display_data({'text/plain': 'q'}, metadata={'a': 1})",
        "class R:\n    def _repr_html_(self): return '<i>'\n    def __repr__(self): return 'R!'\nR()",
        "class M:\n    def _repr_mimebundle_(self, include=None, exclude=None):\n"
        "        return {'application/x-y': {'a': 1}, 'text/plain': 'M'}, {'application/x-y': {'m': 1}}\nM()",
        "class P:\n    def _repr_png_(self): return b'\\x89PNG\\r\\n\\x1a\\n'\nP()",
        "class D:\n    def _ipython_display_(self): print('displayed itself')\nD()",
        "import pandas as pd\npd.DataFrame({'a': [1, 2], 'b': ['x', None]})",
        "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]);",
        "fig, ax = plt.subplots(); ax.plot([1, 2])",
        "%config InlineBackend.close_figures = False",
        "plt.figure(); print('before'); plt.show(); print('after'); plt.close('all')",
        "import ipywidgets\nout = ipywidgets.Output()\nwith out:\n    print('inside'); display(3)",
        "ipywidgets.HBox([ipywidgets.IntSlider(), ipywidgets.FloatText()])",
        "ipywidgets.interact(lambda x: x * 2, x=(0, 10));",
        "5;",
        "# nothing",
        "",
        "print('\\x1b[31mred\\x1b[0m \\r over')",
        "import logging; logging.warning('w'); logging.getLogger('a').error('e')",
        "import warnings; warnings.warn('careful')",
    ],
    "processes": [
        "import asyncio\nawait asyncio.sleep(0.01); 5",
        # Closed, because a warning of one that is not comes whenever garbage is collected.
        "sleep = asyncio.sleep(0)\ntry:\n    asyncio.run(sleep)\nfinally:\n    sleep.close()",
        "await asyncio.wait_for(asyncio.sleep(1), 0.01)",
        "async with asyncio.timeout(0.01):\n    await asyncio.sleep(1)",
        "async def fails():\n    await asyncio.sleep(0)\n    1/0\nawait asyncio.gather(fails(), asyncio.sleep(0))",
        "task = asyncio.create_task(asyncio.sleep(0, 'done')); await task",
        "async for i in nothing():\n    print(i)",
        "%%writefile work.py\ndef square(x): return x * x\n",
        "import multiprocessing as mp, work\nwith mp.get_context('spawn').Pool(2) as p: print(p.map(work.square, range(4)))",
        "with mp.get_context('fork').Pool(2) as p: print(p.map(work.square, range(4)))",
        "from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor\n"
        "with ProcessPoolExecutor(2, mp.get_context('spawn')) as e: print(list(e.map(work.square, range(4))))",
        "with ThreadPoolExecutor(1) as e: list(e.map(print, range(2)))",
        "import subprocess; subprocess.run('echo o; echo e >&2', shell=True, capture_output=True)",
        "sum(1 for _ in open('/dev/null')), __name__, __import__('sys').stdin.isatty()",
        "import signal; signal.getsignal(signal.SIGINT) is signal.default_int_handler",
        "import sys; sys.argv[1], sys.gettrace(), sys.getrecursionlimit(), __import__('gc').isenabled()",
    ],
}


def ipykernel(**options) -> KernelManager:
    km = KernelManager(**options)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    km._kernel_spec = KernelSpec(argv=argv, display_name="ipykernel", language="python", interrupt_mode="signal")
    return km


def plain(text: str) -> str:
    """Without what differs between any two kernels: addresses, process numbers, ids, times, temporary folders."""
    text = re.sub(r"0x[0-9a-f]{6,}", "0xADDRESS", text)
    text = re.sub(r"ipykernel_\d+", "ipykernel_PID", text)
    text = re.sub(r"\b[0-9a-f]{32}\b|\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "ID", text)
    return text


def seen(k, code: str) -> list:
    """What a front end shows of a cell: streams put together, the rest as it came, then the reply."""
    reply, messages = k.run(code, timeout=60)
    shown: list = []
    streams: dict[str, str] = {}

    def close_streams() -> None:
        # One after the other: which of two comes first is chance where a child writes both.
        shown.extend(["stream", name, streams.pop(name)] for name in sorted(streams))

    for message in messages:
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            streams[content["name"]] = streams.get(content["name"], "") + content["text"]
            continue
        close_streams()
        if kind.startswith("comm_"):
            state = content["data"].get("state", {})
            shown.append([kind, content.get("target_name"), state.get("_model_name"), content["data"].get("method")])
        elif kind not in ("status", "execute_input"):
            content = {name: value for name, value in content.items() if name != "execution_count"}
            shown.append([kind, {**content, "transient": content.get("transient") or {}}])
    shown.append(["reply", reply["status"], reply.get("ename"), reply.get("payload"), reply["execution_count"]])
    return json.loads(plain(json.dumps(shown)))


@pytest.mark.parametrize("room", CELLS)
def test_a_notebook_shows_what_it_shows_with_ipykernel(room, tmp_path):
    with ExitStack() as stack:
        kernels = []
        for make in (ipykernel, manager):
            folder = tmp_path / make.__name__
            (folder / "work").mkdir(parents=True)
            km = make(connection_file=str(folder / "kernel.json"))
            start = km.start_kernel
            km.start_kernel = lambda start=start, folder=folder, **more: start(cwd=str(folder / "work"), **more)
            with (folder / "stderr").open("wb") as stderr:
                kernels.append(stack.enter_context(kernel(folder, stderr=stderr, km=km)))
        different = {}
        for code in CELLS[room]:
            theirs, ours = (seen(k, code) for k in kernels)
            if theirs != ours:
                different[code] = (theirs, ours)
        assert not different, json.dumps(different, indent=1)
