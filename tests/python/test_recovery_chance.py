"""The states of random numbers are seen to differ, or to be the same, without being asked for."""

from __future__ import annotations

import random

import numpy as np
import pytest

from larder import chance

DRAWS = {
    "random": random.random,
    "gauss": lambda: random.gauss(0, 1),
    "its second number": lambda: random.gauss(0, 1),
    "random seeded": lambda: random.seed(3),
    "shuffle": lambda: random.shuffle([1, 2, 3]),
    "rand": np.random.rand,
    "randn": np.random.randn,
    "its second number, which was kept": np.random.randn,
    "numpy seeded": lambda: np.random.seed(3),
    "integers": lambda: np.random.randint(5),
    "set_state": lambda: np.random.set_state(np.random.RandomState(9).get_state()),
}


@pytest.fixture(autouse=True)
def same_again():
    before = random.getstate(), np.random.get_state()
    random.seed(1)
    np.random.seed(1)
    yield
    random.setstate(before[0])
    np.random.set_state(before[1])


def asked() -> dict:
    name, key, *rest = np.random.get_state()
    return {"random": random.getstate(), "numpy": (name, key.tobytes(), *rest)}


@pytest.mark.parametrize("memory", [True, False], ids=["memory says it", "memory does not say it"])
def test_a_state_is_another_one_after_each_draw_and_the_same_object_otherwise(memory, monkeypatch):
    if not memory:
        monkeypatch.setattr(chance, "body", lambda one: None)
    sequences = chance.Sequences()
    state = sequences.now()
    for what, draw in DRAWS.items():
        assert sequences.now() is state, what
        draw()
        after = sequences.now()
        assert after is not state and {name: after[name] for name in ("random", "numpy")} == asked(), what
        state = after


def test_nothing_is_asked_for_while_the_memory_is_the_same(monkeypatch):
    sequences = chance.Sequences()
    state = sequences.now()
    if not all(sequences._tested.values()):
        pytest.skip("memory does not say it all on this interpreter")

    def asks(*args):
        raise AssertionError("asked")

    monkeypatch.setattr(chance.array, "array", asks)
    monkeypatch.setattr(sequences, "_differs", asks)
    # torch's is asked for each time, where it is imported
    monkeypatch.setitem(chance.sys.modules, "torch", None)
    assert sequences.now() is state


def test_sequences_go_on_where_they_were():
    sequences = chance.Sequences()
    random.random(), np.random.randn()
    state = sequences.now()
    expected = random.random(), np.random.randn(), np.random.randn()
    sequences.go_on(state)
    assert sequences.now() == state
    assert (random.random(), np.random.randn(), np.random.randn()) == expected


def test_a_generator_in_the_place_of_numpys_own_is_seen():
    sequences = chance.Sequences()
    sequences.now()
    other = np.random.RandomState(5)
    own = np.random.get_state
    try:
        np.random.get_state = other.get_state
        name, key, *_ = other.get_state()
        assert sequences.now()["numpy"][:2] == (name, key.tobytes())
    finally:
        np.random.get_state = own
