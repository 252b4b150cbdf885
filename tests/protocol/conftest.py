"""At the end of a run: every test of the suites that did not run, and why."""

import pytest

not_run = pytest.StashKey[list[str]]()


@pytest.fixture
def say_not_run(pytestconfig):
    """Call with a line that the run's summary is to show."""
    return pytestconfig.stash.setdefault(not_run, []).append


def pytest_terminal_summary(terminalreporter, config):
    lines = config.stash.get(not_run, [])
    if lines:
        terminalreporter.section("tests of other projects that were not run")
        for line in lines:
            terminalreporter.line(line)
