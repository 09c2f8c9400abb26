"""Contributions told of a model against those of the law that it has learned from.

A model is trained on simulated towers, with NDVI replaced by noise that no flux depends on. At
other towers, without noise in the fluxes, some fluxes are explained by `ds.flux.attribute`, and by
integrated gradients of the law itself, from finite differences along the same line between the
same days::

    python benchmarks/attribution.py
    python benchmarks/attribution.py --sites 100 --members 5 --hidden 64

Printed: what contributions miss of a flux; for each group of drivers the size of its contributions
by model and law, their rank correlation over fluxes, and how often signs agree where the law's is
above 0.1 g m-2 d-1; the share of older days; permutation importance; time against prediction.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr

import xflux
from xflux.attribution import attributing, baselines
from xflux.cf.schema import resolve
from xflux.model import FluxModel
from xflux.prediction.run import prepare
from xflux.simulated import law, world

GROUPS = {
    "warmth": ("TA", "TA_MIN", "TA_MAX"),
    "light": ("SW_IN",),
    "dry air": ("VPD",),
    "rain": ("P",),
    "leaves": ("LAI", "EVI"),
    "noise": ("NDVI",),
    "season": ("season",),
}
TRUE = ("TA", "TA_MIN", "TA_MAX", "SW_IN", "VPD", "P", "LAI")
SEEDS = {"train": 0, "test": 7}
BACK, POINTS, SMALL = 400, 6, 1e-3


def towers(sites: int, years: int, *, seed: int, noise: bool) -> xr.Dataset:
    """Simulated towers with noise in place of NDVI, that of a day like that of the day before."""
    ds = xflux.datasets.load("simulated-towers", sites=sites, years=years, seed=seed, noise=noise)
    white = np.random.default_rng([seed, 99]).normal(size=ds.TA.shape).astype(np.float32)
    slow = pd.DataFrame(white.T).ewm(alpha=0.2).mean().to_numpy().T
    values = np.clip(0.5 + 0.4 * slow, 0.0, 1.0).astype(np.float32)
    ds["NDVI"] = (ds.TA.dims, values, {"units": "1"})
    ds["NDVI"] = ds.NDVI.where(ds.TA.notnull())
    return ds


def usual_days(ds: xr.Dataset, model: FluxModel, kind: str) -> dict[str, np.ndarray]:
    """The baseline of each driver in its own units, (site, day)."""
    run = prepare(ds, resolve(ds), model.inputs, model.members, source="", version="")
    block, _ = attributing.network_inputs(run, ds.sizes["time"])
    usual = baselines.baseline_series(kind, block, model.inputs, run.task.fraction).drivers
    inputs = model.inputs
    return {
        name: usual[..., i] * inputs.scale[i] + inputs.centre[i]
        for i, name in enumerate(inputs.drivers)
    }


def by_law(
    places: law.Places, usual: dict[str, np.ndarray], day: int, lags: int, seed: int
) -> dict[str, np.ndarray]:
    """Contributions to GPP and Reco of one day, (site, driver, lag) each, by the law."""
    days = np.arange(day - BACK, day + 1.0)
    own = law.weather(places, days, seed=seed)
    first = max(BACK - day, 0)
    gap = {name: np.zeros_like(own["TA"]) for name in TRUE}
    for name in TRUE:
        gap[name][:, first:] = own[name][:, first:] - usual[name][:, day - BACK + first : day + 1]
    found = {name: np.zeros((places.lat.size, len(TRUE), lags)) for name in ("GPP", "Reco")}
    nodes, weights = np.polynomial.legendre.leggauss(POINTS)
    for node, weight in zip(0.5 * (nodes + 1), 0.5 * weights, strict=True):
        here = {n: v - (1 - node) * gap[n] if n in gap else v for n, v in own.items()}
        for site in range(places.lat.size):
            one = law.take(places, np.repeat(site, 1 + len(TRUE) * lags))
            rows = {n: np.repeat(v[[site]], one.lat.size, axis=0) for n, v in here.items()}
            for k, name in enumerate(TRUE):
                for lag in range(lags):
                    rows[name][1 + k * lags + lag, BACK - lag] += SMALL * gap[name][site, -1 - lag]
            fluxes = law.fluxes(one, rows)
            for target, sums in found.items():
                last = fluxes[f"{target}_true"][:, -1]
                slope = (last[1:] - last[0]) / SMALL
                sums[site] += weight * slope.reshape(len(TRUE), lags)
    return found


def grouped(values: xr.DataArray) -> xr.DataArray:
    """Sums over the drivers of each group; a group without a driver has 0."""
    parts = []
    for names in GROUPS.values():
        known = [name for name in names if name in values.driver.values]
        parts.append(values.sel(driver=known).sum("driver"))
    return xr.concat(parts, pd.Index(list(GROUPS), name="group"))


def compare(
    ds: xr.Dataset, model: FluxModel, kind: Any, days: list[int], lags: int, seed: int
) -> None:
    """Print how contributions of model and law agree, for one baseline."""
    places, usual = world._placed(ds.sizes["site"], seed), usual_days(ds, model, kind)
    truth = [by_law(places, usual, day, lags, seed) for day in days]
    for target in ("GPP", "Reco"):
        clock = time.process_time()
        why = ds.flux.attribute(
            model, target=target, at=ds.time.values[days], baseline=kind, lags=lags
        )
        spent = time.process_time() - clock
        clock = time.process_time()
        ds.flux.predict(model)
        ratio = spent / (time.process_time() - clock)
        found = grouped(why.contribution).transpose("group", "site", "time", "lag")
        true = xr.DataArray(
            np.stack([part[target] for part in truth], axis=1),
            dims=("site", "time", "driver", "lag"),
            coords={"driver": list(TRUE)},
        )
        told = grouped(true).transpose("group", "site", "time", "lag")
        table(found, told)
        worst = float(abs(why.residual).max())
        print(
            f"{target}, baseline {kind}: contributions miss {worst:.4f} g m-2 d-1 of a flux at most"
            f"\n{found.site.size * len(days)} fluxes, {ratio:.1f} times as long as predicting all "
            f"{ds.sizes['site']} x {ds.sizes['time']} days\n"
        )


def table(found: xr.DataArray, true: xr.DataArray) -> None:
    """One row a group of drivers."""
    rows = {}
    for k, group in enumerate(GROUPS):
        a, b = (v.values[k].sum(-1).ravel() for v in (found, true))
        large = np.abs(b) > 0.1
        older = [
            np.abs(v.values[k][..., 7:].sum(-1)).mean() / np.abs(v.values[k].sum(-1)).mean()
            if np.abs(v.values[k]).any()
            else np.nan
            for v in (found, true)
        ]
        rows[group] = {
            "model": np.abs(a).mean(),
            "law": np.abs(b).mean(),
            "rank corr.": pd.Series(a).corr(pd.Series(b), method="spearman") if b.any() else np.nan,
            "signs": (np.sign(a) == np.sign(b))[large].mean() if large.any() else np.nan,
            "n": large.sum(),
            "older, model": older[0],
            "older, law": older[1],
        }
    a, b = (v.sum(("group", "lag")).values.ravel() for v in (found, true))
    rows["all"] = {
        "model": np.abs(a).mean(),
        "law": np.abs(b).mean(),
        "rank corr.": pd.Series(a).corr(pd.Series(b), method="spearman"),
        "signs": (np.sign(a) == np.sign(b))[np.abs(b) > 0.1].mean(),
        "n": (np.abs(b) > 0.1).sum(),
    }
    print(pd.DataFrame(rows).T.round(2).to_string())
    each = found.sum("lag").values.reshape(len(GROUPS), -1)
    other = true.sum("lag").values.reshape(len(GROUPS), -1)
    ranks = [
        pd.Series(a).corr(pd.Series(b), method="spearman")
        for a, b in zip(each[:5].T, other[:5].T, strict=True)
        if np.abs(b).max() > 0.1
    ]
    print(
        "rank correlation over the five groups of the law, "
        f"median flux of {len(ranks)}: {np.median(ranks):.2f}"
    )


def main() -> None:
    """Train, explain, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in {
        "sites": 60, "years": 3, "members": 2, "hidden": 48, "epochs": 30, "tests": 24, "lags": 60
    }.items():  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = towers(given.sites, given.years, seed=SEEDS["train"], noise=True).flux.train(
        members=given.members, hidden=given.hidden, epochs=given.epochs, progress=False
    )
    test = towers(given.tests, given.years, seed=SEEDS["test"], noise=False)
    kept = test.isel(site=np.isin(test.igbp, model.inputs.characteristics[0].classes))
    scores = kept.flux.evaluate(model)
    print("RMSE at other towers, pooled:", scores.rmse_pooled.to_series().round(2).to_dict(), "\n")
    last = 365 * given.years
    days = [last - 330, last - 240, last - 165, last - 75]
    for kind in ("climatology", "entity"):
        compare(test, model, kind, days, given.lags, SEEDS["test"])
    found = kept.flux.importance(model, repeats=3)
    print("importance: increase of RMSE, g m-2 d-1")
    print(found.increase.mean("repeat").to_pandas().round(3).to_string())


if __name__ == "__main__":
    main()
