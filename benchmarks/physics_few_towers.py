"""What domain knowledge gives when towers are few: ct-lstm-physics against ct-lstm, term by term.

Random clusters of towers are drawn until there are 20; every other tower is predicted and scored,
on days of good quality in the years of MODIS. The same again for other draws::

    python benchmarks/physics_few_towers.py --data ../shared/data
    python benchmarks/physics_few_towers.py --data ../shared/data --members 5 --only methods

Printed: the mean over towers of RMSE (g m-2 d-1), and differences to ct-lstm, paired over draws and
towers: a tower's differences are averaged over the draws that scored it, and intervals are from a
bootstrap over clusters of towers. Settings were chosen on draws from one half of the clusters; the
comparison is printed for the other half alone as well. Scores are kept on disk run by run, so an
interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from cross_validation import TARGETS, scored_labels

import xflux
from xflux.cf.schema import resolve
from xflux.model import FluxModel
from xflux.prediction import ensemble
from xflux.skill import metrics
from xflux.skill.clusters import clusters
from xflux.skill.comparison import paired
from xflux.training.fitting import fit_towers
from xflux.training.towers import Towers, read_towers

STRUCTURE = {
    "light": False,
    "warmth": False,
    "respiration": "none",
    "leaf_respiration": False,
}
TERMS = {"light_cap": 0.0, "zero": 0.0, "temperature": 0.0, "law": 0.0}
NOTHING: dict[str, Any] = {**STRUCTURE, **TERMS}


def variants() -> dict[str, dict[str, Any]]:
    """Arguments of `fit_towers` by the name of each row; the first is what others pair with."""
    physics: dict[str, Any] = {"method": "ct-lstm-physics"}
    default = dataclasses.asdict(xflux.training.knowledge.Physics())
    rows: dict[str, dict[str, Any]] = {
        "ct-lstm": {"method": "ct-lstm"},
        "ct-lstm, 10 epochs": {"method": "ct-lstm", "epochs": 10},
        "ct-lstm-physics": physics,
        "the law alone": {**physics, "epochs": 1},
        "ct-lstm-physics, 30 epochs": {**physics, "epochs": 30},
        "nothing known": {**physics, "physics": NOTHING},
    }
    for name in NOTHING:
        alone = {**NOTHING, name: default[name] or {"law": 1.0}.get(name, 0.1)}
        rows[f"only {name}"] = {**physics, "physics": alone}
    for name, off in NOTHING.items():
        if default[name] != off:
            rows[f"all but {name}"] = {**physics, "physics": {name: off}}
    rows["no term of the loss"] = {**physics, "physics": TERMS}
    rows["cool base rate"] = {**physics, "physics": {"cool_base_rate": True}}
    return rows


METHODS = ("ct-lstm", "ct-lstm, 10 epochs", "ct-lstm-physics", "the law alone")


def draw(groups: np.ndarray, seed: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Towers to train on, whole clusters until there are ``size``, and all towers of the others."""
    train = np.zeros(len(groups), dtype=bool)
    for cluster in np.random.default_rng([seed, 777]).permutation(np.unique(groups)):
        if train.sum() >= size:
            break
        train |= groups == cluster
    return train, ~train


def fit(towers: Towers, name: str, chosen: Mapping[str, Any], members: int) -> FluxModel:
    """Train one row; no epochs are chosen by validation, so that rows differ in one thing."""
    settings: dict[str, Any] = {"members": members}
    if "physics" in chosen:
        settings["physics"] = chosen["physics"]
    if name == "the law alone":
        settings["learning_rate"] = 1e-9
    epochs = chosen.get("epochs", xflux.training.settings.epochs_of(chosen["method"], "daily"))
    model = fit_towers(towers, method=chosen["method"], epochs=epochs, settings=settings)
    return unlearned(model) if name == "the law alone" else model


def unlearned(model: FluxModel) -> FluxModel:
    """The same with networks that say nothing: efficiency and base rate are constants."""
    weights = model.weights
    for member in weights:
        for name in member:
            if ".heads." in name:
                member[name] = np.zeros_like(member[name])
    return dataclasses.replace(model, members=ensemble.pack(weights))


def scores(
    ds: xr.Dataset, observed: xr.Dataset, towers: Towers, groups: np.ndarray, args: Any
) -> dict[str, pd.DataFrame]:
    """RMSE by row of the table: (draw, tower) and flux."""
    position = {label: i for i, label in enumerate(ds.site.values.tolist())}
    rows = np.array([position[label] for label in towers.labels])
    out: dict[str, pd.DataFrame] = {}
    for name, chosen in variants().items():
        if args.only == "methods" and name not in METHODS:
            continue
        parts = []
        for seed in range(args.draws):
            path = args.output / f"members{args.members}" / name.replace(" ", "_") / f"{seed}.csv"
            if not path.exists():
                train, test = draw(groups, seed, args.towers)
                model = fit(towers.subset(train), name, chosen, args.members)
                predicted = ds.isel(site=rows[test]).flux.predict(model)[TARGETS]
                truth = observed.isel(site=rows[test])
                found = metrics.scores(predicted, truth, scales=None).rmse.to_pandas().T
                path.parent.mkdir(parents=True, exist_ok=True)
                found.assign(q10=model.card.get("physics", {}).get("q10_of_the_law")).to_csv(path)
            parts.append(pd.read_csv(path, index_col=0))
        out[name] = pd.concat(parts, keys=range(args.draws), names=["draw", "site"])
        print(f"{name:28}" + "".join(f"{v:9.3f}" for v in out[name][TARGETS].mean()), flush=True)
    return out


def compare(
    found: Mapping[str, pd.DataFrame], group_of: pd.Series, part: np.ndarray | None = None
) -> None:
    """Print each row's difference to the first, paired over draws and towers."""
    first = next(iter(found.values()))
    for name, frame in found.items():
        gap = (frame[TARGETS] - first[TARGETS]).groupby("site").mean().dropna()
        if part is not None:
            gap = gap[np.isin(group_of.loc[gap.index], part)]
        pair = paired(gap.T.values, np.zeros(gap.T.shape), groups=group_of.loc[gap.index].values)
        cells = [
            f"{float(pair.difference[k]):+7.3f} [{float(pair.low[k]):+.3f}, "
            f"{float(pair.high[k]):+.3f}]"
            for k in range(3)
        ]
        by_draw = (frame[TARGETS] - first[TARGETS]).groupby("draw").mean()
        below = " ".join(f"{int((by_draw[t] < 0).sum())}/{len(by_draw)}" for t in TARGETS)
        print(f"{name:28}" + "  ".join(cells) + f"  {below}")


def main() -> None:
    """Train, predict, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--towers", type=int, default=20)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--only", choices=("methods",))
    parser.add_argument("--output", type=Path, default=Path("output/physics_few_towers"))
    args = parser.parse_args()
    warnings.filterwarnings("ignore", category=xflux.XfluxWarning)

    ds = xr.open_dataset(args.data / "fluxnet2015_daily.nc").load()
    observed = scored_labels(ds)
    towers = read_towers(ds, resolve(ds))
    groups = clusters(towers.latitude, towers.longitude)
    print(f"RMSE, mean over draws and towers, g m-2 d-1\n{'':28}" + "".join(
        f"{t:>9}" for t in TARGETS))  # fmt: skip
    found = scores(ds, observed, towers, groups, args)
    group_of = pd.Series(groups, index=list(towers.labels))
    print("\ndifference to the first row [95 % interval]; draws in which it is lower")
    compare(found, group_of)
    half = np.random.default_rng(12345).permutation(groups.max() + 1) >= (groups.max() + 1) // 2
    print("\nthe same on the half of the clusters on which nothing was chosen")
    compare(found, group_of, np.flatnonzero(half))


if __name__ == "__main__":
    main()
