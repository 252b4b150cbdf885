"""What the machine's other work costs a measurement here."""

from pathlib import Path


def core_wait() -> float:
    """Seconds this thread was ready to run and another had the core: the machine's other work, not the medium's."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
