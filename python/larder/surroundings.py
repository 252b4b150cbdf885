"""What a notebook sets beside its variables, to go on with it after recovery, `undo` and `checkout`.

Two halves. *Here*: where modules are looked for, the environment, bounds of the interpreter, extensions and settings of the
shell; plain data, part of each saved state. Options of libraries and magics, which can be or hold functions of the notebook
(``pd.options.display.float_format``), are saved as variables are, under names that no variable has.

Both are what differs from how it was when the kernel began, or when the library was imported.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from . import printers
from ._larder import Contents, type_version
from .kernel.late import on_import

RANDOM = "(random)"
"""Stands among the names of a state for the states of the global random number generators."""
WARNINGS = "(warnings)"
MAGICS = "(magics)"
PRINTERS = "(printers)"
PATH, ENVIRON = "sys.path", "os.environ"
"""What ``exclude`` takes beside names of variables."""


class Library(NamedTuple):
    """How the options of a library are read, and set again: some of them by name."""

    module: str
    read: Callable[[Any], dict[str, Any]]
    set: Callable[[Any, dict[str, Any]], None]
    live: Callable[[Any], Any] | None = None
    """What it keeps them in, to be compared (`Contents`), which is quicker than to read them; nothing where that does not say
    it all."""


def _numpy(np: Any) -> dict[str, Any]:
    return {**np.get_printoptions(), "seterr": np.geterr()}


def _live_numpy(_: Any) -> tuple:
    core = sys.modules["numpy._core.printoptions"], sys.modules["numpy._core.umath"]
    return core[0].format_options.get(), core[1]._extobj_contextvar.get()


def _set_numpy(np: Any, options: dict[str, Any]) -> None:
    np.seterr(**options.get("seterr", {}))
    np.set_printoptions(**{name: value for name, value in options.items() if name != "seterr"})


_versions: list[int] = []
"""Of `_patched`: the very numbers, as long as they are equal."""


def _live_pandas(pd: Any) -> tuple | None:
    now = [type_version(kind) or (kind.__init__, type_version(kind))[1] for kind in _patched(pd)]
    if now != _versions:
        _versions[:] = now
    # A class that was changed has none until something is looked up; one that has none then is looked at each time.
    return (pd._config.config._global_config, *_versions) if all(now) else None


def _patched(pd: Any) -> list[type]:
    """Classes that programs give methods: ``pd.DataFrame.mine = mine``, ``tqdm.pandas()``, accessors."""
    grouped = sys.modules["pandas.core.groupby.generic"]
    return [pd.DataFrame, pd.Series, pd.Index, grouped.DataFrameGroupBy, grouped.SeriesGroupBy]


def _methods(pd: Any) -> dict[tuple[int, str], Any]:
    """Those of the notebook, and tqdm's."""
    found = {}
    for at, kind in enumerate(_patched(pd)):
        for name, value in vars(kind).items():
            of = getattr(value, "_accessor", getattr(value, "fget", value))
            home = getattr(of, "__module__", None)
            if isinstance(home, str) and home.partition(".")[0] in ("__main__", "tqdm") and callable(of):
                found[at, name] = value
    return found


def _pandas(pd: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"methods": _methods(pd)}
    groups = [("", pd._config.config._global_config)]
    while groups:
        prefix, group = groups.pop()
        for name, value in group.items():
            if type(value) is dict:
                groups.append((f"{prefix}{name}.", value))
            else:
                found[prefix + name] = value
    return found


def _set_methods(pd: Any, wanted: dict[tuple[int, str], Any]) -> None:
    kinds = _patched(pd)
    for at, name in _methods(pd).keys() - wanted.keys():
        delattr(kinds[at], name)
        getattr(kinds[at], "_accessors", set()).discard(name)
    for (at, name), value in wanted.items():
        setattr(kinds[at], name, value)
        if hasattr(value, "_accessor"):
            kinds[at]._accessors.add(name)  # type: ignore[attr-defined]


def _set_pandas(pd: Any, options: dict[str, Any]) -> None:
    options = dict(options)
    _set_methods(pd, options.pop("methods", _methods(pd)))
    for name, value in options.items():
        with contextlib.suppress(KeyError):  # an option that this version does not have
            pd.set_option(name, value)


def _matplotlib(matplotlib: Any) -> dict[str, Any]:
    # Asking for the backend in the ordinary way would choose one.
    read = dict.items(matplotlib.rcParams)
    return {name: list(value) if type(value) is list else value for name, value in read if type(value) is not object}


def _set_matplotlib(matplotlib: Any, options: dict[str, Any]) -> None:
    for name, value in options.items():
        with contextlib.suppress(KeyError):
            matplotlib.rcParams[name] = list(value) if type(value) is list else value


_CONTEXT = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")


def _decimal(decimal: Any) -> dict[str, Any]:
    now = decimal.getcontext()
    return {**{name: getattr(now, name) for name in _CONTEXT}, "traps": dict(now.traps)}


def _live_decimal(decimal: Any) -> Any:
    now = decimal.getcontext()
    return None if type(now).__dictoffset__ else now  # that of C: all of it is in its memory


def _set_decimal(decimal: Any, options: dict[str, Any]) -> None:
    now = decimal.getcontext()
    for name, value in options.items():
        if name == "traps":
            now.traps.update(value)
        else:
            setattr(now, name, value)


def _live_sklearn(_: Any) -> dict:
    return sys.modules["sklearn._config"]._get_threadlocal_config()


_PRINTED = ("precision", "threshold", "edgeitems", "linewidth", "sci_mode")


def _torch(torch: Any) -> dict[str, Any]:
    device = getattr(sys.modules.get("torch.utils._device"), "CURRENT_DEVICE", None)
    return {
        "default dtype": torch.get_default_dtype(),
        "default device": None if device is None else str(device),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "grad": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
        "print options": {name: getattr(torch._tensor_str.PRINT_OPTS, name) for name in _PRINTED},
    }


def _set_torch(torch: Any, options: dict[str, Any]) -> None:
    by_name: dict[str, Callable[[Any], Any]] = {
        "default dtype": torch.set_default_dtype,
        "default device": getattr(torch, "set_default_device", lambda device: None),  # torch 1 has none
        "deterministic algorithms": torch.use_deterministic_algorithms,
        "grad": torch.set_grad_enabled,
        "threads": torch.set_num_threads,
        "print options": lambda now: torch.set_printoptions(**now),
    }
    for name, value in options.items():
        by_name[name](value)


def _jax(jax: Any) -> dict[str, Any]:
    return {
        name: value
        for name, value in jax.config.values.items()
        if isinstance(value, (bool, int, float, str, type(None)))
    }


def _set_jax(jax: Any, options: dict[str, Any]) -> None:
    for name, value in options.items():
        with contextlib.suppress(AttributeError):  # an option that this version does not have
            jax.config.update(name, value)


def _sympy(_: Any) -> dict[str, Any]:
    """What ``init_printing()`` sets beside printers of types (`printers`)."""
    shows = vars(sys.modules["sympy.core._print_helpers"].Printable)
    settings = sys.modules["sympy.printing.printer"].Printer._global_settings
    return {name: shows.get(name) for name in ("_repr_latex_", "_repr_png_", "_repr_svg_")} | {
        "settings": dict(settings)
    }


def _set_sympy(_: Any, options: dict[str, Any]) -> None:
    for name, value in options.items():
        if name == "settings":
            settings = sys.modules["sympy.printing.printer"].Printer._global_settings
            settings.clear()
            settings.update(value)
        else:
            setattr(sys.modules["sympy.core._print_helpers"].Printable, name, value)


_OF_CONTEXTS = ("prec", "pretty", "trap_complex")


def _mpmath(mpmath: Any) -> dict[str, Any]:
    contexts = {"mp": mpmath.mp, "iv": mpmath.iv, "fp": mpmath.fp}
    return {
        f"{of}.{name}": getattr(one, name)
        for of, one in contexts.items()
        for name in _OF_CONTEXTS
        if hasattr(one, name) and not (of == "fp" and name == "prec")
    }


def _set_mpmath(mpmath: Any, options: dict[str, Any]) -> None:
    for key, value in options.items():
        of, _, name = key.partition(".")
        setattr(getattr(mpmath, of), name, value)


def _handler(logging: Any, one: Any) -> tuple | None:
    """A handler in words: its file or stream, its level, and how it writes a record; none of another kind than these."""
    if type(one) is logging.FileHandler:
        target = "file", one.baseFilename, one.encoding
    elif type(one) is logging.StreamHandler and one.stream in (sys.stdout, sys.stderr):
        target = "stream", "stdout" if one.stream is sys.stdout else "stderr"
    else:
        return None
    if one.formatter is None:
        return *target, one.level, None
    if type(one.formatter) is not logging.Formatter:
        return None
    names = {made[0]: name for name, made in logging._STYLES.items()}
    return *target, one.level, (one.formatter._fmt, one.formatter.datefmt, names.get(type(one.formatter._style), "%"))


def _handlers(logging: Any, logger: Any) -> tuple:
    return tuple(filter(None, (_handler(logging, one) for one in logger.handlers)))


_AS_MADE: tuple = (0, True, False, ())
"""Level, whether it propagates, whether it is disabled, and the handlers of a logger that nobody has set."""
_levels_seen: dict[str, int] = {}
"""Of loggers of modules, the level they had when they were first there."""


def _of_module(name: str) -> bool:
    """Whether a logger is that of a module, which gives it handlers as it is imported."""
    first = name.partition(".")[0]
    return first in sys.modules and first != "__main__"


def _loggers(logging: Any) -> dict[str, tuple]:
    """Those that were set: the notebook's own, and the levels of others."""
    found: dict[str, tuple] = {}
    for name, one in logging.root.manager.loggerDict.items():
        if not isinstance(one, logging.Logger):
            continue
        if _of_module(name):
            _levels_seen.setdefault(name, one.level)
            words = (one.level, *_AS_MADE[1:])
        else:
            words = (one.level, one.propagate, one.disabled, _handlers(logging, one) if one.handlers else ())
        if words != _AS_MADE:
            found[name] = words
    return found


def _logging(logging: Any) -> dict[str, Any]:
    root = logging.root
    of_root = {"level": root.level, "handlers": _handlers(logging, root), "disable": root.manager.disable}
    return {**of_root, "loggers": _loggers(logging)}


def _set_handlers(logging: Any, logger: Any, wanted: list[tuple]) -> None:
    for one in [*logger.handlers]:
        words = _handler(logging, one)
        if words in wanted:
            wanted.remove(words)
        elif words is not None:
            logger.removeHandler(one)
    for kind, where, *of_file, level, formatter in wanted:
        # Appended to, however it was opened: what is in the file stays.
        one = (
            logging.FileHandler(where, "a", *of_file) if kind == "file" else logging.StreamHandler(getattr(sys, where))
        )
        one.setLevel(level)
        one.setFormatter(formatter and logging.Formatter(*formatter))
        logger.addHandler(one)


def _set_logging(logging: Any, options: dict[str, Any]) -> None:
    root = logging.root
    root.setLevel(options.get("level", root.level))
    root.manager.disable = options.get("disable", root.manager.disable)
    if "handlers" in options:
        _set_handlers(logging, root, list(options["handlers"]))
    if "loggers" not in options:
        return
    for name, words in {**dict.fromkeys(_loggers(logging), _AS_MADE), **options["loggers"]}.items():
        one = logging.getLogger(name)
        level, propagate, disabled, handlers = words
        if _of_module(name):
            one.setLevel(level if name in options["loggers"] else _levels_seen.get(name, level))
            continue
        one.setLevel(level)
        one.propagate, one.disabled = propagate, disabled
        _set_handlers(logging, one, list(handlers))


LIBRARIES = {
    f"({library.module} options)": library
    for library in (
        Library("numpy", _numpy, _set_numpy, _live_numpy),
        Library("pandas", _pandas, _set_pandas, _live_pandas),
        Library("matplotlib", _matplotlib, _set_matplotlib, lambda one: one.rcParams),
        Library("decimal", _decimal, _set_decimal, _live_decimal),
        Library("logging", _logging, _set_logging),
        Library("sklearn", lambda one: one.get_config(), lambda one, options: one.set_config(**options), _live_sklearn),
        Library("torch", _torch, _set_torch),
        Library("jax", _jax, _set_jax, lambda one: one.config.values),
        Library("sympy", _sympy, _set_sympy),
        Library("mpmath", _mpmath, _set_mpmath),
    )
}
BESIDE = frozenset({RANDOM, WARNINGS, MAGICS, PRINTERS, *LIBRARIES})
"""Names of a state that are no variables."""


class Surroundings:
    """What this notebook has set since its kernel began."""

    def __init__(self, ip: Any) -> None:
        self.ip = ip
        self._path = list(sys.path)
        self._environ = dict(os.environ)
        self._extensions = self._loaded = set(ip.extension_manager.loaded)
        self._bounds = _bounds()
        self._shell = self._of_shell()
        self._filters = list(warnings.filters)
        self._printers = printers.read(ip)
        self._own: set[tuple] = set()
        """Filters of warnings that came while nothing was imported: the notebook's, not a module's."""
        self._wanted: list[tuple] = []
        self._waiting: list[tuple] = []
        """The filters to go on with, in words, and those of them whose category is not there yet."""
        self._modules = len(sys.modules)
        """How many there were when the cell began."""
        self._first: dict[str, dict[str, Any]] = {}
        """Options of libraries as they were after the import."""
        self._options: dict[str, dict[str, Any]] = {}
        """Those that differ; of a library that is not imported yet, those it will be given."""
        self._read: dict[str, Any] = {}
        """What was read of libraries last."""
        self._contents, self._contents_here = Contents(), Contents()
        self._found: dict[str, Any] = {}
        """Of paths, the environment and extensions: what differs."""
        for name, library in LIBRARIES.items():
            on_import(library.module, lambda module, name=name: self._imported(name, module))

    # --- here ---

    def here(self, without: set[str] | frozenset[str] = frozenset()) -> dict[str, Any]:
        """Plain data for JSON; nothing of what is as it was."""
        loaded, environ = self.ip.extension_manager.loaded, getattr(os.environ, "_data", None)
        if environ is None or self._contents_here.differ([(sys.path, environ)]) or loaded != self._loaded:
            self._loaded = set(loaded)
            self._found = {
                "path": {"began": self._path, "now": [str(one) for one in sys.path]}
                if sys.path != self._path
                else None,
                "environ": self._of_environ(),
                "extensions": sorted(loaded - self._extensions),
            }
        found = {key: value for key, value in self._found.items() if value}
        for name, key in ((PATH, "path"), (ENVIRON, "environ")) if without else ():
            if name in without:
                found.pop(key, None)
        if (now := self._of_shell()) != self._shell:
            found["shell"] = _changed(now, self._shell)
        if (now := _bounds()) != self._bounds:
            found["bounds"] = _changed(now, self._bounds)
        return found

    def _of_environ(self) -> dict[str, str | None]:
        """What was set, and as None what was deleted."""
        now, began = dict(os.environ), self._environ
        changed: dict[str, str | None] = {name: value for name, value in now.items() if began.get(name) != value}
        changed.update(dict.fromkeys(began.keys() - now.keys()))
        return changed

    def _of_shell(self) -> dict[str, Any]:
        ip = self.ip
        magics = ip.magics_manager.registry.get("AutoreloadMagics")
        return {
            "ast_node_interactivity": ip.ast_node_interactivity,
            "xmode": getattr(ip.InteractiveTB, "mode", None),
            "pdb": ip.call_pdb,
            "precision": ip.display_formatter.formatters["text/plain"].float_precision,
            "autoreload": "0" if magics is None else _autoreload(magics._reloader),
            "figure_formats": _figure_formats(ip),
        }

    def go_on_here(self, saved: dict[str, Any], without: set[str] | frozenset[str] = frozenset()) -> dict[str, str]:
        """Make it so again; what could not be, with the reason."""
        failed: dict[str, str] = {}
        if PATH not in without:
            sys.path[:] = self._path_of(saved.get("path"))
        if ENVIRON not in without:
            self._set_environ(saved.get("environ", {}), failed)
        for name, value in {**self._bounds, **saved.get("bounds", {})}.items():
            try:
                _BOUNDS[name][1](value)
            except (KeyError, ValueError, RecursionError) as err:
                failed[f"sys.{name}"] = str(err)
        loaded = self.ip.extension_manager.loaded
        for name in saved.get("extensions", ()):
            if name in loaded:
                continue
            try:
                self.ip.extension_manager.load_extension(name)
            except (Exception, SystemExit) as err:
                failed[f"%load_ext {name}"] = f"{type(err).__name__}: {err}"
        now = self._of_shell()
        for name, value in {**self._shell, **saved.get("shell", {})}.items():
            if value != now.get(name):
                try:
                    self._set_shell(name, value)
                except (Exception, SystemExit) as err:
                    failed[name] = f"{type(err).__name__}: {err}"
        return failed

    def _path_of(self, saved: dict[str, list[str]] | None) -> list[str]:
        if saved is None:
            return list(self._path)
        began, now = saved["began"], saved["now"]
        if began == self._path:
            return list(now)
        # Another kernel began with another path: what was put before the old one, that without what was removed, the rest.
        first = next((at for at, one in enumerate(now) if one in began), len(now))
        front, back = now[:first], [one for one in now[first:] if one not in began]
        return [*front, *(one for one in self._path if one in now or one not in began), *back]

    def _set_environ(self, saved: dict[str, str | None], failed: dict[str, str]) -> None:
        for name, value in {**dict.fromkeys(self._of_environ(), ""), **saved}.items():
            if name not in saved:
                value = self._environ.get(name)
            try:
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
            except (OSError, ValueError) as err:
                failed[f"{ENVIRON}[{name!r}]"] = str(err)

    def _set_shell(self, name: str, value: Any) -> None:
        ip = self.ip
        if name == "ast_node_interactivity":
            ip.ast_node_interactivity = value
        elif name == "xmode":
            ip.InteractiveTB.set_mode(mode=value)
        elif name == "pdb":
            ip.call_pdb = value
        elif name == "precision":
            ip.display_formatter.formatters["text/plain"].float_precision = value
        elif name == "autoreload":
            ip.run_line_magic("autoreload", value)
        elif name == "figure_formats":
            from matplotlib_inline.config import InlineBackend

            inline = InlineBackend.instance(parent=ip)
            inline.shell = ip
            inline.figure_formats = set(value)

    # --- options of libraries ---

    def options(self) -> dict[str, dict[str, Any]]:
        """Of each library those that differ; the same object as long as they are the same."""
        magics, names = self.ip.magics_manager.magics, tuple(self._first)
        shown = tuple(printers.tables(self.ip))
        for at in self._contents.differ([warnings.filters, magics, shown, *map(self._live, names)]):
            if at == 0:
                self._look_at_filters()
            elif at == 1:
                self._differ(MAGICS, self._magics())
            elif at == 2:
                now = printers.read(self.ip)
                self._differ(PRINTERS, now if now != self._printers else {})
            else:
                self._look_again(names[at - 3])
        return self._options

    def cell_begins(self) -> None:
        self._modules = len(sys.modules)

    def _look_at_filters(self) -> None:
        now, there = list(warnings.filters), self._read.get(WARNINGS, self._filters)
        if len(sys.modules) == self._modules:
            self._own.update(_plain(one) for one in now if one not in there)
        self._read[WARNINGS] = now
        words = tuple(map(_plain, now))
        own = tuple(one for one in words if one in self._own)
        self._differ(WARNINGS, {"filters": words, "own": own} if now != self._filters else {})

    def _live(self, name: str) -> Any:
        """What says that a library's options are the same; if nothing does, another one each time."""
        library = LIBRARIES[name]
        if library.live is not None:
            with contextlib.suppress(Exception):  # a version that keeps them elsewhere
                found = library.live(sys.modules[library.module])
                return _Other() if found is None else found
        return _Other()

    def _look_again(self, name: str) -> None:
        try:
            now = LIBRARIES[name].read(sys.modules[LIBRARIES[name].module])
        except Exception:  # a version that has them elsewhere
            return
        if now != self._read.get(name):
            self._read[name], first = now, self._first[name]
            self._differ(name, {key: value for key, value in now.items() if key not in first or value != first[key]})

    def _magics(self) -> dict[str, Any]:
        """The magics that are functions, or methods of classes, of the notebook."""
        manager = self.ip.magics_manager
        functions = {
            kind: {
                name: one
                for name, one in found.items()
                if type(one) is types.FunctionType and one.__module__ == "__main__"
            }
            for kind, found in manager.magics.items()
        }
        classes = [type(one) for one in manager.registry.values() if type(one).__module__ == "__main__"]
        return {"functions": functions, "classes": classes} if classes or any(functions.values()) else {}

    def _set_magics(self, saved: dict[str, Any]) -> None:
        now, wanted = self._magics().get("functions", {}), saved.get("functions", {})
        for kind, found in now.items():
            for name in found.keys() - wanted.get(kind, {}).keys():
                del self.ip.magics_manager.magics[kind][name]
        for kind, found in wanted.items():
            for name, one in found.items():
                self.ip.register_magic_function(one, kind, name)
        for one in saved.get("classes", ()):
            if type(self.ip.magics_manager.registry.get(one.__name__)) is not one:
                self.ip.register_magics(one)

    def _differ(self, name: str, now: dict[str, Any]) -> None:
        if now != self._options.get(name, {}):
            self._options = {**self._options, name: now}
            if not now:
                del self._options[name]

    def go_on(self, name: str, options: dict[str, Any]) -> None:
        """Go on with what was saved under a name: options of a library when it is imported, if it is not yet."""
        if name == MAGICS:
            self._set_magics(options)
            return
        if name == PRINTERS:
            printers.go_on(self.ip, options, self._printers)
            return
        if name == WARNINGS:
            saved = options.get("filters")
            self._wanted = list(saved or ())
            self._waiting = [words for words in self._wanted if _filter(words) is None]
            self._set_filters(self._filters if saved is None else [*filter(None, map(_filter, saved))])
            self._own, self._read[WARNINGS] = set(options.get("own", ())), list(warnings.filters)
            return
        module = sys.modules.get(LIBRARIES[name].module)
        if module is None or name not in self._first:
            self._differ(name, options)
            return
        self._set(name, module, options)

    def _set_filters(self, saved: list) -> None:
        """The filters of warnings as saved, and those that modules imported since have added."""
        there = [*saved, *self._filters]
        now = [one for one in warnings.filters if one not in there and _plain(one) not in self._own]
        warnings.filters[:] = [*now, *saved]  # type: ignore[index]
        _filters_changed()

    def variables_came(self) -> None:
        """Set filters whose category, of the notebook or of a module, was not there when the others were set."""
        for words in self._waiting:
            one = _filter(words)
            if one is None:
                continue
            now = list(map(_plain, warnings.filters))
            after = [now.index(later) for later in self._wanted[self._wanted.index(words) + 1 :] if later in now]
            warnings.filters.insert(min(after, default=len(now)), one)  # type: ignore[attr-defined]
            _filters_changed()
        self._waiting = [words for words in self._waiting if _filter(words) is None]

    def _imported(self, name: str, module: types.ModuleType) -> None:
        with contextlib.suppress(Exception):
            self._first[name] = LIBRARIES[name].read(module)
            if name in self._options:
                self._set(name, module, self._options[name])

    def _set(self, name: str, module: types.ModuleType, options: dict[str, Any]) -> None:
        library, first = LIBRARIES[name], self._first[name]
        now = library.read(module)
        wanted = {**{key: value for key, value in first.items() if now.get(key) != value}, **options}
        if not wanted:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of options that are deprecated
            library.set(module, wanted)


class _Other:
    """Stands for what has to be read."""


def _changed(now: dict[str, Any], began: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in now.items() if value != began.get(key)}


_BOUNDS: dict[str, tuple[Callable[[], int], Callable[[int], None]]] = {
    "recursionlimit": (sys.getrecursionlimit, sys.setrecursionlimit),
    "int_max_str_digits": (sys.get_int_max_str_digits, sys.set_int_max_str_digits),
}


def _bounds() -> dict[str, int]:
    return {name: read() for name, (read, _) in _BOUNDS.items()}


def _autoreload(reloader: Any) -> str:
    if not reloader.enabled:
        return "0"
    return "3" if getattr(reloader, "autoload_obj", False) else "2" if reloader.check_all else "1"


def _figure_formats(ip: Any) -> list[str]:
    config = sys.modules.get("matplotlib_inline.config")
    if config is not None and config.InlineBackend.initialized():
        return sorted(config.InlineBackend.instance().figure_formats)
    asked = ip.config.get("InlineBackend", {})  # what `%config` leaves for who comes later
    return [asked["figure_format"]] if "figure_format" in asked else sorted(asked.get("figure_formats", ["png"]))


def _filters_changed() -> None:
    with warnings.catch_warnings():  # its end says so to what remembers them
        pass


def _plain(one: tuple) -> tuple:
    """A filter of warnings in words: quick to see that it is the same, and saved whatever its category is."""
    action, message, category, module, line = one
    texts = [(text.pattern, text.flags) if isinstance(text, re.Pattern) else text for text in (message, module)]
    return action, texts[0], f"{category.__module__}:{category.__qualname__}", texts[1], line


def _filter(one: tuple) -> tuple | None:
    """The filter again; none if there is no such category (yet)."""
    action, message, named, module, line = one
    category: Any = sys.modules.get(named.partition(":")[0])
    for name in named.partition(":")[2].split("."):
        category = getattr(category, name, None)
    texts = [re.compile(*text) if isinstance(text, tuple) else text for text in (message, module)]
    return (action, texts[0], category, texts[1], line) if isinstance(category, type) else None


_began: Surroundings | None = None


def begin(ip: Any) -> Surroundings:
    """This process's; first called before the first cell."""
    global _began
    if _began is None:
        _began = Surroundings(ip)
    return _began


def told(here: dict[str, Any], options: set[str]) -> dict[str, str]:
    """What of it there is, in words: name -> what of it is another than at the start."""
    found: dict[str, str] = {}
    if "path" in here:
        new = [one for one in here["path"]["now"] if one not in here["path"]["began"]]
        found[PATH] = ", ".join(map(repr, new)) or "another order"
    if "environ" in here:
        found[ENVIRON] = ", ".join(sorted(here["environ"]))
    for name in here.get("extensions", ()):
        found[f"%load_ext {name}"] = "loaded"
    for name, value in {**here.get("bounds", {}), **here.get("shell", {})}.items():
        found[name] = str(value)
    if MAGICS in options:
        found["magics"] = "registered by the notebook"
    if PRINTERS in options:
        found["printers"] = "of display, registered for types"
    if of := ", ".join(LIBRARIES[name].module for name in sorted(options & LIBRARIES.keys())):
        found["library options"] = of
    return found
