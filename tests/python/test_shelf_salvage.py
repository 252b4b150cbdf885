"""What can still be read of a damaged shelf comes over to a new one, and the rest is named."""

from __future__ import annotations

import numpy as np
import pytest

import larder
from larder._larder import salvage


def test_salvage_brings_over_what_is_whole_and_names_what_is_not(tmp_path):
    path, out = tmp_path / "broken.shelf", tmp_path / "saved.shelf"
    with larder.open(path) as shelf:
        shelf.update({"good": np.arange(5000), "bad": np.arange(9000), "text": "größe"})
        (place,) = (row["offset"] for row in shelf._native.inspect() if row["name"] == "bad")
    damaged = bytearray(path.read_bytes())
    damaged[place + 5000] ^= 1
    path.write_bytes(damaged)

    commit, saved, lost = salvage(str(path), str(out))
    assert (commit, saved, [name for name, _ in lost]) == (1, ["good", "text"], ["bad"])
    assert "checksum" in lost[0][1]
    assert path.read_bytes() == damaged, "the damaged shelf is only read"
    with larder.open(out, "r") as shelf:
        assert sorted(shelf) == ["good", "text"] and shelf.text == "größe"
        np.testing.assert_array_equal(shelf.good, np.arange(5000))
    with pytest.raises(FileExistsError):
        salvage(str(path), str(out))
