"""All methods on the same folds of towers, inputs and seeds: train what is missing, score, print.

Each tower is predicted by models that saw neither it nor any tower within 30 km, on the folds that
``cross_validation.py`` uses, and all rows are scored on the same steps of the same towers::

    python benchmarks/scoreboard.py --data ../shared/data --members 5
    python benchmarks/scoreboard.py --data ../shared/data --methods lightgbm ridge climatology
    python benchmarks/scoreboard.py --data ../shared/data --print
    python benchmarks/scoreboard.py --data ../shared/data --print --compare mine.csv
    python benchmarks/scoreboard.py --data ../shared/data --short

Predictions of each method, fold and seed are kept, and so are models: an interrupted run goes on
where it was, and two runs with other ``--methods`` may go side by side. ``--models`` takes fold
models of CT-LSTM that ``cross_validation.py`` has trained. ``--print`` trains nothing; where folds
are missing it compares the towers that all rows have, and says which folds these are. The scores of
each tower are written to ``scores/METHOD.csv``; ``--compare`` pairs a CSV of the same columns
(``site`` and ``rmse_GPP``, ``rmse_Reco``, ``rmse_NEE`` are needed) with every row.

Printed: RMSE (g m-2 d-1) of the towers of the Americas (AmeriFlux) and of all others (FLUXNET),
pooled over steps and as a mean over towers; by flux more of its distribution over towers; the
difference to CT-LSTM multi-loss, paired over towers, with 95 % intervals by bootstrap over
clusters; by land cover and climate; by time scale; and the spread of members, each a seed.
Two rows are known by the RMSE of their towers alone, from ``scores_daily.csv``: the first prototype
of the CT-LSTM, and LightGBM that sees longitude and climate as well.

``--short`` is a test of this program and not of the methods: a third of the towers, two folds, one
member, three epochs. It takes some minutes on a free core.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import scoreboard_tables as tables
import xarray as xr
from cross_validation import load, scored_labels
from scoreboard_methods import TARGETS, Job, Method, alone, methods, without_labels

import xflux

KNOWN = {
    "prototype": ("ctlstm", "CT-LSTM, first prototype"),
    "lightgbm-known": ("lightgbm", "LightGBM of scores_daily.csv"),
}
"""Rows of which ``scores_daily.csv`` holds the RMSE of each tower: its columns, and a title."""

EVERY, SHORT_FOLDS = 3, (0, 1)
DIMS = ("site", "time")


def folder_of(output: Path, name: str, seed: int, members: int) -> Path:
    """Where the predictions of a method are."""
    return output / "predictions" / name / f"seed{seed}-members{members}"


def run(
    name: str, method: Method, ds: xr.Dataset, folds: pd.DataFrame, args: argparse.Namespace
) -> None:
    """Train and predict the folds of one method that are not there yet."""
    assert method.predict is not None
    members = 1 if method.one_member else args.members
    observed = scored_labels(ds)
    about = about_towers(ds, folds, args.seed)
    for k in args.folds:
        path = folder_of(args.output, name, args.seed, members) / f"fold{k}.nc"
        with alone(path):
            if path.exists():
                continue
            began, test = time.perf_counter(), folds.fold.values == k
            job = Job(
                train=ds.isel(site=~test),
                test=without_labels(ds.isel(site=test)),
                fold=k,
                seed=args.seed,
                members=members,
                models=args.output / "models",
                given={"ct-lstm": args.models} if args.models else {},
                workers=args.workers,
                quick=args.short,
                epochs=args.epochs,
            )
            keep(method.predict(job), path)
        fluxes = read(path).mean("realization")
        frame = tables.by_tower(fluxes, observed.sel(site=fluxes.site), about)
        rmse = ", ".join(f"{t} {v:.3f}" for t, v in zip(TARGETS, tables.mean(frame), strict=True))
        print(
            f"{time.strftime('%H:%M:%S')} {name}, fold {k}: {time.perf_counter() - began:.0f} s, "
            f"RMSE {rmse} over {len(frame)} towers",
            flush=True,
        )


def keep(fluxes: xr.Dataset, path: Path) -> None:
    """Write predictions, whole or not at all."""
    bare = fluxes[TARGETS].transpose("realization", *DIMS).reset_coords(drop=True)
    for name in TARGETS:
        bare[name] = bare[name].astype(np.float32).drop_attrs()
    part = path.with_suffix(".part")
    bare.drop_attrs().to_netcdf(part, encoding={t: {"zlib": True} for t in TARGETS})
    part.replace(path)


def read(path: Path) -> xr.Dataset:
    """Predictions of one fold, of all members."""
    with xr.open_dataset(path) as ds:
        return ds.load()


def about_towers(ds: xr.Dataset, folds: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Cluster, fold, group and seed of each tower."""
    about = folds[["cluster", "fold"]].copy()
    split = about.groupby("cluster").fold.nunique()
    if (split > 1).any():
        raise ValueError(f"clusters {split[split > 1].index.tolist()} are in more than one fold")
    return about.assign(group=tables.group_of(ds.lon.values), seed=seed)


def kept(output: Path, name: str, seed: int, members: int) -> dict[int, Path]:
    """Predictions of a method by fold: with so many members, or with those that have most folds."""
    found = {}
    for folder in (output / "predictions" / name).glob(f"seed{seed}-members*"):
        count = int(folder.name.rpartition("members")[2])
        paths = {int(path.stem.removeprefix("fold")): path for path in folder.glob("fold*.nc")}
        found[count] = paths
    if found.get(members):
        return found[members]
    return max(found.items(), key=lambda item: (len(item[1]), item[0]), default=(0, {}))[1]


def common_folds(
    table: Mapping[str, Method], chosen: Iterable[str], args: argparse.Namespace
) -> tuple[dict[str, dict[int, Path]], list[int]]:
    """Predictions of each row that has any, and the folds that all of these have."""
    rows = {}
    for name in chosen:
        if table[name].predict is not None:
            paths = kept(args.output, name, args.seed, args.members)
            rows[name] = {k: path for k, path in paths.items() if k in args.folds}
    rows = {name: paths for name, paths in rows.items() if paths}
    folds = [k for k in args.folds if rows and all(k in paths for paths in rows.values())]
    for k in args.folds:
        without = [name for name, paths in rows.items() if k not in paths]
        if without:
            print(f"fold {k} is left out: it is not there yet for {', '.join(without)}")
    return rows, folds


def gather(
    rows: Mapping[str, Mapping[int, Path]], folds: list[int], table: Mapping[str, Method]
) -> dict[str, xr.Dataset]:
    """Fluxes of each row at the towers of the folds, and the averages that can be made of them."""
    members = {
        name: xr.concat([read(paths[k]) for k in folds], "site") for name, paths in rows.items()
    }
    for name, method in table.items():
        if method.average_of and all(part in members for part in method.average_of):
            parts = [members[part].mean("realization") for part in method.average_of]
            members[name] = (sum(parts) / len(parts)).expand_dims("realization")
    return {name: members[name] for name in table if name in members}


def mask_of(members: Mapping[str, xr.Dataset], observed: xr.Dataset) -> xr.Dataset:
    """Labels of the steps for which every row has fluxes."""
    scored = observed.GPP.notnull()
    there = scored
    for fluxes in members.values():
        there = there & fluxes[TARGETS].to_dataarray().notnull().all(("variable", "realization"))
    lost = int(scored.sum() - there.sum())
    print(f"{int(there.sum())} steps are scored; {lost} are not, since a row has no flux there")
    return observed.where(there)


def known_scores(data: Path, columns: str, about: pd.DataFrame, sites: np.ndarray) -> pd.DataFrame:
    """A row of ``scores_daily.csv`` as a frame of scores: only RMSE is known."""
    found = pd.read_csv(data / "scores_daily.csv").set_index("site")
    found = found.loc[found.index.intersection(sites)]
    frame = about.loc[found.index].assign(n=found.days)
    for target in TARGETS:
        frame[f"rmse_{target}"] = found[f"{columns}_{target}"]
        frame[f"r2_{target}"] = frame[f"bias_{target}"] = np.nan
    return frame


def print_all(ds: xr.Dataset, folds: pd.DataFrame, args: argparse.Namespace) -> None:
    """Score what is there and print every table."""
    table = methods(args.time_step)
    chosen = [name for name in args.methods if name in table]
    rows, common = common_folds(table, chosen, args)
    if not common:
        print("no fold is there for all rows yet: name those to compare with --methods")
        return
    wanted = {n: m for n, m in table.items() if n in chosen}
    members = gather(rows, common, wanted)
    observed = scored_labels(ds).sel(site=next(iter(members.values())).site.values)
    observed = mask_of(members, observed.transpose(*DIMS).reset_coords(drop=True))
    predicted = {name: fluxes.mean("realization") for name, fluxes in members.items()}
    about = about_towers(ds, folds, args.seed)
    frames = {n: tables.by_tower(fluxes, observed, about) for n, fluxes in predicted.items()}
    (args.output / "scores").mkdir(parents=True, exist_ok=True)
    for name, frame in frames.items():
        frame.to_csv(args.output / "scores" / f"{name}.csv")
    titles = {n: table[n].title + f" x{m.sizes['realization']}" for n, m in members.items()}
    for name in frames:
        if table[name].average_of or table[name].one_member:
            titles[name] = table[name].title
    if args.time_step == "daily" and not args.short:
        sites = next(iter(frames.values())).index.values
        for name in [name for name in KNOWN if name in args.methods]:
            frames[name] = known_scores(args.data, KNOWN[name][0], about, sites)
            titles[name] = KNOWN[name][1]
    reference = "ct-lstm" if "ct-lstm" in frames else next(iter(frames))
    relative_to = args.relative_to if args.relative_to in frames else reference
    count = len(next(iter(frames.values())))
    print(f"{count} towers of folds {', '.join(map(str, common))}, {args.time_step}, g m-2 d-1")
    tables.poster_table(frames, titles, relative_to)
    tables.whole_table(frames, titles)
    tables.paired_table(frames, titles, reference)
    for what in ("igbp", "climate"):
        label = pd.Series(ds[what].values.astype(str), index=ds.site.values)
        tables.class_table(frames, titles, label, what)
    tables.scale_table(predicted, observed, titles)
    single = {n: m for n, m in members.items() if m.sizes["realization"] > 1}
    tables.spread_table(
        {n: each_member(m, observed, about) for n, m in single.items()}, frames, titles
    )
    for path in args.compare:
        compare(path, frames, titles)


def each_member(members: xr.Dataset, observed: xr.Dataset, about: pd.DataFrame) -> np.ndarray:
    """Mean over towers of the RMSE of single members, (members, 3)."""
    return np.stack(
        [
            tables.mean(tables.by_tower(members.isel(realization=i), observed, about))
            for i in range(members.sizes["realization"])
        ]
    )


def compare(path: Path, frames: Mapping[str, pd.DataFrame], titles: Mapping[str, str]) -> None:
    """Print a CSV of scores by tower minus each row."""
    own = pd.read_csv(path).set_index("site")
    first = next(iter(frames.values()))
    both = own.index.intersection(first.index)
    print(f"\nRMSE of {path.name} minus that of each row, {len(both)} towers that both have")
    if "n" in own:
        other = int((own.n.loc[both] != first.n.loc[both]).sum())
        if other:
            print(f"{path.name} scores another number of steps at {other} of them")
    for name, frame in frames.items():
        print(f"{titles[name]:30}{'  '.join(tables.difference(own, frame))}")


def arguments() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [*methods("daily"), *KNOWN]
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--time-step", choices=("daily", "monthly"), default="daily")
    parser.add_argument("--methods", nargs="+", choices=names, default=names, metavar="METHOD")
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="of the methods of xflux, in place of theirs")
    parser.add_argument("--workers", type=int, default=1, help="processes that train members")
    parser.add_argument("--models", type=Path, help="folder of foldK.safetensors of CT-LSTM")
    parser.add_argument("--print", action="store_true", dest="only_print")
    parser.add_argument("--compare", type=Path, nargs="+", default=[], metavar="CSV")
    parser.add_argument("--relative-to", choices=names, default="ct-lstm", metavar="METHOD")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("output/scoreboard"))
    args = parser.parse_args()
    args.output = args.output / (args.time_step + ("-short" if args.short else ""))
    if args.short:
        args.members, args.models = 1, None
        args.folds = [k for k in args.folds if k in SHORT_FOLDS]
    return args


def main() -> None:
    """Train, predict, score, print."""
    args = arguments()
    warnings.filterwarnings("ignore", category=xflux.XfluxWarning)
    ds, folds = load(args.data, args.time_step)
    if args.short:
        print("--short: a third of the towers and hardly any training; its figures mean nothing")
        ds, folds = ds.isel(site=slice(None, None, EVERY)), folds.iloc[::EVERY]
    table = methods(args.time_step)
    for name in args.methods:
        if not args.only_print and name in table and table[name].predict is not None:
            run(name, table[name], ds, folds, args)
    print_all(ds, folds, args)


if __name__ == "__main__":
    main()
