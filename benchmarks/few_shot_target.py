"""A new target on a trained model against training from nothing, on the simulated world.

Latent heat is simulated from the drivers: the demand of the air after Hargreaves and Samani
(FAO-56, equation 52), weighted by leaves, met from a bucket of soil water that rain fills. It is
measured at 20 towers only::

    python benchmarks/few_shot_target.py

A model has learned GPP and Reco at other towers. ``finetune(model, target="LE")`` gives it heads
for latent heat; the other model is trained on the 20 towers alone, by the usual training with
latent heat in the place of its one target. Scored: towers that neither has seen, against the law
without noise, RMSE in W m-2, paired over towers with a 95 % interval by bootstrap over clusters.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
import xarray as xr

import xflux
from xflux.simulated.law import radiation_top
from xflux.skill.clusters import clusters
from xflux.skill.comparison import paired

LATENT = 28.4
"""W m-2 in a flux of 1 mm d-1 of water that evaporates."""

FLUXES = ["GPP", "Reco", "NEE"]


def latent_heat(ds: xr.Dataset, *, room: float = 150.0) -> xr.DataArray:
    """Latent heat, W m-2, with the soil water of each tower as its memory."""
    day = (ds.time.values - np.datetime64("2001-01-01")) / np.timedelta64(1, "D")
    top = radiation_top(ds.lat.values.astype(float), day) * 0.0864 / 2.45
    order = ("site", "time")
    warm, low, high, rain, leaves = (
        ds[name].transpose(*order).values.astype(float)
        for name in ("TA", "TA_MIN", "TA_MAX", "P", "LAI")
    )
    demand = 0.0023 * np.maximum(warm + 17.8, 0) * np.sqrt(np.maximum(high - low, 0)) * top
    demand *= 0.3 + 0.7 * (1 - np.exp(-0.5 * leaves))
    water = np.full(len(demand), 0.6 * room)
    used = np.full_like(demand, np.nan)
    for i in range(demand.shape[1]):
        known = np.isfinite(demand[:, i]) & np.isfinite(rain[:, i])
        taken = demand[:, i] * np.clip(water / (0.5 * room), 0, 1)
        used[known, i] = taken[known]
        water = np.where(known, np.clip(water + rain[:, i] - taken, 0, room), water)
    return xr.DataArray(
        (LATENT * used).astype(np.float32), {"site": ds.site, "time": ds.time}, order, name="LE",
        attrs={"units": "W m-2", "long_name": "latent heat flux"},
    )  # fmt: skip


def from_nothing(ds: xr.Dataset, settings: dict) -> xflux.FluxModel:
    """Train on latent heat alone, under the name of GPP, in units in which it is as large."""
    only = ds.drop_vars([*FLUXES, "NEE_QC", "LE"])
    only["GPP"] = (0.1 * ds.LE).assign_attrs(units="g m-2 d-1")
    return only.flux.train(**settings)


def error(predicted: xr.DataArray, observed: xr.DataArray) -> xr.DataArray:
    """RMSE of each tower."""
    return np.sqrt(((predicted - observed) ** 2).mean("time"))


def main() -> None:
    """Simulate, train, tune, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--towers", type=int, default=20)
    parser.add_argument("--members", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.filterwarnings("ignore", category=xflux.XfluxWarning)
    world = xflux.datasets.load("simulated-towers", sites=140, years=2, seed=args.seed)
    law = latent_heat(world)
    noise = np.random.default_rng(args.seed).normal(0, 0.15, law.shape).astype(np.float32)
    world["LE"] = (law * (1 + noise)).assign_attrs(law.attrs)
    rest, test = world.flux.split(test=0.4, seed=args.seed)
    learned, few = rest.flux.split(test=args.towers / rest.sizes["site"], seed=args.seed)
    settings = {"members": args.members, "epochs": args.epochs, "seed": args.seed}
    print(
        f"{learned.sizes['site']} towers with GPP and Reco, {few.sizes['site']} others with LE, "
        f"{test.sizes['site']} scored"
    )
    model = learned.flux.train(**settings, progress=False)
    tuned = few.flux.finetune(model, target="LE")
    alone = from_nothing(few, settings | {"progress": False})
    truth = law.sel(site=test.site)
    drivers = test.drop_vars([*FLUXES, "NEE_QC", "LE"])
    first = error(drivers.flux.predict(tuned).LE, truth)
    second = error(10 * drivers.flux.predict(alone).GPP, truth)
    groups = xr.DataArray(clusters(test.lat.values, test.lon.values), {"site": test.site}, "site")
    pair = paired(first, second, groups=groups)
    print(f"standard deviation of the law {float(truth.std()):8.2f} W m-2")
    print(f"trained from nothing          {float(second.mean()):8.2f}")
    print(f"tuned from GPP and Reco       {float(first.mean()):8.2f}")
    low, high = float(pair.low), float(pair.high)
    print(
        f"difference {float(pair.difference):+.2f} [{low:+.2f}, {high:+.2f}], lower at "
        f"{int(pair.wins)} of {int(pair.n)} towers"
    )


if __name__ == "__main__":
    main()
