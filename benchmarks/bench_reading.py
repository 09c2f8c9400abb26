"""How long xflux.open_towers takes to read daily CSV, beside pandas parsing the same files.

Run it with ``python benchmarks/bench_reading.py [TOWERS [YEARS]]``. The files are made up in a
temporary folder in the layout of FLUXNET2015, once with a dozen columns and once at the width of a
FULLSET. Both readers are timed in turn by the time the processor takes; the ratio is that of the
least times.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

import xflux

ROUNDS = 5
NARROW = (
    *("TA_F", "TA_F_QC", "SW_IN_F", "SW_IN_F_QC", "VPD_F", "P_F"),
    *("NEE_VUT_REF", "NEE_VUT_REF_QC", "GPP_NT_VUT_REF", "RECO_NT_VUT_REF", "GPP_DT_VUT_REF"),
)


def table(columns: list[str], years: int, seed: int) -> pd.DataFrame:
    """Days of one tower."""
    days = pd.date_range("2001-01-01", periods=365 * years)
    values = np.random.default_rng(seed).uniform(0, 20, (len(days), len(columns))).round(3)
    frame = pd.DataFrame(values, columns=columns)
    frame[[name for name in columns if name.endswith("_QC")]] /= 20.0
    frame.insert(0, "TIMESTAMP", days.strftime("%Y%m%d").astype(np.int64))
    return frame


def write(folder: Path, columns: list[str], towers: int, years: int) -> list[Path]:
    """A file for each tower; a few different tables are written over and over."""
    texts = [table(columns, years, seed).to_csv(index=False) for seed in range(3)]
    paths = []
    for i in range(towers):
        site = f"XX-{i:03d}"
        paths.append(folder / f"FLX_{site}_FLUXNET2015_FULLSET_DD_2001-{2000 + years}_1-4.csv")
        paths[-1].write_text(texts[i % 3])
    return paths


def least(actions: list[Callable[[], object]]) -> list[float]:
    """The least processor seconds of each, taken in turn."""
    best = [float("inf")] * len(actions)
    for _ in range(ROUNDS):
        for i, action in enumerate(actions):
            start = time.process_time()
            action()
            best[i] = min(best[i], time.process_time() - start)
    return best


def main() -> None:
    """Print the two ratios."""
    towers = int(sys.argv[1]) if len(sys.argv) > 1 else 165
    years = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    wide = [*NARROW, *(f"VARIABLE_{i:03d}" for i in range(220 - len(NARROW)))]
    print(f"{towers} towers, {years} years of days; processor seconds, least of {ROUNDS} in turn")
    print(f"{'columns':>8} {'MB':>6} {'pandas':>8} {'xflux':>8} {'ratio':>6}")
    for columns in (list(NARROW), wide):
        with tempfile.TemporaryDirectory() as name:
            paths = write(Path(name), columns, towers, years if columns is not wide else 1)
            size = sum(path.stat().st_size for path in paths) / 2**20
            plain, ours = least(
                [
                    lambda paths=paths: [pd.read_csv(path) for path in paths],
                    lambda paths=paths: xflux.open_towers(paths, progress=False),
                ]
            )
        print(f"{len(columns) + 1:8d} {size:6.1f} {plain:8.2f} {ours:8.2f} {ours / plain:6.2f}")


if __name__ == "__main__":
    main()
