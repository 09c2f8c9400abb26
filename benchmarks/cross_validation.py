"""Cross-validated skill on real towers, beside other methods on the same folds.

Every tower is predicted by an ensemble that saw neither it nor any tower within 30 km::

    python benchmarks/cross_validation.py --data ../shared/data --members 5
    python benchmarks/cross_validation.py --data ../shared/data --time-step monthly

The folder holds ``fluxnet2015_daily.nc``, ``folds_daily.csv`` (cluster and fold of each tower) and
``scores_daily.csv`` (RMSE of LightGBM and of the first prototype of the CT-LSTM by tower), and the
monthly CSV files under ``mirror``. Monthly towers get folds of their own, and LightGBM is trained
in the same run. Printed: the mean over towers of RMSE (g m-2 d-1), paired differences with 95 %
intervals by bootstrap over clusters, and the same by driver set, biome and climate. The scores of
each tower are written to CSV. An interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

import xflux
from xflux.cf.schema import resolve
from xflux.skill import metrics
from xflux.skill.clusters import clusters
from xflux.skill.comparison import paired
from xflux.skill.evaluation import observations
from xflux.skill.splits import folds as make_folds
from xflux.training.fitting import fit_towers
from xflux.training.settings import EPOCHS
from xflux.training.towers import read_towers

TARGETS = ["GPP", "Reco", "NEE"]
DRIVER_SETS = {
    "all": (),
    "no EVI": ("EVI",),
    "no LAI and EVI": ("LAI", "EVI"),
    "no minimum and maximum temperature": ("TA_MIN", "TA_MAX"),
    "no precipitation": ("P",),
    "temperature and shortwave only": ("LAI", "EVI", "TA_MIN", "TA_MAX", "P", "VPD"),
}


def load(data: Path, time_step: str) -> tuple[xr.Dataset, pd.DataFrame]:
    """Towers, and the cluster and fold of each."""
    if time_step == "daily":
        ds = xr.open_dataset(data / "fluxnet2015_daily.nc").load()
        folds = pd.read_csv(data / "folds_daily.csv").set_index("site").loc[ds.site.values]
        return ds, folds
    from xflux.readers.fluxnet_monthly import read_fluxnet_monthly

    ds = read_fluxnet_monthly(sorted((data / "mirror").rglob("*_MM.csv")))
    groups = clusters(ds.lat.values, ds.lon.values)
    weights = (ds.NEE_QC >= 0.5).sum("time").values
    fold = make_folds(groups, n=5, seed=0, strata=ds.igbp.values, weights=weights)
    return ds, pd.DataFrame({"cluster": groups, "fold": fold}, index=ds.site.values)


def scored_labels(ds: xr.Dataset) -> xr.Dataset:
    """GPP, Reco and NEE on the steps that are scored: of good quality, in the years of MODIS."""
    observed = observations(ds, resolve(ds)).where(ds.LAI.notnull())
    return observed.where(observed.GPP.notnull() & observed.Reco.notnull())


def fold_model(
    ds: xr.Dataset, fold: np.ndarray, k: int, keep: Path, epochs: int, settings: dict
) -> xflux.FluxModel:
    """The model that has not seen a fold, trained unless it is there."""
    path = keep / f"fold{k}.safetensors"
    if not path.exists():
        keep.mkdir(parents=True, exist_ok=True)
        train = ds.isel(site=fold != k)
        fit_towers(
            read_towers(train, resolve(train)),
            epochs=epochs,
            checkpoint=keep / f"fold{k}.checkpoint",
            progress=True,
            settings=settings,
        ).save(path)
    return xflux.load_model(path)


def predict_folds(
    ds: xr.Dataset, fold: np.ndarray, keep: Path, epochs: int, settings: dict
) -> xr.Dataset:
    """Out-of-fold predictions for each driver set, kept on disk fold by fold."""
    keep.mkdir(parents=True, exist_ok=True)
    parts = []
    for k in sorted(set(fold.tolist())):
        path = keep / f"fold{k}.nc"
        if not path.exists():
            test = ds.isel(site=fold == k)
            model = fold_model(ds, fold, k, keep, epochs, settings)
            sets = [
                test.drop_vars([n for n in gone if n in test]).flux.predict(model)[TARGETS]
                for gone in DRIVER_SETS.values()
            ]
            xr.concat(sets, pd.Index(list(DRIVER_SETS), name="drivers")).to_netcdf(path)
        parts.append(xr.open_dataset(path).load())
    return xr.concat(parts, "site").sel(site=ds.site)


def lightgbm_folds(ds: xr.Dataset, fold: np.ndarray, observed: xr.Dataset) -> pd.DataFrame:
    """RMSE of LightGBM by tower, on the same folds."""
    from lightgbm_lags import predict

    whole = {t: np.full(ds.TA.shape, np.nan, np.float32) for t in TARGETS}
    towers = read_towers(ds, resolve(ds))
    position = {label: i for i, label in enumerate(ds.site.values.tolist())}
    rows = np.array([position[label] for label in towers.labels])
    for k in sorted(set(fold.tolist())):
        test = fold[rows] == k
        fluxes = predict(towers.subset(~test), towers.subset(test))
        for i, target in enumerate(TARGETS):
            whole[target][rows[test]] = fluxes[..., i]
    predicted = xr.Dataset({t: (("site", "time"), v) for t, v in whole.items()}, ds.coords)
    return rmse_of(predicted, observed).add_prefix("lightgbm_")


def rmse_of(predicted: xr.Dataset, observed: xr.Dataset) -> pd.DataFrame:
    """RMSE by tower and flux."""
    return metrics.scores(predicted, observed, scales=None).rmse.to_pandas().T


def compare(
    rmse: pd.DataFrame, reference: pd.DataFrame, names: list[str], groups: np.ndarray
) -> None:
    """Print means over towers, and paired differences."""
    print(f"{'':12}" + "".join(f"{t:>10}" for t in TARGETS))
    for name in names:
        row = [reference[f"{name}_{t}"].mean() for t in TARGETS]
        print(f"{name:12}" + "".join(f"{v:10.3f}" for v in row))
    print(f"{'xflux':12}" + "".join(f"{rmse[t].mean():10.3f}" for t in TARGETS))
    print("\nxflux minus the other, mean over towers [95 % interval], towers where xflux is lower")
    for name in names:
        for t in TARGETS:
            first, second = (
                xr.DataArray(v.to_numpy(), {"site": v.index.to_numpy()}, "site")
                for v in (rmse[t], reference[f"{name}_{t}"])
            )
            pair = paired(first, second, groups=groups)
            print(
                f"{name:12}{t:5}{float(pair.difference):+8.3f} [{float(pair.low):+.3f}, "
                f"{float(pair.high):+.3f}]  {int(pair.wins)} of {int(pair.n)}"
            )


def card_scores(predicted: xr.Dataset, observed: xr.Dataset, ds: xr.Dataset) -> dict:
    """What a model card tells: means over towers by driver set, biome and climate."""
    sets = {
        name: rmse_of(predicted.sel(drivers=name), observed).mean().round(3).to_dict()
        for name in predicted.drivers.values.tolist()
    }
    scores = metrics.scores(predicted.sel(drivers="all"), observed, scales=None)
    rmse, r2 = scores.rmse.to_pandas().T, scores.r2.to_pandas().T
    by = {}
    for group in ("igbp", "climate"):
        label = pd.Series(ds[group].values.astype(str), index=ds.site.values)
        by[group] = {
            str(name): {
                "towers": int(part.GPP.notna().sum()),
                "rmse": part.mean().round(3).to_dict(),
                "median_r2": r2.loc[part.index].median().round(3).to_dict(),
            }
            for name, part in rmse.groupby(label.reindex(rmse.index))
        }
    return {
        "protocol": "5 folds over 30 km clusters of towers; mean over towers of RMSE, g m-2 d-1",
        "towers": int(rmse.GPP.notna().sum()),
        "rmse": rmse.mean().round(3).to_dict(),
        "rmse_median": rmse.median().round(3).to_dict(),
        "rmse_pooled": {t: round(float(scores.rmse_pooled.sel(target=t)), 3) for t in TARGETS},
        "r2_pooled": {t: round(float(scores.r2_pooled.sel(target=t)), 3) for t in TARGETS},
        "median_r2": r2.median().round(3).to_dict(),
        "by_driver_set": sets,
        "by_igbp": by["igbp"],
        "by_climate": by["climate"],
    }


def main() -> None:
    """Train, predict, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--time-step", choices=("daily", "monthly"), default="daily")
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--output", type=Path, default=Path("output/cross_validation"))
    args = parser.parse_args()
    warnings.filterwarnings("ignore", category=xflux.XfluxWarning)

    ds, folds = load(args.data, args.time_step)
    epochs = args.epochs or EPOCHS[args.time_step]
    run = args.output / (
        f"{args.time_step}-members{args.members}-seed{args.seed}-epochs{epochs}-h{args.hidden}"
    )
    settings = {"members": args.members, "seed": args.seed, "hidden": args.hidden}
    predicted = predict_folds(ds, folds.fold.values, run, epochs, settings)
    observed = scored_labels(ds)
    if args.time_step == "daily":
        reference = pd.read_csv(args.data / "scores_daily.csv").set_index("site")
        names = ["lightgbm", "ctlstm"]
    else:
        reference, names = lightgbm_folds(ds, folds.fold.values, observed), ["lightgbm"]
    rmse = rmse_of(predicted.sel(drivers="all"), observed).reindex(reference.index)
    rmse.to_csv(run / "rmse_by_tower.csv")
    print(f"\nRMSE of {args.time_step} fluxes, mean over {len(rmse.dropna())} towers, g m-2 d-1")
    compare(rmse, reference, names, folds.cluster.reindex(rmse.index).values)
    card = card_scores(predicted, observed, ds)
    (run / "card_scores.json").write_text(json.dumps(card, indent=1))
    print("\nRMSE by driver set, mean over towers")
    for name, row in card["by_driver_set"].items():
        print(f"{name:36}" + "".join(f"{row[t]:10.3f}" for t in TARGETS))
    for group in ("igbp", "climate"):
        print(f"\nby {group}: towers, RMSE of GPP, Reco, NEE; median R2")
        for name, part in card[f"by_{group}"].items():
            cells = "".join(f"{part['rmse'][t]:8.2f}" for t in TARGETS)
            cells += "  " + "".join(f"{part['median_r2'][t]:8.2f}" for t in TARGETS)
            print(f"{name:14}{part['towers']:4d}{cells}")


if __name__ == "__main__":
    main()
