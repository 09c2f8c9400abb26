"""The tables of the scoreboard, from scores by tower: one frame a row, with the same towers.

A frame has a row for each tower (index ``site``) and the columns ``cluster``, ``fold``, ``group``,
``seed``, ``n``, and for each flux ``rmse_GPP``, ``r2_GPP``, ``bias_GPP``. r2 is 1 minus the squared
error over that of the tower's own mean, which `xflux.skill.metrics` calls nse.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from xflux.skill import metrics
from xflux.skill.comparison import paired

TARGETS = ["GPP", "Reco", "NEE"]
GROUPS = ("FLUXNET", "AmeriFlux")
AMERICAS = (-170.0, -30.0)
"""Degrees east between which a tower counts as one of AmeriFlux."""

Frames = Mapping[str, pd.DataFrame]


def group_of(longitude: np.ndarray) -> np.ndarray:
    """AmeriFlux in the Americas and FLUXNET elsewhere, as the poster of CT-LSTM had them."""
    east = (np.asarray(longitude, dtype=float) + 180.0) % 360.0 - 180.0
    return np.where((east > AMERICAS[0]) & (east < AMERICAS[1]), "AmeriFlux", "FLUXNET")


def by_tower(predicted: xr.Dataset, observed: xr.Dataset, about: pd.DataFrame) -> pd.DataFrame:
    """Scores of each tower, beside what is known about it; towers without a score are left out."""
    found = metrics.scores(predicted, observed, scales=None)
    columns = {"n": found.n.sel(target="GPP").to_pandas()}
    for target in TARGETS:
        for name, score in (("rmse", "rmse"), ("r2", "nse"), ("bias", "bias")):
            columns[f"{name}_{target}"] = found[score].sel(target=target).to_pandas()
    frame = about.loc[found.site.values].join(pd.DataFrame(columns))
    return frame[frame.n > 0].rename_axis("site")


def pooled(frame: pd.DataFrame) -> np.ndarray:
    """RMSE of all steps of all towers, by flux, (3,)."""
    squares = frame[[f"rmse_{t}" for t in TARGETS]].to_numpy() ** 2
    return np.sqrt((squares * frame.n.to_numpy()[:, None]).sum(axis=0) / frame.n.sum())


def mean(frame: pd.DataFrame) -> np.ndarray:
    """Mean over towers of RMSE, by flux, (3,)."""
    return frame[[f"rmse_{t}" for t in TARGETS]].mean().to_numpy()


def _cells(values: np.ndarray, width: int = 7) -> str:
    return "".join(f"{v:{width}.3f}" if np.isfinite(v) else f"{'-':>{width}}" for v in values)


def poster_table(frames: Frames, titles: Mapping[str, str], relative_to: str) -> None:
    """RMSE by group of towers, pooled and as a mean over towers, and how far from one row."""
    first = next(iter(frames.values()))
    count = {g: int((first.group == g).sum()) for g in GROUPS}
    head = f"{'':30}" + "".join(f"{g + f' ({count[g]})':^24}" for g in GROUPS)
    three = "".join(f"{t:>7}" for t in TARGETS) + "   "
    for name, of in (("all steps pooled", pooled), ("mean over towers", mean)):
        print(f"\nRMSE, {name}; last: percent against {titles[relative_to]}")
        print(f"{head}{'percent, all towers':^24}\n{'':30}{three * 3}")
        reference = of(frames[relative_to])
        for row, frame in frames.items():
            cells = "".join(_cells(of(frame[frame.group == g])) + "   " for g in GROUPS)
            change = "".join(f"{v:+7.1f}" for v in 100 * (of(frame) / reference - 1))
            print(f"{titles[row]:30}{cells}{change}")


def whole_table(frames: Frames, titles: Mapping[str, str]) -> None:
    """All towers together, by flux."""
    for target in TARGETS:
        print(f"\n{target}, all towers: RMSE pooled, mean, median and 0.9 quantile over towers;")
        print("median R2 over towers, percent of towers with R2 < 0, mean bias")
        for row, frame in frames.items():
            rmse, r2 = frame[f"rmse_{target}"], frame[f"r2_{target}"]
            size = [pooled(frame)[TARGETS.index(target)], rmse.mean(), rmse.median()]
            cells = _cells(np.array([*size, rmse.quantile(0.9), r2.median()]), 8)
            below = f"{100 * (r2.dropna() < 0).mean():7.1f}" if r2.notna().any() else f"{'-':>7}"
            print(f"{titles[row]:30}{cells}{below}{_cells(frame[[f'bias_{target}']].mean(), 8)}")


def paired_table(frames: Frames, titles: Mapping[str, str], reference: str) -> None:
    """Each row minus one of them: mean over towers, 95 % interval, towers where it is lower."""
    print(f"\nRMSE minus that of {titles[reference]}, mean over towers [95 % interval by bootstrap")
    print("over clusters], percent of towers where it is lower: GPP, Reco, NEE")
    for row, frame in frames.items():
        if row != reference:
            print(f"{titles[row]:30}{'  '.join(difference(frame, frames[reference]))}")


def difference(frame: pd.DataFrame, reference: pd.DataFrame) -> list[str]:
    """One text a flux, on the towers that both have."""
    both = frame.index.intersection(reference.index)
    texts = []
    for target in TARGETS:
        one, other = (part.loc[both, f"rmse_{target}"].to_numpy() for part in (frame, reference))
        pair = paired(one, other, groups=reference.loc[both].cluster.to_numpy())
        share = 100 * int(pair.wins) / int(pair.n)
        texts.append(
            f"{float(pair.difference):+6.3f} [{float(pair.low):+.3f}, {float(pair.high):+.3f}] "
            f"{share:3.0f}"
        )
    return texts


def class_table(frames: Frames, titles: Mapping[str, str], label: pd.Series, what: str) -> None:
    """Mean over the towers of each class."""
    first = next(iter(frames.values()))
    classes = label.reindex(first.index)
    count = classes.value_counts()
    count = count[[name for name in count.index if name]]
    for target in TARGETS:
        print(f"\nRMSE of {target} by {what} (towers), mean over towers")
        width = max(9, *(len(f"{n} ({c})") + 2 for n, c in count.items()))
        print(f"{'':30}" + "".join(f"{f'{n} ({c})':>{width}}" for n, c in count.items()))
        for row, frame in frames.items():
            values = frame[f"rmse_{target}"].groupby(classes).mean().reindex(count.index)
            print(f"{titles[row]:30}{_cells(values.to_numpy(), width)}")


def scale_table(
    predicted: Mapping[str, xr.Dataset], observed: xr.Dataset, titles: Mapping[str, str]
) -> None:
    """RMSE at each time scale: that of towers as a mean over them, between towers pooled."""
    print("\nRMSE by time scale, mean over towers: the mean seasonal cycle, what is left of it;")
    print("and of the means of towers: GPP, Reco, NEE of each")
    for row, fluxes in predicted.items():
        found = metrics.scores(fluxes, observed, scales=("seasonal", "anomaly", "between"))
        parts = [found.rmse_mean.sel(scale=s) for s in ("seasonal", "anomaly")]
        parts.append(found.rmse_pooled.sel(scale="between"))
        text = "   ".join(_cells(part.sel(target=TARGETS).values) for part in parts)
        print(f"{titles[row]:30}{text}")


def spread_table(
    members: Mapping[str, np.ndarray], frames: Frames, titles: Mapping[str, str]
) -> None:
    """What single seeds score, their spread, and what their average scores; (members, 3) each."""
    print("\nRMSE, mean over towers, of single members, one a seed: mean +- standard deviation,")
    print("then of their average: GPP, Reco, NEE")
    for row, scores in members.items():
        spread = scores.std(axis=0, ddof=1) if len(scores) > 1 else np.full(3, np.nan)
        each = "".join(
            f"{m:7.3f}" + (f" +-{s:.3f}" if np.isfinite(s) else f"{'':8}")
            for m, s in zip(scores.mean(axis=0), spread, strict=True)
        )
        print(f"{titles[row]:30}{len(scores):3d}{each}   {_cells(mean(frames[row]))}")
