"""Time of ways that take turns, and peak memory of a process, for the benchmarks."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

Way = Callable[[], object]


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


def fastest(
    ways: dict[str, Way], rounds: int, clock: Callable[[], float] = time.process_time
) -> dict[str, float]:
    """Least time of each way over interleaved rounds, s; process time by default."""
    least = dict.fromkeys(ways, np.inf)
    for _ in range(rounds):
        for name, way in ways.items():
            start = clock()
            way()
            least[name] = min(least[name], clock() - start)
    return least
