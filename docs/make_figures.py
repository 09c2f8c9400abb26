"""Draw the figures of the README and the documentation: python docs/make_figures.py

Needs xflux with its extra `plots`, and about two minutes; no network.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.axes import Axes

import xflux
from xflux import plotting, styles

FOLDER = Path(__file__).parent / "images"
HIGH = 8.0  # end of the colour bar, g m-2 d-1


def towers_on_map(towers: xr.Dataset, world: xr.Dataset, ax: Axes) -> None:
    """Towers as dots in the colour of their mean GPP, on grey land."""
    mean = towers.GPP.where(towers.NEE_QC >= 0.5).mean("time", keep_attrs=True)
    land = world.TA.isel(time=0).notnull()
    ax.pcolormesh(world.lon, world.lat, land.where(land), cmap="Greys", vmin=0, vmax=6)
    colours = {"cmap": styles.STYLES["GPP"].colours, "vmin": 0.0, "vmax": HIGH}
    edges = {"edgecolors": "#333333", "linewidths": 0.6, "s": 42, "zorder": 3}
    ax.scatter(mean.lon, mean.lat, c=mean, **colours, **edges)


def from_towers_to_map(towers: xr.Dataset, world: xr.Dataset, fluxes: xr.Dataset) -> None:
    """Left what was measured, right what was predicted."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(13.5, 3.1), layout="constrained")
    plotting.flux_map(fluxes.GPP, ax=right, high=HIGH, title="... to everywhere, every day")
    towers_on_map(towers, world, left)
    left.set(xlim=right.get_xlim(), ylim=right.get_ylim(), aspect="equal", xticks=[], yticks=[])
    left.set_facecolor(styles.SEA)
    left.spines[:].set_visible(False)
    left.set_title(f"From {towers.sizes['site']} flux towers ...", loc="left", fontweight="bold")
    save(fig, "from_towers_to_map.png")


def towers_kept_out(predicted: xr.Dataset, test: xr.Dataset) -> None:
    """Observed against predicted, and seasonal cycles, at towers that the model has not seen."""
    seen = test.where(test.NEE_QC >= 0.5)
    fig, axes = plt.subplots(2, 3, figsize=(12.5, 7.6), layout="constrained", height_ratios=(5, 4))
    for ax, target in zip(axes[0], ("GPP", "Reco", "NEE"), strict=True):
        plotting.scatter(predicted, seen, target=target, ax=ax)
    for ax, site in zip(axes[1], different_land_cover(test), strict=True):
        for target in ("GPP", "Reco"):
            here = {"site": site}
            plotting.seasonal_cycle(
                predicted.isel(here), target=target, observed=seen.isel(here), ax=ax, label=target
            )
        ax.get_legend().remove()
        tower = test.isel(site=site)
        where = f"{abs(tower.lat.item()):.0f}°{'N' if tower.lat > 0 else 'S'}"
        ax.set_title(f"{tower.igbp.item()}, {where}", loc="left", fontweight="bold")
        ax.set_ylabel("")
    axes[1, 0].set_ylabel("g m$^{-2}$ d$^{-1}$ of carbon")
    lines = axes[1, 0].lines
    axes[1, 0].legend([*lines[::2], lines[1]], ["GPP", "Reco", "observed"], frameon=False)
    save(fig, "towers_kept_out.png")


def different_land_cover(test: xr.Dataset, count: int = 3) -> list[int]:
    """The towers with most days of their land cover, for the first few land covers."""
    days = (test.NEE_QC >= 0.5).sum("time").values
    best: dict[str, int] = {}
    for site, kind in enumerate(test.igbp.values):
        if kind not in best or days[site] > days[best[kind]]:
            best[str(kind)] = site
    return list(best.values())[:count]


def fluxes_on_map(fluxes: xr.Dataset) -> None:
    """GPP, Reco, NEE and the spread of the members."""
    fig, axes = plt.subplots(2, 2, figsize=(13, 5.6), layout="constrained")
    for ax, name in zip(axes.flat, ("GPP", "Reco", "NEE", "GPP_std"), strict=True):
        plotting.flux_map(fluxes[name], ax=ax)
    save(fig, "world.png")


GROUPS = {
    "light": (("SW_IN",), "#e8b021"),
    "leaves": (("LAI", "EVI"), "#3f9b4b"),
    "warmth": (("TA", "TA_MIN", "TA_MAX"), "#c8553d"),
    "dry air": (("VPD",), "#a07cc5"),
    "rain": (("P",), "#3e7cb1"),
    "season": (("season",), "#9aa3a8"),
}
"""Drivers that say much the same, and their colour."""


def what_made_it(tower: xr.Dataset) -> None:
    """Contributions to GPP through a year against the usual one, and their size by days back."""
    model = xflux.load_model("daily")
    fig, (left, right) = plt.subplots(
        1, 2, figsize=(13, 3.9), layout="constrained", width_ratios=(3, 2)
    )
    year = tower.time.dt.year.values[-1]
    why = tower.flux.attribute(model, at=str(year), baseline="climatology", lags=60)
    days = why.contribution.rolling(time=7, center=True).mean()
    above = below = xr.zeros_like(why.GPP)
    for name, (drivers, colour) in GROUPS.items():
        part = days.sum("lag", skipna=False).sel(driver=list(drivers)).sum("driver", skipna=False)
        for bottom, values in ((above, part.clip(min=0)), (below, part.clip(max=0))):
            left.fill_between(why.time, bottom, bottom + values, color=colour, linewidth=0)
        above, below = above + part.clip(min=0), below + part.clip(max=0)
        left.fill_between([], [], [], color=colour, label=name)
    anomaly = (why.GPP - why.GPP_at_baseline).rolling(time=7, center=True).mean()
    left.plot(why.time, anomaly, color="#222222", linewidth=1.3, label="GPP - usual GPP")
    left.set_title(f"What made {year} different, 7-day means", loc="left", fontweight="bold")
    left.set_ylabel("g m$^{-2}$ d$^{-1}$ of carbon")
    left.legend(frameon=False, ncols=4, fontsize=8.5, loc="upper left")
    left.set_ylim(top=1.35 * left.get_ylim()[1])
    bins = {"same day": (0, 0), "1 to 7": (1, 7), "8 to 30": (8, 30), "31 to 59": (31, 59)}
    base = xr.zeros_like(why.lag[: len(bins)], dtype=float).values
    for drivers, colour in GROUPS.values():
        part = why.contribution.sel(driver=list(drivers)).sum("driver", skipna=False)
        sums = [part.sel(lag=slice(*ends)).sum("lag", skipna=False) for ends in bins.values()]
        size = [float(abs(values).mean()) for values in sums]
        right.bar(list(bins), size, bottom=base, color=colour, width=0.7)
        base = base + size
    right.set_title("How far back, mean size over the year", loc="left", fontweight="bold")
    right.set_xlabel("days back")
    for ax in (left, right):
        ax.axhline(0, color="#888888", linewidth=0.8)
        ax.spines[["top", "right"]].set_visible(False)
    save(fig, "attribution.png")


def save(fig: plt.Figure, name: str) -> None:
    """Write a figure of less than 300 kB."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / name
    fig.savefig(path, dpi=90, facecolor="white", pil_kwargs={"optimize": True})
    plt.close(fig)
    print(path, f"{path.stat().st_size // 1000} kB")


def main() -> None:
    """Train on simulated towers, predict a simulated world, draw."""
    towers = xflux.datasets.load("simulated-towers", sites=84, years=3)
    world = xflux.datasets.load("simulated-grid", shape=(60, 120))
    train, test = towers.flux.split(test=0.2, seed=0)
    model = train.flux.train(members=5, seed=0, epochs=25)
    fluxes = world.flux.predict(model)
    from_towers_to_map(train, world, fluxes)
    fluxes_on_map(fluxes)
    towers_kept_out(test.flux.predict(model), test)
    what_made_it(test.isel(site=different_land_cover(test)[:1]).squeeze("site"))


if __name__ == "__main__":
    main()
