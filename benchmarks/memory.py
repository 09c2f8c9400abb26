"""Peak memory of a process, for the benchmarks."""

from __future__ import annotations

import resource
from pathlib import Path


def peak() -> float:
    """Largest memory of this process so far, MB.

    ``ru_maxrss`` of a child begins with the memory of the process that started it, where the
    system is Linux; what the kernel says of the program itself does not.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return float(lines["VmHWM"].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
