"""How many planted faults ds.flux.check() finds, kind by kind, and how many false ones it makes.

Run from the root of the project:

    python benchmarks/audit_recall.py [--seeds 3] [--real ../shared/data]

Faults of tests/planted.py are planted at random towers and times: in simulated towers by day and
month, in half-hours of a clear-sky formula, and, where the real towers are, in those. A fault is
found when a finding names its tower, its variable and a kind that fits. Clean towers tell the
false findings: errors and warnings; notes are not counted.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

import xflux

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import half_hours  # noqa: E402
import planted  # noqa: E402
import planted_others  # noqa: E402

Score = dict[str, list[bool]]


def plant_and_look(
    make: Callable[[int], xr.Dataset],
    defects: Sequence[planted.Defect],
    seeds: Sequence[int],
    score: Score,
    *,
    names: dict[str, str] | None = None,
    least: int = 400,
) -> tuple[int, int]:
    """Plant and score; returns how many clean towers there were, and their false findings."""
    clean_towers = false = 0
    for seed in seeds:
        ds = make(seed)
        clean = ds.flux.check()
        clean_towers += ds.sizes["site"]
        false += len(planted.serious(clean))
        sown = planted.sow(ds, defects, np.random.default_rng(seed), names=names, least=least)
        for outcome in planted.outcomes(ds.flux.check(), clean, defects, sown):
            score[outcome.defect.name].append(outcome.found)
    return clean_towers, false


def wholes(seeds: Sequence[int], score: Score) -> None:
    """Faults of a whole Dataset."""
    for whole in planted_others.WHOLES:
        for seed in seeds:
            ds = xflux.datasets.load("simulated-towers", sites=12, years=3, seed=seed)
            wrong, entity = whole.make(ds, np.random.default_rng(seed))
            kinds = {f.kind for f in wrong.flux.check() if entity in f.entity}
            score[whole.name].append(bool(kinds & set(whole.kinds)))


def table(title: str, score: Score, clean: tuple[int, int]) -> None:
    """Print one group of faults."""
    total = [found for founds in score.values() for found in founds]
    print(f"\n{title}: {sum(total)} of {len(total)} found ({100 * np.mean(total):.1f} %)", end="")
    if clean[0]:
        print(
            f"; {clean[1]} false in {clean[0]} clean towers ({20 * clean[1] / clean[0]:.2f} per 20)"
        )
    else:
        print()
    print("\n| planted | found |\n| --- | --- |")
    for name, founds in score.items():
        print(f"| {name} | {sum(founds)} of {len(founds)} |")


def simulated(time_step: str) -> Callable[[int], xr.Dataset]:
    """Makes simulated towers of a seed."""
    sites, years = (120, 4) if time_step == "daily" else (40, 6)
    return lambda seed: xflux.datasets.load(
        "simulated-towers", sites=sites, years=years, seed=seed, time_step=time_step
    ).load()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--real", type=Path, default=ROOT.parent / "shared" / "data")
    options = parser.parse_args()
    seeds = range(1, options.seeds + 1)
    groups: list[tuple[str, Callable[[int], xr.Dataset], tuple[planted.Defect, ...], int]] = [
        ("simulated, daily", simulated("daily"), planted.DAILY, 400),
        ("simulated, monthly", simulated("monthly"), planted_others.MONTHLY, 24),
        (
            "half-hours",
            lambda seed: half_hours.towers(sites=len(planted_others.HALF_HOURLY) + 4, seed=seed),
            planted_others.HALF_HOURLY,
            400,
        ),
    ]
    for title, make, defects, least in groups:
        score: Score = defaultdict(list)
        clean = plant_and_look(make, defects, seeds, score, least=least)
        table(title, score, clean)
    score = defaultdict(list)
    wholes(seeds, score)
    table("whole Datasets", score, (0, 0))
    path = options.real / "fluxnet2015_daily.nc"
    if path.is_file():
        real(path, seeds)


def real(path: Path, seeds: Sequence[int]) -> None:
    """The same in real towers, and how long they take."""
    with xr.open_dataset(path) as opened:
        towers = opened.load()
    start = time.process_time()
    report = towers.flux.check()
    seconds = time.process_time() - start
    print(f"\n{towers.sizes['site']} real towers: {seconds:.1f} s of processor time")
    frame = report.to_dataframe()
    print(frame[frame.severity != "note"][["kind", "entity", "variable", "evidence"]].to_string())
    score: Score = defaultdict(list)
    defects = [d for d in planted.DAILY if "P" not in d.variables]  # their rain is monthly
    names = {"GPP": "GPP_NT", "Reco": "RECO_NT"}
    for seed in seeds:
        ds = towers.copy(deep=True)
        sown = planted.sow(ds, defects, np.random.default_rng(seed), names=names)
        for outcome in planted.outcomes(ds.flux.check(), report, defects, sown):
            score[outcome.defect.name].append(outcome.found)
    table("real, daily", score, (0, 0))


if __name__ == "__main__":
    main()
