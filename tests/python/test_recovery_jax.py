"""A notebook that uses JAX, which no forked child survives: its arrays never change, and are not read again after each cell."""

import gc

import pytest
from kernelfixtures import kernel, kill

from larder import libraries, watch
from larder._larder import Walker, pages_begin

pytest.importorskip("jax")


def test_arrays_and_compiled_functions_come_back_and_are_seen_to_change(tmp_path):
    with kernel(tmp_path, JPY_SESSION_NAME="jax.ipynb") as k:
        k.ok("import jax, jax.numpy as jnp, numpy as np")
        k.ok(
            "x = y = jnp.arange(1000.0)\nscale = 2\n@jax.jit\ndef f(v): return jnp.sum(v * scale)\nkey = jax.random.key(3)"
        )
        first = k.text("print(float(f(x)))")
        k.ok("x = x.at[3].set(50.0); z = jnp.ones(5); given = jnp.ones(3); given.delete()")
        k.ok("z = jnp.zeros(5); w = np.asarray(x)")
        assert "JAX is in use" in k.text("import larder.saver; print(larder.saver.why_not())", silent=True)
        kill(k)
    with kernel(tmp_path, JPY_SESSION_NAME="jax.ipynb") as k:
        said = k.text("print(float(y[3]), float(x[3]), z.tolist(), type(x) is type(jnp.ones(1)), w.sum() == x.sum())")
        assert said.endswith("3.0 50.0 [0.0, 0.0, 0.0, 0.0, 0.0] True True\n")
        assert "given" in said.split("not back")[1], "a deleted array cannot be saved"
        assert k.text("print(float(f(y)))") == first
        assert (
            k.text("print(float(jax.random.uniform(key)) == float(jax.random.uniform(jax.random.key(3))))") == "True\n"
        )


def test_an_array_is_told_by_itself_and_not_by_its_address():
    import jax.numpy as jnp

    walker = Walker(watch.classify, watch.Registries())

    def digest(value):
        pages_begin()
        walker.begin()
        return walker.walk(value, True).digest

    one = [jnp.ones(1000)]
    before = digest(one)
    assert digest(one) == before
    told = []
    for _ in range(50):  # some of them lie where another one did
        one[0] = jnp.ones(1000)
        told.append((id(one[0]), digest(one)))
    assert len({digest for _, digest in told}) == len(told) and before not in {digest for _, digest in told}
    assert len({at for at, _ in told}) < len(told)
    one[0].delete()
    assert digest(one) != told[-1][1]
    held = len(libraries._numbers)
    one.clear()
    gc.collect()
    assert len(libraries._numbers) == held - 1
