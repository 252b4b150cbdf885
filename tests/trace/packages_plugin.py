"""A pytest plugin: switches the optimiser on before tests are collected, and writes down how every test ended.

``LARDER_PACKAGES_MODE`` is ``plain``, ``cells`` (as ``%trace on``), ``all`` (all code, by default thresholds) or ``traced``
(all code, every loop at once); ``LARDER_PACKAGES_OUT`` the file for the answer. See ``packages.py``.
"""

import json
import os
import re
import resource
import sys

MODE, OUT = os.environ.get("LARDER_PACKAGES_MODE", "plain"), os.environ.get("LARDER_PACKAGES_OUT")
ENABLE = {"cells": {}, "all": {"watch_all": True}, "traced": {"watch_all": True, "hot": 1}}
# What differs from one plain run to the next: addresses, times, temporary folders, the number of a process.
UNSTEADY = re.compile(r"0x[0-9a-fA-F]+|\b\d+(\.\d+)? ?(ms|s|seconds?)\b|/tmp/\S*|\bpid \d+|-of-root/pytest-\d+")

outcomes: dict[str, list[str]] = {}


def note(name, what):
    outcomes.setdefault(UNSTEADY.sub("~", name), []).append(UNSTEADY.sub("~", what))


def told(report):
    """In one line why a test did not pass."""
    text = report.longrepr
    if isinstance(text, tuple):
        return str(text[2])
    crash = getattr(text, "reprcrash", None)
    return crash.message if crash else str(text or "")[-500:]


def steady():
    """Hypothesis tries the same examples in every run, however long they take."""
    if "hypothesis" in sys.modules:
        from hypothesis import HealthCheck, settings

        steadily = {"derandomize": True, "database": None, "deadline": None}
        settings.register_profile("steady", suppress_health_check=list(HealthCheck), **steadily)
        settings.load_profile("steady")


def pytest_configure(config):
    steady()
    if MODE in ENABLE:
        import larder.trace

        larder.trace.enable(**ENABLE[MODE])
        assert larder.trace.stats()["compiling"], larder.trace.stats()


def pytest_collectstart(collector):
    steady()  # a conftest may have chosen another profile


def pytest_collectreport(report):
    if report.failed or report.skipped:
        note(report.nodeid, f"collect {report.outcome}: {told(report)}")


def pytest_runtest_logreport(report):
    expected = " (expected to fail)" if hasattr(report, "wasxfail") else ""
    if report.when == "call" or not report.passed:
        note(report.nodeid, f"{report.when} {report.outcome}{expected}: {told(report)}")


def pytest_unconfigure(config):
    if OUT is None:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    answer = {"outcomes": outcomes, "seconds": used.ru_utime + used.ru_stime, "rss": used.ru_maxrss * 1024}
    if MODE in ENABLE:
        import larder.optimiser
        import larder.trace

        now = larder.trace.stats()
        answer |= {
            key: now[key] for key in ("compiling", "loops", "compiled", "traces", "iterations_native", "compile_ms")
        }
        answer["broken"] = [row["name"] for row in larder.optimiser.loops() if row["why"] == "an internal error"]
    with open(OUT, "w") as file:
        json.dump(answer, file)
