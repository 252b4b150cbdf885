"""What a notebook sets beside its variables is as it was after a crash, and after `undo` and `checkout`."""

import os
import sys

import pytest
from kernelfixtures import kernel, kill

ALREADY = "".join(f":{one}" for one in [os.environ.get("PYTHONPATH")] if one)

MADE = """
import sys, os, warnings, decimal
sys.path.insert(0, 'lib'); sys.path.append('tail')
import helper
os.environ['TOKEN'] = 'abc'; del os.environ['GONE']
%env OTHER=1
sys.setrecursionlimit(12345); sys.set_int_max_str_digits(0)
warnings.filterwarnings('ignore', 'nobody wants this')
decimal.getcontext().prec = 50
"""
ASKED = """
import sys, os, warnings, decimal
assert sys.path[0] == 'lib' and sys.path[-1] == 'tail' and helper.VALUE == 7, sys.path
assert os.environ['TOKEN'] == 'abc' and 'GONE' not in os.environ and os.environ['OTHER'] == '1'
assert sys.getrecursionlimit() == 12345 and sys.get_int_max_str_digits() == 0
with warnings.catch_warnings(record=True) as heard:
    warnings.warn('nobody wants this'); warnings.warn('everybody wants that')
assert [str(one.message) for one in heard] == ['everybody wants that']
assert decimal.getcontext().prec == 50 and len(str(decimal.Decimal(1) / 3)) == 52
print('as it was')
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "helper.py").write_text("VALUE = 7\n")
    return tmp_path


def notebook(folder, **env):
    return kernel(folder, JPY_SESSION_NAME=str(folder / "notebook.ipynb"), GONE="there", **env)


def in_the_folder(k, folder):
    k.ok(f"import os; os.chdir({str(folder)!r})")


def test_path_environment_bounds_and_warnings(folder):
    with notebook(folder) as k:
        in_the_folder(k, folder)
        k.ok(MADE)
        kill(k)
    with notebook(folder) as k:
        shown = k.text(ASKED)
        assert shown.endswith("as it was\n"), shown
        assert "set as before: " in shown and "os.environ (GONE, OTHER, TOKEN)" in shown and "abc" not in shown
        kill(k)
    with notebook(folder) as k:  # and after a kernel that only ran a cell that changed nothing
        assert k.text(ASKED).endswith("as it was\n")


def test_a_kernel_that_begins_with_another_path_keeps_its_own(folder):
    with notebook(folder, PYTHONPATH="/one:/two" + ALREADY) as k:
        in_the_folder(k, folder)
        k.ok("import sys; sys.path.insert(0, 'lib'); sys.path.append('tail'); sys.path.remove('/one'); import helper")
        kill(k)
    with notebook(folder, PYTHONPATH="/one:/three" + ALREADY) as k:
        shown = k.text("import sys; print(helper.VALUE, sys.path)")
        path = eval(shown.partition("\n7 ")[2])
        assert (
            path[0] == "lib" and path[-1] == "tail" and "/three" in path and "/one" not in path and "/two" not in path
        )


LIBRARIES = """
import numpy as np, pandas as pd, matplotlib, matplotlib.pyplot as plt, sklearn
np.set_printoptions(precision=3, suppress=True); np.seterr(divide='raise')
def shown(x): return f'<{x:.1f}>'
pd.set_option('display.float_format', shown); pd.options.display.max_rows = 7
plt.style.use('dark_background'); plt.rcParams['figure.figsize'] = (3, 2); plt.rcParams['font.sans-serif'].insert(0, 'Mine')
sklearn.set_config(display='text')
"""
LIBRARIES_ASKED = """
import numpy as np, pandas as pd, matplotlib, matplotlib.pyplot as plt, sklearn
assert repr(np.array([1 / 3, 1e-9])) == 'array([0.333, 0.   ])', repr(np.array([1 / 3, 1e-9]))
assert np.geterr()['divide'] == 'raise' and np.geterr()['over'] == 'warn'
assert pd.options.display.max_rows == 7 and pd.options.display.float_format is shown, pd.options.display.float_format
assert '<0.3>' in repr(pd.Series([1 / 3]))
assert plt.rcParams['axes.facecolor'] == 'black' and plt.rcParams['figure.figsize'] == [3, 2]
assert plt.rcParams['font.sans-serif'][0] == 'Mine' and 'Mine' not in matplotlib.rcParamsDefault['font.sans-serif']
assert sklearn.get_config()['display'] == 'text'
print('as it was')
"""


def test_options_of_libraries(folder):
    with notebook(folder) as k:
        k.ok(LIBRARIES)
        kill(k)
    with notebook(folder) as k:
        shown = k.text(LIBRARIES_ASKED)
        assert shown.endswith("as it was\n"), shown
        assert "library options (matplotlib, numpy, pandas, sklearn)" in shown and "not back" not in shown
        rows = {row["name"]: row for row in eval(k.text("import larder; print([*map(dict, larder.session.status())])"))}
        assert rows["library options"]["why"] == "matplotlib, numpy, pandas, sklearn" and "(random)" not in rows
        kill(k)
    with notebook(folder) as k:  # libraries that come with the reply to the first cell, or later
        k.ok("1")
        assert k.text(LIBRARIES_ASKED).endswith("as it was\n")


def test_options_that_cannot_be_saved_are_named_and_keep_nothing_else_away(folder):
    with notebook(folder) as k:
        k.ok("import numpy as np, threading, larder; np.set_printoptions(precision=2); x = 1")
        k.ok("np.set_printoptions(formatter={'float': lambda v, held=threading.Lock(): 'mine'})")
        rows = {row["name"]: row for row in eval(k.text("print([*map(dict, larder.session.status())])"))}
        assert rows["(numpy options)"]["saved"] == "no" and "lock" in rows["(numpy options)"]["why"]
        assert rows["x"]["saved"] == "yes" and "library options" not in rows
        kill(k)
    with notebook(folder) as k:
        shown = k.text("print(x)")
        assert shown.endswith("\n1\n") and "(numpy options) (" in shown, shown


def test_options_wait_for_a_library_that_is_imported_later(folder):
    with notebook(folder) as k:
        k.ok("import numpy; numpy.set_printoptions(precision=2); del numpy")
        kill(k)
    for _ in range(2):
        with notebook(folder) as k:
            k.ok("x = 1")
            kill(k)
    with notebook(folder) as k:
        assert k.text("import numpy; print(numpy.array([1 / 3]))").endswith("[0.33]\n")


def test_options_of_a_library_that_was_looked_for_before_it_was_imported(folder):
    with notebook(folder) as k:
        k.ok("import importlib.util; assert importlib.util.find_spec('numpy') and importlib.util.find_spec('numpy')")
        k.ok("import numpy")
        k.ok("numpy.set_printoptions(precision=2)")
        kill(k)
    with notebook(folder) as k:
        assert k.text("print(numpy.array([1 / 3]))").endswith("[0.33]\n")


def test_the_shell(folder):
    (folder / "mine.py").write_text("VALUE = 1\n")
    with notebook(folder) as k:
        in_the_folder(k, folder)
        k.ok("%load_ext autoreload")
        k.ok("%autoreload 2")
        k.ok("import sys; sys.path.insert(0, ''); import mine")
        k.ok(
            "from IPython.core.interactiveshell import InteractiveShell; InteractiveShell.ast_node_interactivity = 'all'"
        )
        k.ok("%xmode Minimal")
        k.ok("%precision 3")
        k.ok("import matplotlib.pyplot as plt\n%config InlineBackend.figure_format = 'svg'")
        kill(k)
    with notebook(folder) as k:
        k.ok("print(mine.VALUE)")
        (folder / "mine.py").write_text("VALUE = 22\n")
        assert k.text("print(mine.VALUE)") == "22\n"
        shown = [m["content"]["data"]["text/plain"] for m in k.ok("1 / 3; 2 / 3") if m["msg_type"] == "execute_result"]
        assert shown == ["0.333", "0.667"]
        content, _ = k.run("nothing")
        assert "NameError" in content["traceback"][0] and len("".join(content["traceback"]).splitlines()) == 1
        drawn = k.ok("plt.plot([1, 2]); None")
        drawn += k.ok("plt.figure(); plt.plot([1]); plt.show()")
        assert any("image/svg+xml" in m["content"].get("data", {}) for m in drawn)


def test_undo_goes_back_and_excluded_is_not_kept(folder):
    with notebook(folder) as k:
        k.ok("import os, numpy as np, sys")
        k.ok("os.environ['A'] = '1'; np.set_printoptions(precision=2); sys.path.append('one')")
        k.ok("os.environ['A'] = '2'; os.environ['B'] = '3'; np.set_printoptions(precision=4); sys.path.append('two')")
        k.ok("import larder; larder.session.undo()")
        asked = "print(os.environ['A'], 'B' in os.environ, np.get_printoptions()['precision'], sys.path[-1])"
        assert k.text(asked) == "1 False 2 one\n"
        k.ok("import larder; larder.session.checkout(larder.session.log()[0]['id'])")
        assert (
            k.text("print('A' in os.environ, np.get_printoptions()['precision'], 'one' in sys.path)")
            == "False 8 False\n"
        )
        k.ok("import larder; os.environ['SECRET'] = 'xyzzy-plugh'; sys.path.append('kept')")
        k.ok("larder.session.exclude(['os.environ'])")
        k.ok("os.environ['SECRET2'] = 'plover-egg'")
        k.ok("import larder; larder.session.undo()")
        assert k.text("print(os.environ['SECRET'], os.environ['SECRET2'])") == "xyzzy-plugh plover-egg\n"
        kill(k)
    with notebook(folder) as k:
        shown = k.text("print('SECRET' in os.environ, 'SECRET2' in os.environ, sys.path[-1])")
        assert shown.endswith("False False kept\n"), shown


def test_what_cannot_be_set_again_is_said_and_keeps_nothing_else_away(folder):
    (folder / "ext.py").write_text("def load_ipython_extension(ip): ip.user_ns['loaded'] = True\n")
    with notebook(folder) as k:
        in_the_folder(k, folder)
        k.ok("import sys; sys.path.insert(0, '')\n%load_ext ext")
        k.ok("x = 1; sys.setrecursionlimit(4000)")
        kill(k)
    (folder / "ext.py").write_text("1 / 0\n")
    with notebook(folder) as k:
        shown = k.text("print(x, sys.getrecursionlimit())")
        assert shown.endswith("\n1 4000\n") and "%load_ext ext (ZeroDivisionError" in shown, shown


@pytest.mark.skipif(sys.version_info < (3, 12), reason="one version is enough")
def test_a_figure_backend_that_was_chosen(folder):
    with notebook(folder) as k:
        k.ok("import matplotlib; matplotlib.use('agg'); import matplotlib.pyplot as plt")
        kill(k)
    with notebook(folder) as k:
        assert k.text("print(plt.get_backend())").lower().endswith("\nagg\n")


def test_logging_goes_on_to_the_page_and_to_its_file(folder):
    with notebook(folder) as k:
        k.ok("import logging, sys")
        k.ok(
            "logging.basicConfig(level=logging.INFO, stream=sys.stdout, format='{levelname}: {message}', style='{')\n"
            f"file = logging.FileHandler({str(folder / 'log.txt')!r}, mode='w', encoding='utf-8'); file.setLevel(30)\n"
            "logging.getLogger().addHandler(file); logging.warning('one'); del file"
        )
        kill(k)
    for again in range(2):
        with notebook(folder) as k:
            k.ok("import logging")
            assert k.text("logging.info('heard'); logging.debug('not heard')") == "INFO: heard\n"
            k.ok(f"logging.error('two {again}')")
            kill(k)
    assert (folder / "log.txt").read_text().splitlines() == ["one", "two 0", "two 1"]


def test_undo_takes_a_handler_of_logging_away(folder):
    with notebook(folder) as k:
        k.ok("import logging, sys, larder")
        k.ok("logging.basicConfig(level=10, stream=sys.stdout, format='%(message)s')")
        assert k.text("logging.debug('heard')") == "heard\n"
        k.ok("logging.root.addHandler(logging.StreamHandler()); logging.root.addHandler(logging.StreamHandler())")
        k.ok("larder.session.undo()")
        assert k.value("[type(one).__name__ for one in logging.root.handlers]") == "['StreamHandler']"
        k.ok("larder.session.undo(3)")
        assert k.text("import logging; print(logging.root.handlers, logging.root.level)") == "[] 30\n"


LOGGERS = """
import logging, sys, larder
log = logging.getLogger(__name__); log.setLevel('DEBUG'); log.propagate = False
to_page = logging.StreamHandler(sys.stdout); log.addHandler(to_page)
to_page.setFormatter(logging.Formatter('%(levelname)s %(message)s'))
logging.getLogger('mine.part').addHandler(logging.FileHandler('part.txt'))
import json, chatty
logging.getLogger('chatty').setLevel('ERROR')
"""
LOGGERS_ASKED = """
log.debug('heard'); logging.getLogger('mine.part').warning('once'); logging.getLogger('chatty').warning('not heard')
print([len(logging.getLogger(one).handlers) for one in ('chatty', 'mine.part', '__main__')])
"""


def test_loggers_that_the_notebook_set(folder):
    (folder / "chatty.py").write_text(
        "import logging, sys; log = logging.getLogger('chatty'); log.addHandler(logging.StreamHandler(sys.stdout))"
    )
    with notebook(folder) as k:
        in_the_folder(k, folder)
        k.ok("import sys; sys.path.insert(0, '.')")
        k.ok(LOGGERS)
        assert k.text(LOGGERS_ASKED) == "DEBUG heard\n[1, 1, 1]\n"
        kill(k)
    with notebook(folder) as k:
        assert k.text(LOGGERS_ASKED).endswith("DEBUG heard\n[1, 1, 1]\n")
        kill(k)
    assert (folder / "part.txt").read_text() == "once\nonce\n"
    with notebook(folder) as k:
        k.ok("log.setLevel('ERROR'); logging.getLogger('chatty').setLevel('DEBUG'); logging.disable('CRITICAL')")
        k.ok("logging.getLogger('new').addHandler(logging.StreamHandler(sys.stdout))")
        assert k.text("log.error('all are silent')") == ""
        k.ok("larder.session.undo(3)")
        assert k.text(
            "logging.getLogger('chatty').error('from here on')\n"
            + LOGGERS_ASKED
            + "logging.getLogger('new').error('and so')"
        ) == ("from here on\nDEBUG heard\n[1, 1, 1]\n")


def test_undo_takes_filters_of_warnings_away_and_leaves_those_of_modules(folder):
    (folder / "filtering.py").write_text("import warnings; warnings.filterwarnings('ignore', 'of a module')")
    asked = """
with warnings.catch_warnings(record=True) as heard:
    for text in 'of the notebook', 'of a module', 'of nobody': warnings.warn(text)
print([str(one.message) for one in heard])
"""
    with notebook(folder) as k:
        in_the_folder(k, folder)
        k.ok("import larder, sys, warnings; sys.path.insert(0, '.')")
        k.ok("import filtering")
        k.ok("warnings.filterwarnings('ignore', 'of the notebook')")
        assert k.text(asked) == "['of nobody']\n"
        k.ok("larder.session.undo(2)")
        assert k.text(asked) == "['of the notebook', 'of nobody']\n"
        k.ok("warnings.filterwarnings('ignore', 'of the notebook')")
        kill(k)
    with notebook(folder) as k:
        assert k.text(asked).endswith("['of nobody']\n")
        k.ok("larder.session.checkout(larder.session.log()[2]['id'])")
        assert k.text(asked) == "['of the notebook', 'of nobody']\n"


CATEGORIES = """
import json, warnings
from noisy import Noise
class Mine(UserWarning): pass
warnings.filterwarnings('ignore', category=Noise); warnings.filterwarnings('error', category=Mine)
warnings.filterwarnings('ignore', 'but this', Mine)
"""
CATEGORIES_ASKED = """
with warnings.catch_warnings(record=True) as heard:
    warnings.warn('not heard', Noise); warnings.warn('but this', Mine); warnings.warn('heard')
    try: warnings.warn('raised', Mine)
    except Mine as err: print(err)
print([str(one.message) for one in heard])
"""


def test_filters_of_categories_that_come_back_after_the_first_cell(folder):
    (folder / "noisy.py").write_text("class Noise(UserWarning): pass")
    with notebook(folder) as k:
        in_the_folder(k, folder)
        k.ok("import sys; sys.path.insert(0, '.')")
        k.ok(CATEGORIES)
        k.ok("Mine.used = 1")
        assert k.text(CATEGORIES_ASKED) == "raised\n['heard']\n"
        kill(k)
    for first in ("json", "warnings.simplefilter('default', ImportWarning)"):
        with notebook(folder) as k:
            k.ok(first)
            assert k.text(CATEGORIES_ASKED) == "raised\n['heard']\n"
            kill(k)
    with notebook(folder) as k:
        k.ok("import larder; del Mine, Noise; warnings.resetwarnings()")
        k.ok("larder.session.undo(2)")
        assert k.text(CATEGORIES_ASKED).endswith("raised\n['heard']\n")


MAGICS = """
from IPython.core.magic import register_line_magic, register_line_cell_magic, Magics, magics_class, line_magic
@register_line_magic
def hi(line): return 'hi ' + line + after
@register_line_cell_magic
def both(line, cell=None): return (line, cell)
@magics_class
class My(Magics):
    @line_magic
    def mine(self, line): return 'mine ' + line
get_ipython().register_magics(My)
del both
after = '!'
"""


def test_magics_that_the_notebook_registered(folder):
    with notebook(folder) as k:
        k.ok(MAGICS)
        kill(k)
    for _ in range(2):
        with notebook(folder) as k:
            assert k.value("%hi you") == "'hi you!'"
            assert k.value("%%both 1\n2") == "('1', '2\\n')" and k.value("%mine 3") == "'mine 3'"
            assert k.value("hi is get_ipython().magics_manager.magics['line']['hi']") == "True"
            kill(k)
    with notebook(folder) as k:
        k.ok("from IPython.core.magic import register_line_magic\n@register_line_magic\ndef later(line): return 1")
        assert k.value("%later") == "1"
        k.ok("import larder; larder.session.undo(2)")
        content, _ = k.run("%later")
        assert "`%later` not found" in str(content) and k.value("%hi you") == "'hi you!'"


PRINTERS = """
import fractions, sympy
from sympy import sqrt, symbols
sympy.init_printing(order="rev-lex", use_latex="mathjax")
x = symbols("x")
class Own: pass
def show(one): return "<b>own</b>"
html = get_ipython().display_formatter.formatters["text/html"]
html.for_type(Own, show)
html.for_type_by_name("fractions", "Fraction", lambda one: f"<i>{one}</i>")
get_ipython().display_formatter.formatters["text/plain"].for_type(complex, lambda one, p, cycle: p.text("complex"))
del html
"""

PRINTED = """
for one in (x**2 + x, Own(), fractions.Fraction(1, 3), 1j, [x], sqrt(x)):
    print({kind: text for kind, text in sorted(get_ipython().display_formatter.format(one)[0].items()) if "Own" not in text})
del one
"""


def test_how_objects_are_shown(folder):
    with notebook(folder) as k:
        k.ok(PRINTERS)
        before = k.text(PRINTED)
        assert "<b>own</b>" in before and "<i>1/3</i>" in before and "x + x^{2}" in before and "'complex'" in before
        kill(k)
    with notebook(folder) as k:
        told = k.text(PRINTED)
        assert told.endswith(before)
        k.ok("get_ipython().display_formatter.formatters['text/plain'].for_type(complex, lambda *_: None)")
        k.ok(
            "del get_ipython().display_formatter.formatters['text/html'].type_printers[Own]; sympy.init_printing(False)"
        )
        assert k.text(PRINTED) != before
        k.ok("import larder; larder.session.undo(3)")
        assert k.text(PRINTED) == before


def test_precision_of_mpmath_and_objects_that_its_modules_have(folder):
    asked = "print(mp.dps, a, iv.dps, q, m[0], mp.pi, pi is mpmath.pi, mp is mpmath.mp, fp is mpmath.fp, test is sympy.test)"
    with notebook(folder) as k:
        k.ok(
            "import mpmath, sympy\nfrom sympy import test, doctest\nfrom mpmath import mp, iv, fp, mpf, pi\n"
            "mp.dps, iv.dps = 40, 30"
        )
        k.ok("a, q, m = mpf(1) / 3, iv.mpf([1, 2]), mp.matrix([mpf(1) / 7])")
        before = k.text(asked)
        assert before.startswith("40 0.3333333333333333333333333333333333333333 30 ")
        kill(k)
    with notebook(folder) as k:
        told = k.text("1;")
        assert "not back" not in told and "mpmath" in told
        assert k.text(asked) == before
        k.ok("mp.dps = 5")
        k.ok("import larder; larder.session.undo(1)")
        assert k.text("print(mp.dps, mp.prec)") == "40 136\n"


METHODS = """
import pandas as pd
from tqdm import tqdm
tqdm.pandas(disable=True)
def mine(df): return len(df) + more
more = 5
pd.DataFrame.mine = mine
pd.Series.twice = lambda one: one * 2
pd.DataFrame.wide = property(lambda df: df.shape[1])
@pd.api.extensions.register_dataframe_accessor("geo")
class Geo:
    def __init__(self, obj): self._obj = obj
    def center(self): return float(self._obj["a"].mean())
df = pd.DataFrame({"a": [1.0, 2.0], "b": [1, 1]})
del mine
"""

METHODS_ASKED = (
    "print(df.mine(), df.a.twice().tolist(), df.wide, df.geo.center(), 'geo' in dir(df), "
    "df.a.progress_apply(lambda v: v + 1).tolist(), df.groupby('b').progress_apply(len).tolist())"
)


def test_methods_that_classes_of_pandas_were_given(folder):
    with notebook(folder) as k:
        k.ok(METHODS)
        before = k.text(METHODS_ASKED)
        k.ok("pd.Index.first = lambda one: one[0]")
        kill(k)
    with notebook(folder) as k:
        assert k.text(METHODS_ASKED).endswith(before) and before.startswith("7 [2.0, 4.0] 2 1.5 True [2.0, 3.0] [2]")
        assert k.value("df.index.first()") == "0"
        k.ok("del pd.DataFrame.mine, pd.DataFrame.geo; pd.Series.later = lambda one: 1")
        k.ok("import larder; larder.session.undo(1)")
        assert k.text(METHODS_ASKED) == before and k.value("hasattr(df.a, 'later')") == "False"
