# ruff: noqa: E501
"""What programs set beside their variables (see `larder.surroundings`), for `historyfuzz`: statements, and how it all stands."""

from __future__ import annotations

import os
import random
import re
import sys

PRELUDE = """
import decimal, logging, os, random, sys, warnings
import numpy as np, pandas as pd
try: import matplotlib, matplotlib.pyplot as plt
except ImportError: pass
try: import sklearn
except ImportError: pass
from IPython.core.magic import register_line_magic
"""
CHANGE = """
np.set_printoptions(precision={k})
np.set_printoptions(suppress=True, linewidth=60 + {k})
np.set_printoptions(formatter={{'int': lambda v: '{k}'}})
np.set_printoptions(formatter=None)
np.seterr(over='ignore', divide='raise')
np.seterr(all='warn')
pd.set_option('display.max_rows', {k})
pd.options.display.precision = {k}
pd.reset_option('display.max_rows')
pd.set_option('display.float_format', lambda x: '{k}')
pd.options.display.float_format = None
pd.reset_option('all')
decimal.getcontext().prec = 20 + {k}
decimal.getcontext().traps[decimal.Inexact] = {k} % 2 == 0
decimal.setcontext(decimal.Context(prec={k}))
decimal.getcontext().rounding = decimal.ROUND_DOWN
os.environ['W{k}'] = '{k}'
os.environ['W1'] = 'other'
os.environ.pop('W{k}', None)
os.environ.pop('LANG', None)
sys.path.append('/w{k}')
sys.path.insert(0, '/w{k}')
sys.path.insert(2, 'w{k}')
sys.path.remove('/w{k}')
sys.path.reverse()
sys.path = [*sys.path, '/v{k}']
sys.setrecursionlimit(3000 + {k})
sys.set_int_max_str_digits(5000 + {k})
warnings.filterwarnings('ignore', 'm{k}')
warnings.filterwarnings('error', module='mod{k}')
warnings.simplefilter('always', UserWarning)
warnings.simplefilter('ignore')
warnings.resetwarnings()
class Mine(UserWarning): pass\nwarnings.filterwarnings('error', category=Mine)
logging.getLogger().setLevel({k} * 10)
logging.basicConfig(level={k}, format='%(message)s {k}', force=True)
logging.basicConfig(filename='w{k}.log', force=True)
logging.root.addHandler(logging.StreamHandler())
logging.root.handlers.clear()
logging.getLogger('mine').setLevel({k} * 10)
logging.getLogger('mine{k}').addHandler(logging.StreamHandler())
logging.getLogger('mine').propagate = False
logging.getLogger('mine').handlers.clear()
logging.getLogger('matplotlib').setLevel({k} * 10)
logging.disable({k} * 10)
logging.disable(0)
%xmode Plain
%xmode Context
%precision {k}
%precision
get_ipython().ast_node_interactivity = 'all'
get_ipython().ast_node_interactivity = 'last_expr'
%load_ext autoreload
%autoreload {k}
%autoreload off
plt.rcParams['figure.dpi'] = 100 + {k}
plt.rcParams['font.sans-serif'].insert(0, 'F{k}')
plt.rcParams['figure.figsize'] = ({k}, 2)
plt.style.use('ggplot')
matplotlib.rc('lines', linewidth={k})
plt.rcdefaults()
sklearn.set_config(display='text', assume_finite={k} % 2 == 0)
@register_line_magic\ndef mine{k}(line): return '{k}'
@register_line_magic\ndef mine1(line): return 'other'
random.seed({k})
random.random()
np.random.seed({k})
np.random.random({k})
np.random.standard_normal()
""".strip().split("\n")


def lines(seed: int) -> random.Random:
    return random.Random(f"world {seed}")


def change(rng: random.Random) -> str:
    return rng.choice(CHANGE).replace("\\n", "\n").format(k=rng.randint(1, 9))


def _words(value) -> str:
    """As text, functions by what they do, without addresses."""
    if hasattr(value, "__code__"):
        return f"function {value.__code__.co_code.hex()} {value.__code__.co_consts}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k!r}: {_words(v)}" for k, v in sorted(value.items(), key=repr)) + "}"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _filter(one: tuple) -> str:
    action, message, category, module, line = one
    texts = [text.pattern if isinstance(text, re.Pattern) else text for text in (message, module)]
    return f"{action} {texts} {category.__name__} {line}"


def stands(ip) -> dict[str, object]:
    """What there is of it, by the name that a state reports when it cannot be saved."""
    import decimal
    import logging
    import random
    import warnings

    import matplotlib
    import numpy as np
    import pandas as pd
    import sklearn

    pandas: dict[str, str] = {}
    groups = [("", pd._config.config._global_config)]
    while groups:
        prefix, group = groups.pop()
        for name, value in group.items():
            if isinstance(value, dict):
                groups.append((f"{prefix}{name}.", value))
            else:
                pandas[prefix + name] = _words(value)
    magics = ip.magics_manager.magics["line"]
    reloader = ip.magics_manager.registry.get("AutoreloadMagics")
    reloader = reloader and reloader._reloader
    return {
        "(numpy options)": [_words(np.get_printoptions()), _words(np.geterr())],
        "(pandas options)": pandas,
        "(matplotlib options)": {k: _words(v) for k, v in dict.items(matplotlib.rcParams) if k != "backend"},
        "(decimal options)": repr(decimal.getcontext()),
        "(sklearn options)": _words(sklearn.get_config()),
        "(logging options)": [
            logging.root.level,
            *(
                [type(one).__name__, getattr(one, "baseFilename", ""), one.level, getattr(one.formatter, "_fmt", None)]
                for one in logging.root.handlers
            ),
            logging.root.manager.disable,
            *(
                [name, one.level, one.propagate, [type(of).__name__ for of in one.handlers]]
                for name in ("matplotlib", "mine", *(f"mine{k}" for k in range(1, 10)))
                for one in [logging.getLogger(name)]
            ),
        ],
        "(warnings)": list(map(_filter, warnings.filters)),
        "(magics)": {k: _words(v) for k, v in magics.items() if k.startswith("mine")},
        "(random)": [
            hash(random.getstate()),
            *(x.tobytes().hex() if hasattr(x, "tobytes") else x for x in np.random.get_state()),
        ],
        "path": list(map(str, sys.path)),
        "environ": {k: v for k, v in os.environ.items() if k == "LANG" or k.startswith("W")},
        "bounds": [sys.getrecursionlimit(), sys.get_int_max_str_digits()],
        "shell": [
            ip.ast_node_interactivity,
            getattr(ip.InteractiveTB, "mode", None),
            ip.display_formatter.formatters["text/plain"].float_precision,
            bool(reloader and reloader.enabled) and [reloader.check_all],
        ],
    }
