"""What few labels of a tower are worth: fine-tuning on real daily towers that a model never saw.

Takes the fold models that ``cross_validation.py`` writes, so that neither a tower nor its 30 km
cluster was seen; folds without a model are left out::

    python benchmarks/cross_validation.py --data ../shared/data --members 5
    python benchmarks/few_shot_prior.py --folds output/cross_validation/daily-members5-...
    python benchmarks/few_shot.py --folds output/cross_validation/daily-members5-...

A draw takes 365 labelled days in a row from a random start (at most 1.5 times as many calendar
days), and scores all calendar years of the tower that these do not touch, if they hold at least 180
labelled days. Three ways to place n labels:

- block: the first n of them, so the same years are scored for all n;
- season: the same from a random start at which the model, without any label, predicts more GPP over
  30 days than it does at half of all starts of the tower: a campaign that was planned with it;
- spread: n of them evenly over the 365.

Printed: RMSE (g m-2 d-1), mean over draws, then over towers; the change of the mean of GPP and Reco
with its 95 % interval by bootstrap over clusters; the share of towers, and of single draws, whose
mean of GPP and Reco got worse by more than 5 %. "Best" rows use all labels of the tower, also those
that are scored: no fine-tuning of that kind can do better.

With ``--prior`` the settings of `xflux.training.prior.Prior` for each fold are those learned from
the towers of the other folds. ``--regional`` tunes to up to five other towers near a tower, none
of its cluster, and scores the tower.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from cross_validation import load, scored_labels

import xflux
from xflux.cf.schema import resolve
from xflux.cf.targets import CARBON, mixing
from xflux.model import FluxModel
from xflux.training.finetuning import head_spread, scale_spread
from xflux.training.headwise import Change, Heads, tune_heads
from xflux.training.labels import (
    assembled,
    build_members,
    evidence_of,
    read_heads,
    seen_by_heads,
)
from xflux.training.prior import PRIORS, Prior
from xflux.training.towers import read_towers

MIX = mixing(CARBON)
COUNTS = (7, 30, 90, 365)
FLUXES = ["GPP", "Reco", "NEE"]
SCORED = 180


@dataclass
class Tower:
    """One tower as its fold model sees it, at its n labelled days.

    ``seen`` (n, M, F), ``labels`` (n, 3), ``day`` and ``year`` (n,).
    """

    name: str
    fold: int
    cluster: int
    place: tuple[float, float]
    heads: Heads
    seen: np.ndarray
    labels: np.ndarray
    day: np.ndarray
    year: np.ndarray

    def evidence(self, rows: np.ndarray, prior: Prior):
        """What some of the labelled days say."""
        seen, base = self.seen[rows].astype(float), self.base[rows, :2].astype(float)
        return evidence_of(seen, self.day[rows], base, self.labels[rows], self.heads, MIX, prior)

    def fluxes(self, heads: Heads, rows: np.ndarray) -> np.ndarray:
        """GPP, Reco and NEE at some of the labelled days."""
        return heads.outputs(self.seen[rows].astype(float)) @ MIX.T

    def __post_init__(self) -> None:
        self.base = self.fluxes(self.heads, np.arange(len(self.day)))


@dataclass
class Draw:
    """Labels of each way and number, and the rows that are scored."""

    labels: dict[tuple[str, int], np.ndarray]
    scored: np.ndarray


def towers_of(data: Path, folder: Path) -> Iterator[Tower]:
    """Every tower of the folds that have a model, one after the other."""
    ds, folds = load(data, "daily")
    observed = scored_labels(ds)
    years = ds.time.dt.year.values
    for k in sorted(set(folds.fold.tolist())):
        path = folder / f"fold{k}.safetensors"
        if not path.exists():
            continue
        model: FluxModel = xflux.load_model(path)
        members, heads = build_members(model.weights), read_heads(model.weights)
        part = ds.isel(site=folds.fold.values == k)
        towers = read_towers(part, resolve(part))
        for i, name in enumerate(towers.labels):
            block, predicted = assembled(towers, model.inputs, i)
            there = observed.sel(site=name)[FLUXES].to_dataarray().transpose("time", "variable")
            steps = np.flatnonzero(np.isfinite(there.values).all(axis=1) & predicted)
            if steps.size:
                yield Tower(
                    name, k, int(folds.cluster[name]),
                    (float(towers.latitude[i]), float(towers.longitude[i])), heads,
                    seen_by_heads(members, block, steps).astype(np.float32),
                    there.values[steps], steps, years[steps],
                )  # fmt: skip


def starts(tower: Tower, counts: tuple[int, ...] = COUNTS) -> list[int]:
    """Rows from which labels in a row can be taken, with years left to be scored."""
    found = []
    for first in range(len(tower.day) - 364):
        spans = [tower.day[first + n - 1] - tower.day[first] < 1.5 * n for n in counts]
        if all(spans) and rest(tower, first).sum() >= SCORED:
            found.append(first)
    return found


def rest(tower: Tower, first: int) -> np.ndarray:
    """Which rows lie in years that the 365 labels from a row on do not touch."""
    low, high = tower.year[first], tower.year[first + 364]
    return (tower.year < low) | (tower.year > high)


def draws_of(tower: Tower, count: int, seed: int) -> list[tuple[Draw, Draw]]:
    """Draws from random starts, and from random starts in the growing season."""
    found = starts(tower)
    if not found:
        return []
    rng = np.random.default_rng([seed, *tower.name.encode()])
    active = np.array([tower.base[first : first + 30, 0].mean() for first in found])
    season = [f for f, gpp in zip(found, active, strict=True) if gpp > np.median(active)] or found
    out = []
    for _ in range(count):
        any_time, summer = (pool[rng.integers(len(pool))] for pool in (found, season))
        rows = any_time + np.arange(365)
        labels = {("block", n): rows[:n] for n in COUNTS}
        labels |= {
            ("spread", n): rows[np.linspace(0, 364, n).round().astype(int)] for n in COUNTS[:-1]
        }
        warm = {("season", n): summer + np.arange(n) for n in COUNTS[:-1]}
        out.append(
            (
                Draw(labels, np.flatnonzero(rest(tower, any_time))),
                Draw(warm, np.flatnonzero(rest(tower, summer))),
            )
        )
    return out


def spread_of(heads: Heads, prior: Prior, what: str) -> Change:
    """How far what is tuned may go."""
    return (head_spread if what == "head" else scale_spread)(heads, prior)


def rmse(predicted: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Of each flux."""
    return np.sqrt(((predicted - observed) ** 2).mean(axis=0))


def score_tower(
    tower: Tower, prior: Prior, count: int, seed: int, whats: tuple[str, ...]
) -> list[dict]:
    """One row for each draw, way, number of labels and what was tuned."""
    rows = []
    best = None
    for number, pair in enumerate(draws_of(tower, count, seed)):
        if best is None:
            best = best_heads(tower, prior)
        for draw in pair:
            seen, truth = draw.scored, tower.labels[draw.scored]
            before = rmse(tower.base[seen], truth)

            def add(way, labels, what, after, before=before, number=number):
                about = {"tower": tower.name, "cluster": tower.cluster, "draw": number}
                score = {f: after[i] for i, f in enumerate(FLUXES)}
                zero = {f"{f} before": before[i] for i, f in enumerate(FLUXES)}
                rows.append(about | {"way": way, "labels": labels, "what": what} | score | zero)

            for (way, n), chosen in draw.labels.items():
                for what in whats:
                    tuned = tune_heads(
                        tower.heads,
                        [tower.evidence(chosen, prior)],
                        spread=spread_of(tower.heads, prior, what),
                    )
                    add(way, n, what, rmse(tower.fluxes(tuned, seen), truth))
            if ("block", 7) in draw.labels:
                for what, heads in best.items():
                    add("all labels", len(tower.day), what, rmse(tower.fluxes(heads, seen), truth))
    return rows


def best_heads(tower: Tower, prior: Prior) -> dict[str, Heads]:
    """The best factor by least squares, and the heads tuned to all labels of the tower."""
    base, truth = tower.base[:, :2], tower.labels[:, :2]
    factor = (base * truth).sum(axis=0) / (base**2).sum(axis=0)
    none = np.zeros_like(tower.heads.weights)
    rows = np.arange(len(tower.day))
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), 700)).round().astype(int)]
    return {
        "best scale": tower.heads.moved(Change(np.log(np.maximum(factor, 1e-3)), none)),
        "best head": tune_heads(
            tower.heads,
            [tower.evidence(rows, prior)],
            spread=spread_of(tower.heads, prior, "head"),
        ),
    }


def interval(change: np.ndarray, before: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """95 % interval of the relative change of a mean, by bootstrap over clusters."""
    names, code = np.unique(groups, return_inverse=True)
    up, low = np.bincount(code, change), np.bincount(code, before)
    times = np.random.default_rng(0).multinomial(
        len(names), np.full(len(names), 1 / len(names)), 4000
    )
    return tuple(np.quantile((times @ up) / (times @ low), [0.025, 0.975]))


def table(rows: pd.DataFrame) -> None:
    """Print what each way, number of labels and what was tuned gave."""
    before = [f"{f} before" for f in FLUXES]
    print(
        f"{'labels':18}{'tuned':12}{'towers':>7}{'GPP':>8}{'Reco':>8}{'NEE':>8}"
        f"{'GPP':>9}{'Reco':>8}{'NEE':>8}   GPP and Reco [95 %]          worse: towers  draws"
    )
    order = {"block": 0, "season": 1, "spread": 2, "all labels": 3, "region": 4}
    rows = rows.assign(n=rows.labels.where(rows.way != "all labels", 0))
    for (way, n, what), part in sorted(
        rows.groupby(["way", "n", "what"]), key=lambda item: (order[item[0][0]], *item[0][1:])
    ):
        mean = part.groupby("tower")[[*FLUXES, *before]].mean()
        cluster = part.groupby("tower").cluster.first()
        change = mean[FLUXES].mean().to_numpy() / mean[before].mean().to_numpy() - 1
        both, zero = mean[["GPP", "Reco"]].mean(axis=1), mean[before[:2]].mean(axis=1)
        low, high = interval((both - zero).to_numpy(), zero.to_numpy(), cluster.to_numpy())
        single = part[["GPP", "Reco"]].mean(axis=1) / part[before[:2]].mean(axis=1)
        text = f"{way}" + (f" {n}" if n else "")
        print(
            f"{text:18}{what:12}{len(mean):7d}"
            + "".join(f"{mean[f].mean():8.3f}" for f in FLUXES)
            + "".join(f"{c:+9.1%}" if i == 0 else f"{c:+8.1%}" for i, c in enumerate(change))
            + f"   {both.mean() / zero.mean() - 1:+.1%} [{low:+.1%}, {high:+.1%}]"
            + f"{(both > 1.05 * zero).mean():16.1%}{(single > 1.05).mean():7.1%}",
            flush=True,
        )
    zero = rows[rows.way == rows.way.iloc[0]].groupby("tower")[before].mean().mean()
    print(f"{'no labels':37}" + "".join(f"{v:8.3f}" for v in zero))


def regional(towers: list[Tower], priors: dict[int, Prior], seed: int) -> pd.DataFrame:
    """Each tower predicted after tuning to the others of its region that its model never saw."""
    rows = []
    for tower in towers:
        near = sorted(
            (distance(tower.place, other.place), other.name, other)
            for other in towers
            if other.fold == tower.fold and other.cluster != tower.cluster and len(other.day) >= 365
        )
        region = [other for far, _, other in near if far < 1000][:5]
        if len(region) < 3:
            continue
        prior = priors[tower.fold]
        rng = np.random.default_rng([seed, *tower.name.encode()])
        evidence = []
        for other in region:
            first = int(rng.integers(len(other.day) - 364))
            evidence.append(other.evidence(first + np.arange(365), prior))
        whole = spread_of(tower.heads, prior, "head")
        tuned = tune_heads(
            tower.heads,
            evidence,
            spread=whole.times(np.sqrt(prior.shared)),
            own=whole.times(np.sqrt(1 - prior.shared)),
        )
        every = np.arange(len(tower.day))
        after, before = (rmse(p, tower.labels) for p in (tower.fluxes(tuned, every), tower.base))
        rows.append(
            {"tower": tower.name, "cluster": tower.cluster, "draw": 0, "way": "region"}
            | {"labels": 365, "what": "head"}
            | {f: after[i] for i, f in enumerate(FLUXES)}
            | {f"{f} before": before[i] for i, f in enumerate(FLUXES)}
        )
    return pd.DataFrame(rows)


def distance(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Great circle, km."""
    (a, b), (c, d) = np.radians(one), np.radians(other)
    half = np.sin((c - a) / 2) ** 2 + np.cos(a) * np.cos(c) * np.sin((d - b) / 2) ** 2
    return float(2 * 6371 * np.arcsin(np.sqrt(half)))


def main() -> None:
    """Tune, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--folds", type=Path, required=True)
    parser.add_argument("--prior", type=Path, help="settings by fold, from few_shot_prior.py")
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--regional", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("output/few_shot"))
    args = parser.parse_args()
    warnings.filterwarnings("ignore", category=xflux.XfluxWarning)
    learned = json.loads(args.prior.read_text())["folds"] if args.prior else {}
    priors = {k: PRIORS["daily"].changed(learned.get(str(k))) for k in range(5)}
    args.output.mkdir(parents=True, exist_ok=True)
    if args.regional:
        table(regional(list(towers_of(args.data, args.folds)), priors, args.seed))
        return
    rows: list[dict] = []
    for tower in towers_of(args.data, args.folds):
        rows += score_tower(tower, priors[tower.fold], args.draws, args.seed, ("scale", "head"))
    frame = pd.DataFrame(rows)
    frame.to_csv(args.output / "few_shot.csv", index=False)
    table(frame)


if __name__ == "__main__":
    main()
