"""Every test has a larder home of its own and leaves no shelf open."""

import gc

import pytest


@pytest.fixture(autouse=True)
def larder_home(tmp_path, monkeypatch):
    """A home for shelves that dies with the test."""
    monkeypatch.setenv("LARDER_HOME", str(tmp_path / "larder"))
    yield tmp_path / "larder"
    import larder

    for shelf in larder.shelves():
        shelf.close()
    gc.collect()
