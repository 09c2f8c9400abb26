"""What is gained by knowing a tower: TAM-RL zero-shot, with driver history and with some fluxes.

Every tower is predicted by models that saw neither it nor any tower within 30 km, on folds drawn
for this comparison, beside CT-LSTM on the same folds::

    python benchmarks/task_aware.py --data ../shared/data --members 1 --folds 0 1 2

A support is of one random year of a tower, and scored are its other years: 7, 30 or 90 days in a
row from a random day on, 90 days spread over the year (8 of every 30), or the year. Towers that
have no two years with 200 days of fluxes are left out there. Printed: mean over towers of RMSE
(g m-2 d-1), and paired differences with 95 % intervals by bootstrap over clusters. Models and
predictions are kept, so an interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from cross_validation import scored_labels

import xflux
from xflux.cf.schema import resolve
from xflux.skill import metrics
from xflux.skill.clusters import clusters
from xflux.skill.comparison import paired
from xflux.skill.splits import folds as make_folds
from xflux.training.fitting import fit_towers
from xflux.training.settings import EPOCHS
from xflux.training.towers import read_towers

TARGETS = ["GPP", "Reco", "NEE"]
FLUXES = ["GPP_NT", "RECO_NT", "NEE"]
BUDGETS = ("7", "30", "90", "90 spread", "365")
FEW_DAYS = 200


def model_of(train: xr.Dataset, path: Path, method: str, epochs: int, settings: dict):
    """A model of one fold, from the disk where it is."""
    if not path.exists():
        fit_towers(
            read_towers(train, resolve(train)),
            method=method,
            epochs=epochs,
            checkpoint=path.with_suffix(".checkpoint"),
            progress=False,
            settings=settings,
        ).save(path)
    return xflux.load_model(path)


def days_of(budget: str, days: np.ndarray, start: int) -> np.ndarray:
    """Positions, in the days of one year, of those that are known."""
    if budget == "365":
        return days
    if budget == "90 spread":
        return days[np.arange(len(days)) % 30 < 8]
    return days[start : start + int(budget)]


def draw_years(observed: xr.Dataset, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A support year of each tower, -1 where it has none, and the first day that is known."""
    year, known = observed.time.dt.year.values, np.isfinite(observed.GPP.transpose("site", "time"))
    chosen, start = np.full(observed.sizes["site"], -1), np.zeros(observed.sizes["site"], int)
    for i, row in enumerate(known.values):
        good = [y for y in np.unique(year) if row[year == y].sum() >= FEW_DAYS]
        generator = np.random.default_rng((seed, i))
        if len(good) > 1:
            chosen[i], start[i] = generator.choice(good), generator.integers(0, 275)
    return chosen, start


def few_shot(
    test: xr.Dataset, model: xflux.FluxModel, observed: xr.Dataset, seed: int
) -> dict[str, pd.DataFrame]:
    """RMSE by tower for each budget, on the years that no support is of."""
    year = test.time.dt.year.values
    chosen, start = draw_years(observed, seed)
    other = xr.DataArray(year[None] != chosen[:, None], dims=("site", "time"))
    scored = observed.where(other & xr.DataArray(chosen >= 0, dims="site"))
    found = {}
    for name in ("none", "drivers", *BUDGETS):
        support: xr.Dataset | str = name
        if name in BUDGETS:
            known = np.zeros((test.sizes["site"], test.sizes["time"]), bool)
            for i in np.flatnonzero(chosen >= 0):
                known[i, days_of(name, np.flatnonzero(year == chosen[i]), start[i])] = True
            mask = xr.DataArray(known, dims=("site", "time"))
            support = test.assign({flux: test[flux].where(mask) for flux in FLUXES})
        predicted = test.flux.predict(model, support=support)[TARGETS]
        found[name] = rmse_of(predicted, scored)
    return found


def rmse_of(predicted: xr.Dataset, observed: xr.Dataset) -> pd.DataFrame:
    """RMSE by tower and flux."""
    return metrics.scores(predicted, observed, scales=None).rmse.to_pandas().T[TARGETS]


def line(name: str, rmse: pd.DataFrame, reference: pd.DataFrame, groups: pd.Series) -> None:
    """Print means over towers and what they are below or above a reference, paired."""
    both = rmse.dropna().index.intersection(reference.dropna().index)
    cells = []
    for target in TARGETS:
        first, second = (
            xr.DataArray(frame.loc[both, target].to_numpy(), {"site": both.to_numpy()}, "site")
            for frame in (rmse, reference)
        )
        pair = paired(first, second, groups=groups.loc[both].to_numpy())
        mean, whole = float(first.mean()), float(second.mean())
        cells.append(
            f"{mean:.3f} {100 * (mean / whole - 1):+5.1f} % "
            f"[{float(pair.low):+.3f}, {float(pair.high):+.3f}]"
        )
    print(f"{name:12}" + "   ".join(cells), flush=True)


def main() -> None:
    """Train, predict, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=EPOCHS["daily"])
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--draw-of-folds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("output/task_aware"))
    args = parser.parse_args()
    warnings.filterwarnings("ignore", category=xflux.XfluxWarning)

    ds = xr.open_dataset(args.data / "fluxnet2015_daily.nc").load()
    groups = clusters(ds.lat.values, ds.lon.values)
    weights = (ds.NEE_QC >= 0.5).sum("time").values
    fold = make_folds(groups, n=5, seed=args.draw_of_folds, strata=ds.igbp.values, weights=weights)
    observed = scored_labels(ds)
    args.output.mkdir(parents=True, exist_ok=True)
    whole: dict[str, list[pd.DataFrame]] = {"ct-lstm": [], "none": [], "drivers": []}
    few: dict[str, list[pd.DataFrame]] = {name: [] for name in ("none", "drivers", *BUDGETS)}
    settings = {"members": args.members, "seed": args.seed}
    for k in args.folds:
        train, test = ds.isel(site=fold != k), ds.isel(site=fold == k)
        seen = observed.isel(site=fold == k)
        models = {
            method: model_of(
                train,
                args.output
                / f"{method}-{k}-m{args.members}-s{args.seed}-e{args.epochs}.safetensors",
                method,
                args.epochs,
                settings,
            )
            for method in ("ct-lstm", "tam-rl")
        }
        whole["ct-lstm"].append(rmse_of(test.flux.predict(models["ct-lstm"]), seen))
        for name in ("none", "drivers"):
            predicted = test.flux.predict(models["tam-rl"], support=name)
            whole[name].append(rmse_of(predicted, seen))
        draws = [few_shot(test, models["tam-rl"], seen, seed) for seed in range(args.draws)]
        for name in few:
            few[name].append(sum(draw[name] for draw in draws) / args.draws)
    cluster = pd.Series(groups, index=ds.site.values)
    joined = {name: pd.concat(parts) for name, parts in whole.items()}
    print(f"RMSE of {', '.join(TARGETS)}, all days of {len(joined['none'].dropna())} towers")
    for name, rmse in joined.items():
        line(name, rmse, joined["ct-lstm"], cluster)
    known = {name: pd.concat(parts) for name, parts in few.items()}
    print(f"\nother years of {len(known['none'].dropna())} towers, against zero-shot")
    for name, rmse in known.items():
        line(name, rmse, known["none"], cluster)


if __name__ == "__main__":
    main()
