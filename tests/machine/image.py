"""A small machine for QEMU, made of Debian packages: kernel, initramfs, and on request a Python with NumPy.

    python tests/machine/image.py OUT [--python]

Needs ``qemu-system-x86``, ``busybox-static``, ``cpio`` and ``apt-get download``. Packages are kept under OUT/packages, so a
second build downloads nothing. The guest runs one shell script, `/job`, that the caller supplies, and powers off.
"""

from __future__ import annotations

import argparse
import gzip
import os
import shutil
import subprocess
from pathlib import Path

PYTHON = (
    "python3.11-minimal libpython3.11-minimal libpython3.11-stdlib python3-numpy libblas3 liblapack3 libgfortran5 "
    "libquadmath0 libc6 libgcc-s1 libstdc++6 zlib1g libexpat1 libffi8 libbz2-1.0 liblzma5"
).split()
NVDIMM = ("drivers/nvdimm/libnvdimm", "drivers/acpi/nfit/nfit", "drivers/nvdimm/nd_btt", "drivers/nvdimm/nd_pmem")
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
mount -t tmpfs none /tmp
for module in {modules}; do insmod /modules/$module.ko; done
sh /job
echo "larder-machine: job ended with $?"
sync
poweroff -f
"""


def missing() -> list[str]:
    """Programs this needs and does not find."""
    return [
        name for name in ("qemu-system-x86_64", "busybox", "cpio", "apt-get", "dpkg-deb") if shutil.which(name) is None
    ]


def fetch(names: list[str], keep: Path) -> list[Path]:
    """The packages' files, downloaded once."""
    keep.mkdir(parents=True, exist_ok=True)
    for name in names:
        if not list(keep.glob(f"{name}_*.deb")):
            subprocess.run(["apt-get", "-q", "download", name], cwd=keep, check=True, capture_output=True)
    return [next(keep.glob(f"{name}_*.deb")) for name in names]


def kernel_package() -> str:
    """The package behind ``linux-image-cloud-amd64``."""
    told = subprocess.run(
        ["apt-cache", "depends", "linux-image-cloud-amd64"], check=True, capture_output=True, text=True
    ).stdout
    return next(line.split()[-1] for line in told.splitlines() if "Depends: linux-image" in line)


def build(out: Path, job: str, files: dict[str, Path], *, python: bool = False, modules: tuple[str, ...] = ()) -> None:
    """Writes OUT/kernel and OUT/initramfs. ``files``: path in the guest -> file or folder to put there."""
    out.mkdir(parents=True, exist_ok=True)
    packages, unpacked, root = out / "packages", out / "kernel-files", out / "root"
    if not unpacked.exists():
        (package,) = fetch([kernel_package()], packages)
        subprocess.run(["dpkg-deb", "-x", package, unpacked], check=True)
    shutil.copy(next((unpacked / "boot").glob("vmlinuz-*")), out / "kernel")
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("bin", "dev", "proc", "sys", "tmp", "mnt", "modules"):
        (root / folder).mkdir(parents=True)
    if python:
        for package in fetch(PYTHON, packages):
            subprocess.run(["dpkg-deb", "-x", package, root], check=True)
        library = root / "usr/lib/x86_64-linux-gnu"
        for name in ("blas/libblas.so.3", "lapack/liblapack.so.3"):
            (library / Path(name).name).symlink_to(name)
        if not (root / "lib64").exists():
            (root / "lib64").symlink_to("lib/x86_64-linux-gnu")
        for folder in ("usr/share/doc", "usr/share/man", "usr/lib/python3/dist-packages/numpy/f2py"):
            shutil.rmtree(root / folder, ignore_errors=True)
        for tests in (root / "usr/lib/python3/dist-packages/numpy").glob("*/tests"):
            shutil.rmtree(tests)
    shutil.copy(shutil.which("busybox") or "busybox", root / "bin/busybox")
    tree = next((unpacked / "lib/modules").iterdir()) / "kernel"
    for module in modules:
        shutil.copy(tree / f"{module}.ko", root / "modules")
    for where, source in files.items():
        target = root / where.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    (root / "job").write_text(job)
    (root / "init").write_text(INIT.format(modules=" ".join(Path(module).name for module in modules)))
    (root / "init").chmod(0o755)
    names = subprocess.run(["find", ".", "-print0"], cwd=root, check=True, capture_output=True).stdout
    packed = subprocess.run(
        ["cpio", "--null", "-o", "-H", "newc", "--quiet"], cwd=root, input=names, check=True, capture_output=True
    ).stdout
    (out / "initramfs").write_bytes(gzip.compress(packed, 1))


def command(out: Path, *, nodes_mib: tuple[int, ...] = (768,), extra: tuple[str, ...] = ()) -> list[str]:
    """The QEMU command line: the first node has both processors, the others only memory."""
    told = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"]
    told += ["-machine", "q35,nvdimm=on", "-m", f"{sum(nodes_mib)}M,slots=4,maxmem=8G"]
    for node, size in enumerate(nodes_mib):
        told += ["-object", f"memory-backend-ram,id=ram{node},size={size}M"]
        told += ["-numa", f"node,nodeid={node},memdev=ram{node}" + (",cpus=0-1" if node == 0 else "")]
    told += ["-nographic", "-monitor", "none", "-serial", "stdio", "-no-reboot", "-net", "none"]
    told += ["-kernel", str(out / "kernel"), "-initrd", str(out / "initramfs")]
    return [*told, "-append", "console=ttyS0 quiet panic=-1 mitigations=off", *extra]


def run(told: list[str], timeout_s: float) -> str:
    """Boots, waits for the guest to power off, and returns what it printed."""
    done = subprocess.run(
        told, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout_s, check=False
    )
    return done.stdout.decode(errors="replace")


def cache() -> Path:
    """Where built machines are kept between runs."""
    return Path(os.environ.get("LARDER_MACHINE_CACHE") or Path.home() / ".cache/larder/machine")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--python", action="store_true")
    options = parser.parse_args()
    build(options.out, "echo no job", {}, python=options.python)
