"""A notebook that uses JAX, which no forked child survives: its arrays never change, and are not read again after each cell."""

import importlib.util
import subprocess
import sys

import pytest
from kernelfixtures import kernel, kill

pytestmark = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")


def test_arrays_and_compiled_functions_come_back_and_are_seen_to_change(tmp_path):
    with kernel(tmp_path, JPY_SESSION_NAME="jax.ipynb") as k:
        k.ok("import jax, jax.numpy as jnp, numpy as np")
        k.ok("x = y = jnp.arange(1000.0); scale = 2; key = jax.random.key(3)")
        k.ok("@jax.jit\ndef f(v):\n    'of all'\n    return jnp.sum(v * scale)")
        first = k.text("print(float(f(x)))")
        k.ok("x = x.at[3].set(50.0); z = jnp.ones(5); given = jnp.ones(3); given.delete()")
        k.ok("z = jnp.zeros(5); w = np.asarray(x)")
        k.ok("f.note = 'by hand'")
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


def test_what_has_64_bits_keeps_them(tmp_path):
    with kernel(tmp_path, JPY_SESSION_NAME="bits.ipynb") as k:
        k.ok("import jax, jax.numpy as jnp\njax.config.update('jax_enable_x64', True)")
        k.ok(
            "third, big, pair = jnp.array([1 / 3]), jnp.array([2**40]), jnp.array([1 / 3 + 1j]); weak = jnp.asarray(2.5)"
        )
        k.ok("jax.config.update('jax_enable_x64', False); short = jnp.array([1 / 3])")
        kill(k)
    with kernel(tmp_path, JPY_SESSION_NAME="bits.ipynb") as k:
        shown = "[one.dtype.name for one in (third, big, pair, weak, short)], float(third[0]) == 1 / 3, int(big[0]) == 2**40"
        assert k.text(f"print({shown})").endswith(
            "['float64', 'int64', 'complex128', 'float64', 'float32'] True True\n"
        )
        assert k.text("print(jnp.ones(1).dtype, weak.weak_type)") == "float32 True\n"
        k.ok("jax.config.update('jax_enable_x64', True)")
        kill(k)
    with kernel(tmp_path, JPY_SESSION_NAME="bits.ipynb") as k:
        assert k.text("print(jnp.ones(1).dtype, float(third[0]) == 1 / 3)").endswith("float64 True\n")


BY_ITSELF = """
import gc
from larder import libraries, watch
from larder._larder import Walker, pages_begin
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
print("told")
"""


def test_an_array_is_told_by_itself_and_not_by_its_address():
    # In a process of its own: whoever forks where JAX was imported is warned.
    ran = subprocess.run([sys.executable, "-c", BY_ITSELF], capture_output=True, text=True, timeout=100)
    assert ran.stdout == "told\n", ran.stderr
