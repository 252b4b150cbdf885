"""Transient memory: large right-hand sides in a file instead of DRAM."""

import numpy as np
import pytest

import larder
from larder import _larder

MIB = 1 << 20


def backing(array):
    """What the memory of ``array`` is, or ``None`` for DRAM, be it the allocator's or a block whose pages are watched."""
    block = _larder.tier_block(array.__array_interface__["data"][0])
    return None if block is None or block[2] == "anonymous" else block[2]


def test_large_arrays_are_made_in_a_file_small_and_later_ones_are_not():
    with larder.transient(min_bytes=MIB):
        large = np.ones(MIB) * 2
        small = np.ones(100)
    after = np.ones(MIB)
    assert (backing(large), backing(small), backing(after)) == ("tier file", None, None)
    assert large.sum() == 2 * MIB


def test_a_right_hand_side_is_copied_onto_the_shelf_and_its_room_given_back():
    shelf = larder.open("t")
    before = len(_larder.tier_blocks())
    with larder.transient(min_bytes=MIB):
        shelf.x = np.arange(float(MIB)) + 1
    assert len(_larder.tier_blocks()) == before
    assert backing(shelf.x) is None
    assert shelf.x[-1] == MIB


def test_inner_ones_and_exceptions_leave_it_as_it_was():
    with larder.transient(min_bytes=MIB):
        with pytest.raises(RuntimeError, match="x"), larder.transient():
            raise RuntimeError("x")
        still = np.ones(MIB)
    assert backing(still) == "tier file"
    assert backing(np.ones(MIB)) is None
    with larder.transient(min_bytes=MIB):
        again = np.ones(MIB)
    assert (backing(again), still.sum(), again.sum()) == ("tier file", MIB, MIB)


def test_tiering_that_is_on_stays_on():
    from larder import tier

    tier.enable(min_bytes=MIB)
    try:
        with larder.transient():
            pass
        assert backing(np.ones(MIB)) == "tier file"
    finally:
        tier.disable()
