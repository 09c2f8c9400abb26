"""How often measured fluxes of towers never seen lie in the band of ``quantiles=``.

Nested: the band of a fold is calibrated on the four others, by models that have not seen the tower
either::

    python benchmarks/uncertainty.py --data ../shared/data
    python benchmarks/uncertainty.py --data ../shared/data --models output/cross_validation/...

Printed, for the band from 5 to 95 %: how many steps lie in it, below and above, its width
(g m-2 d-1), and the Spearman correlation of the width with the size of the error. GPP and Reco
below 0 are noise and count as 0; ``as is`` counts them as they are. Beside it the band that the
spread of the members would give if it were normal. Then by fold and land cover; other levels; and
what becomes of the band in means over 30 steps and 365 steps (months: 3 and 12).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from held_out import TARGETS, HeldOut, arguments, held_out
from scipy.stats import spearmanr

from xflux.cf.targets import CARBON
from xflux.prediction.calibration import Calibration
from xflux.prediction.conformal import quantiles
from xflux.skill.calibrating import collect, fit_bands

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
MEANS = {"daily": (30, 365), "monthly": (3, 12)}


def nested(held: HeldOut) -> tuple[dict, dict, dict, np.ndarray]:
    """Quantiles (levels, N, T) of each target, spread, labels, and the steps that count."""
    means, spreads, labels = collect(held.predict(), held.observed, CARBON, "site")
    there = np.isfinite([*means.values(), *labels.values()]).all(axis=0)
    found = {t: np.full((len(LEVELS), *there.shape), np.nan) for t in TARGETS}
    for k in sorted(set(held.fold.tolist())):
        train, test = held.fold != k, held.fold == k
        parts = [{t: v[train] for t, v in held_.items()} for held_ in (means, spreads, labels)]
        calibration = Calibration(
            bands=fit_bands(*parts, CARBON), reference=None, entities=1, clusters=1, steps=1
        )
        some = [{t: v[test] for t, v in held_.items()} for held_ in (means, spreads)]
        both = quantiles(*some, CARBON, calibration, LEVELS)
        for t, values in zip(TARGETS, both, strict=True):
            found[t][:, test] = values
    return found, {t: (means[t], spreads[t]) for t in TARGETS}, labels, there


def row(label: np.ndarray, low: np.ndarray, high: np.ndarray, error: np.ndarray) -> str:
    """Share within, below and above, mean width and its correlation with the error."""
    width = high - low
    rho = spearmanr(width, np.abs(error))[0] if np.ptp(width) > 0 else np.nan
    inside = (label >= low) & (label <= high)
    return (
        f"{100 * inside.mean():8.1f} {100 * (label < low).mean():7.1f} "
        f"{100 * (label > high).mean():7.1f} {width.mean():8.2f} {rho:9.2f}"
    )


def averaged(held: HeldOut, found: dict, labels: dict, there: np.ndarray, n: int) -> None:
    """What the averaged band covers of means over n steps with at least half of them measured."""
    print(f"\nmeans over {n} steps: inside of the averaged band; of one narrower by sqrt(n)")
    steps = there.shape[1] // n * n
    for t in TARGETS:
        label = np.where(there, labels[t], np.nan)[:, :steps].reshape(len(there), -1, n)
        low, mid, high = (
            np.where(there, found[t][i], np.nan)[:, :steps].reshape(label.shape) for i in (0, 3, 6)
        )
        enough = np.isfinite(label).sum(axis=2) >= n / 2
        label, low, mid, high = (np.nanmean(v[enough], axis=1) for v in (label, low, mid, high))
        root = np.sqrt(n)
        narrow = (label >= mid - (mid - low) / root) & (label <= mid + (high - mid) / root)
        inside = (label >= low) & (label <= high)
        print(f"{t:5}{100 * inside.mean():8.1f} %{100 * narrow.mean():8.1f} %  of {len(label)}")


def main() -> None:
    """Calibrate fold by fold and print."""
    args = arguments(__doc__).parse_args()
    held = held_out(args)
    found, predicted, labels, there = nested(held)
    print(f"{int(there.sum())} {args.time_step} steps of {int(there.any(axis=1).sum())} towers")
    print(f"\n{'':22}inside % below % above %   width   Spearman")
    within = {}
    for t in TARGETS:
        label = np.maximum(labels[t], 0) if t != "NEE" else labels[t]
        low, high = found[t][0], found[t][-1]
        mean, spread = predicted[t]
        error = labels[t] - mean
        within[t] = (label >= low) & (label <= high)
        for name, value, edges in (
            ("band", label, (low, high)),
            ("as is", labels[t], (low, high)),
            ("spread", label, (mean - 1.645 * spread, mean + 1.645 * spread)),
        ):
            part = (v[there] for v in (value, *edges, error))
            print(f"{t:6}{name:16}" + row(*part))
    frame = pd.DataFrame({t: within[t][there] for t in TARGETS}) * 100
    for t in TARGETS:
        frame[f"width {t}"] = (found[t][-1] - found[t][0])[there]
    site = np.broadcast_to(np.arange(len(there))[:, None], there.shape)[there]
    frame["towers"] = site
    how = dict.fromkeys(frame, "mean") | {"towers": "nunique"}
    for title, group in (("fold", held.fold), ("land cover", held.ds.igbp.values.astype(str))):
        print(f"\nby {title}: % inside, width")
        print(frame.groupby(group[site]).agg(how).round(2).to_string())
    towers = frame.groupby(site)[[*TARGETS]].mean()
    print("\ntowers: quartiles of % inside")
    print(towers.quantile([0.1, 0.25, 0.5, 0.75]).round(1).to_string())
    print("\nnominal: % of steps up to that quantile")
    for i, level in enumerate(LEVELS):
        shares = [100 * (labels[t] <= found[t][i])[there].mean() for t in TARGETS]
        print(f"{100 * level:5.0f} " + "".join(f"{share:8.1f}" for share in shares))
    for n in MEANS[args.time_step]:
        averaged(held, found, labels, there, n)


if __name__ == "__main__":
    xr.set_options(keep_attrs=False)
    main()
