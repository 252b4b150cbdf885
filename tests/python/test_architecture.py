"""The crates depend on each other as docs/architecture.md says, and in no other direction."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BELOW = {
    "larder-pages": set(),
    "larder-kernel": set(),
    "larder-trace": set(),
    "larder-jit": {"larder-trace"},
    "larder-shelf": {"larder-pages"},
    "larder-tier": {"larder-pages"},
    "larder-cpython": {"larder-jit", "larder-trace"},
}
# Who alone may name a library.
OWNERS = {
    "zeromq": {"larder-kernel"},
    "cranelift-codegen": {"larder-jit"},
    "pyo3": {"larder-cpython", "larder-session", "larder-py"},
}


@pytest.mark.skipif(
    shutil.which("cargo") is None, reason="the crates' dependencies are asked of cargo, which is not here"
)
def test_crates_depend_downwards_only():
    command = ["cargo", "metadata", "--format-version", "1", "--no-deps", "--offline"]
    packages = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)["packages"]
    needs = {p["name"]: {d["name"] for d in p["dependencies"] if d["kind"] is None} for p in packages}
    for crate, below in BELOW.items():
        assert {name for name in needs[crate] if name in needs} == below, crate
    # What joins the others is joined by nothing but the extension, which nothing needs.
    assert {crate for crate in needs if "larder-session" in needs[crate]} == {"larder-py"}
    assert not {crate for crate in needs if "larder-py" in needs[crate]}
    for library, owners in OWNERS.items():
        assert {crate for crate in needs if library in needs[crate]} == owners, library
