"""What several files of tests use; a file that needs another kernel or namespace has its own."""

import pytest
from kernelfixtures import kernel


@pytest.fixture(scope="module")
def k(tmp_path_factory):
    """One kernel for the tests of a file."""
    with kernel(tmp_path_factory.mktemp("kernel")) as running:
        yield running


@pytest.fixture
def space(monkeypatch):
    """The namespace that `larder.tier` and `larder.heat` look at."""
    from larder import heat, tier

    names: dict = {}
    monkeypatch.setattr(tier, "namespace", lambda: names)
    yield names
    heat.stop()
    names.clear()
