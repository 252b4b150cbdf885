"""A computer to be switched off: QEMU with an emulated NVDIMM, Debian's kernel, and one static program in its first RAM disk.

``build`` makes kernel and RAM disk from Debian packages; ``format_memory`` makes the NVDIMM's backing file; ``Machine`` boots
and is reset by SIGKILL, which is what pulling the plug is to a guest: its page cache is gone, its persistent memory stays.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import time
import uuid
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CACHE = ROOT / "target" / "machine"
MODULES = ("drivers/nvdimm/libnvdimm", "drivers/acpi/nfit/nfit", "drivers/nvdimm/nd_btt", "drivers/nvdimm/nd_pmem")
#: Where the data of an fsdax namespace starts.
DATA_OFFSET = 2 << 20


def run(*command: str | os.PathLike[str], **options) -> str:
    """Runs a command, and shows what it said if it failed."""
    done = subprocess.run(
        [str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout}")
    return done.stdout


def writer() -> Path:
    """The engine's writer example, linked statically: it runs in a machine without a C library."""
    target = "x86_64-unknown-linux-gnu"
    environment = {**os.environ, "RUSTFLAGS": "-C target-feature=+crt-static"}
    run(
        *(
            "cargo",
            "build",
            "-q",
            "--release",
            "-j2",
            "-p",
            "larder-shelf",
            "--example",
            "kill_child",
            "--target",
            target,
        ),
        cwd=ROOT,
        env=environment,
    )
    return ROOT / "target" / target / "release" / "examples" / "kill_child"


def kernel() -> tuple[Path, Path]:
    """Debian's cloud kernel: its image, and the directory of its modules. Downloaded once."""
    unpacked = CACHE / "kernel"
    if not unpacked.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        depends = run("apt-cache", "depends", "linux-image-cloud-amd64")
        package = next(line.split()[-1] for line in depends.splitlines() if "Depends: linux-image" in line)
        run("apt-get", "-q", "download", package, cwd=CACHE)
        part = CACHE / "kernel.part"
        shutil.rmtree(part, ignore_errors=True)
        archive = next(CACHE.glob(f"{package}_*.deb"))
        run("dpkg-deb", "-x", archive, part)
        archive.unlink()
        part.rename(unpacked)
    return next((unpacked / "boot").glob("vmlinuz-*")), next((unpacked / "lib" / "modules").iterdir())


def build(where: Path) -> tuple[Path, Path]:
    """Kernel image and RAM disk."""
    image, modules = kernel()
    root = where / "root"
    for directory in ("bin", "modules", "proc", "sys", "dev"):
        (root / directory).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "/bin/busybox", root / "bin" / "busybox")
    shutil.copy(writer(), root / "bin" / "writer")
    shutil.copy(HERE / "init", root / "init")
    (root / "init").chmod(0o755)
    for module in MODULES:
        shutil.copy(modules / "kernel" / f"{module}.ko", root / "modules")
    names = "\n".join(str(path.relative_to(root)) for path in root.rglob("*"))
    archive = where / "ramdisk"
    with archive.open("wb") as out:
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=root, input=names.encode(), stdout=out, check=True)
    return image, archive


def fletcher64(block: bytes) -> int:
    """The checksum of NVDIMM info blocks: two running sums over 32-bit words."""
    low = high = 0
    for (word,) in struct.iter_unpack("<I", block):
        low = (low + word) % (1 << 64)
        high = (high + low) % (1 << 64)
    return (high % (1 << 32)) << 32 | low % (1 << 32)


def format_memory(path: Path, size: int = 192 << 20) -> None:
    """A backing file that a Linux guest sees as a DAX-capable ``/dev/pmem0`` with an empty ext4 on it.

    The info block says: fsdax namespace, page structures in RAM, data from 2 MiB on (Linux ``struct nd_pfn_sb``).
    """
    with path.open("wb") as file:
        file.truncate(size)
        head = b"NVDIMM_PFN_INFO\0" + uuid.uuid4().bytes + bytes(16)
        fields = struct.pack("<IHH", 0, 1, 4)  # flags, version 1.4
        fields += struct.pack("<QQ", DATA_OFFSET, (size - DATA_OFFSET) // 4096)
        fields += struct.pack(
            "<IIIIIH", 1, 0, 0, DATA_OFFSET, 4096, 64
        )  # mode RAM, padding, alignment, page and struct page
        block = (head + fields).ljust(4088, b"\0")
        file.seek(4096)
        file.write(block + struct.pack("<Q", fletcher64(block + bytes(8))))
    blocks = (size - DATA_OFFSET) // 4096
    mke2fs = shutil.which("mke2fs") or "/usr/sbin/mke2fs"
    run(mke2fs, "-q", "-F", "-t", "ext4", "-b", "4096", "-E", f"offset={DATA_OFFSET}", path, str(blocks))


class Machine:
    """One power-on. Iterating gives the console's lines; ``reset`` is the plug."""

    def __init__(self, image: Path, ramdisk: Path, memory: Path, dax: bool) -> None:
        size = memory.stat().st_size
        command = [
            "qemu-system-x86_64",
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-machine",
            "q35,nvdimm=on",
        ]
        command += ["-m", "512M,slots=2,maxmem=2G", "-nographic", "-monitor", "none", "-serial", "stdio", "-no-reboot"]
        command += ["-object", f"memory-backend-file,id=nv,share=on,mem-path={memory},size={size}", "-net", "none"]
        command += ["-device", "nvdimm,id=nvdimm,memdev=nv", "-kernel", str(image), "-initrd", str(ramdisk)]
        command += [
            "-append",
            f"console=ttyS0 quiet panic=-1 mitigations=off larder.dax={'always' if dax else 'never'}",
        ]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self.started = time.monotonic()
        self.seen: list[str] = []

    def __iter__(self):
        for line in self.process.stdout:
            if not line.endswith("\n"):
                return  # cut by the reset
            self.seen.append(line.strip())
            yield line.strip()

    def reset(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
