"""Cross-validated skill on real towers, beside published per-tower scores on the same folds.

Every tower is predicted by an ensemble that saw neither it nor any tower within 30 km. With
``fluxnet2015_daily.nc``, ``folds_daily.csv`` and ``scores_daily.csv`` in one folder::

    python benchmarks/cross_validation.py --data ../shared/data --members 5

prints the mean over towers of RMSE (g m-2 d-1) beside LightGBM and the first prototype of the
CT-LSTM, with paired differences and 95 % intervals by bootstrap over clusters of towers, and
writes the scores of each tower to CSV. An interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

import xflux
from xflux import metrics
from xflux.comparison import paired
from xflux.evaluation import observations
from xflux.fitting import fit_towers
from xflux.schema import resolve
from xflux.towers import read_towers

TARGETS = ["GPP", "Reco", "NEE"]
OPTIONAL = {
    "all drivers": (),
    "no EVI": ("EVI",),
    "no LAI and EVI": ("LAI", "EVI"),
    "no TA_MIN and TA_MAX": ("TA_MIN", "TA_MAX"),
    "no P": ("P",),
    "only TA, SW_IN, VPD": ("LAI", "EVI", "TA_MIN", "TA_MAX", "P"),
}


def predict_folds(
    ds: xr.Dataset, fold: np.ndarray, keep: Path, members: int, seed: int, epochs: int, **settings
) -> xr.Dataset:
    """Out-of-fold predictions for each driver set, kept on disk fold by fold."""
    keep.mkdir(parents=True, exist_ok=True)
    parts = []
    for k in sorted(set(fold.tolist())):
        path = keep / f"fold{k}.nc"
        if not path.exists():
            model_path = keep / f"fold{k}.safetensors"
            train, test = ds.isel(site=fold != k), ds.isel(site=fold == k)
            if not model_path.exists():
                towers = read_towers(train, resolve(train))
                fit_towers(
                    towers, epochs=epochs, checkpoint=keep / f"fold{k}.checkpoint", progress=True,
                    settings={"members": members, "seed": seed, **settings},
                ).save(model_path)  # fmt: skip
            model = xflux.load_model(model_path)
            sets = [
                test.drop_vars(list(gone)).flux.predict(model)[TARGETS]
                for gone in OPTIONAL.values()
            ]
            xr.concat(sets, pd.Index(list(OPTIONAL), name="drivers")).to_netcdf(path)
        parts.append(xr.open_dataset(path).load())
    return xr.concat(parts, "site").sel(site=ds.site)


def main() -> None:
    """Train, predict, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--output", type=Path, default=Path("output/cross_validation"))
    args = parser.parse_args()
    warnings.filterwarnings("ignore", category=xflux.XfluxWarning)

    ds = xr.open_dataset(args.data / "fluxnet2015_daily.nc").load()
    folds = pd.read_csv(args.data / "folds_daily.csv").set_index("site").loc[ds.site.values]
    reference = pd.read_csv(args.data / "scores_daily.csv").set_index("site")
    run = args.output / f"m{args.members}-s{args.seed}-e{args.epochs}-h{args.hidden}"
    predicted = predict_folds(
        ds, folds.fold.values, run, args.members, args.seed, args.epochs, hidden=args.hidden
    )
    observed = observations(ds, resolve(ds)).where(ds.LAI.notnull())
    observed = observed.where(observed.GPP.notnull() & observed.Reco.notnull())
    report(predicted, observed, folds, reference, run)


def report(
    predicted: xr.Dataset,
    observed: xr.Dataset,
    folds: pd.DataFrame,
    reference: pd.DataFrame,
    run: Path,
) -> None:
    """Print the tables and write the scores of each tower."""
    scores = metrics.scores(predicted.sel(drivers="all drivers"), observed, scales=None)
    rmse = scores.rmse.to_pandas().T.reindex(reference.index)
    rmse.to_csv(run / "rmse_by_tower.csv")
    groups = folds.cluster.reindex(reference.index).values
    print(f"\nRMSE, mean over {len(rmse)} towers, g m-2 d-1 (and pooled over all days)")
    print(f"{'':24}" + "".join(f"{t:>18}" for t in TARGETS))
    for name in ("lightgbm", "ctlstm"):
        row = [reference[f"{name}_{t}"].mean() for t in TARGETS]
        print(f"{name:24}" + "".join(f"{v:18.3f}" for v in row))
    row = [f"{rmse[t].mean():.3f} ({float(scores.rmse_pooled.sel(target=t)):.3f})" for t in TARGETS]
    print(f"{'xflux':24}" + "".join(f"{v:>18}" for v in row))
    print("\nxflux minus the other, mean over towers [95 % interval], towers where xflux is lower")
    for name in ("lightgbm", "ctlstm"):
        cells = []
        for t in TARGETS:
            pair = paired(_scores(rmse[t]), _scores(reference[f"{name}_{t}"]), groups=groups)
            cells.append(
                f"{float(pair.difference):+.3f} [{float(pair.low):+.3f}, {float(pair.high):+.3f}] "
                f"{int(pair.wins)}/{int(pair.n)}"
            )
        print(f"{name:12}" + "  ".join(f"{t} {c}" for t, c in zip(TARGETS, cells, strict=True)))
    print("\nRMSE by driver set, mean over towers")
    for name in OPTIONAL:
        part = metrics.scores(predicted.sel(drivers=name), observed, scales=None).rmse_mean
        print(f"{name:24}" + "".join(f"{float(part.sel(target=t)):18.3f}" for t in TARGETS))


def _scores(values: pd.Series) -> xr.DataArray:
    return xr.DataArray(values.to_numpy(), dims="site", coords={"site": values.index.to_numpy()})


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
