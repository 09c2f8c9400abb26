"""The main job from end to end: towers in, a model, its scores, and a map of the world.

`run` is what ``python -m xflux demo`` calls. It needs no network with the simulated towers, and
downloads the real ones once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from xflux import accessor, datasets, plotting
from xflux.cf.variables import TARGETS
from xflux.errors import DataError
from xflux.model import FluxModel
from xflux.pretrained import model_for
from xflux.styles import require_matplotlib
from xflux.whole import write_netcdf

__all__ = ["SIZES", "Size", "run"]

MAPS = ("GPP", "Reco", "NEE", "GPP_std")
"""What is drawn of each world."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large the job is.

    Attributes
    ----------
    time_step : str
        Of the towers and of the world.
    towers : dict
        Options of `xflux.datasets.load` for the towers.
    shape : (int, int)
        Latitudes and longitudes of the world, over one year.
    epochs, hidden : int
        Of the training.
    """

    time_step: str
    towers: Mapping[str, Any]
    shape: tuple[int, int] = (60, 120)
    epochs: int
    hidden: int = 64


SIZES: dict[str, Size] = {
    "simulated-towers": Size(time_step="daily", towers={"sites": 84, "years": 3}, epochs=25),
    "fluxnet2015-monthly": Size(time_step="monthly", towers={}, epochs=40),
}
"""Each dataset of the demo with its size: under four minutes on two cores."""


def run(
    data: str = "simulated-towers",
    *,
    output: str | Path = "xflux-demo",
    members: int = 5,
    seed: int = 0,
    size: Size | None = None,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> dict[str, Path]:
    """Train, score on towers kept out, predict a simulated world, write files and maps.

    Parameters
    ----------
    data : {"simulated-towers", "fluxnet2015-monthly"}
        Towers to learn from.
    output : path
        Folder for the files; made if it is not there.
    members, seed : int
        Of the ensemble.
    size : Size, optional
        That of `SIZES` by default.
    progress : bool
        Show a progress bar.
    say : callable
        Takes each line of the story.

    Returns
    -------
    dict of str to Path
        The files by what they hold: ``model``, ``towers``, ``world trained``,
        ``world bundled``, ``map trained``, ``map bundled``, ``scatter``.

    Raises
    ------
    DataError
        The data have another name.
    DownloadError
        The real towers are not there and cannot be fetched.
    ImportError
        matplotlib is not installed.
    """
    if data not in SIZES:
        raise DataError(f"no demo is called {data!r}; there are {', '.join(SIZES)}")
    require_matplotlib()
    size = size or SIZES[data]
    begin = time.monotonic()
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)

    options = {**size.towers, **({"time_step": size.time_step} if "sim" in data else {})}
    towers = datasets.load(data, **options, progress=progress)
    train, test = _flux(towers).split(test=0.2, seed=seed)
    say(
        f"Towers: {towers.sizes['site']} of {data}, {size.time_step}; "
        f"{train.sizes['site']} to learn from, {test.sizes['site']} kept out, whole clusters of "
        "30 km at a time"
    )
    bundled = model_for(size.time_step)
    say(f"Training {members} members on {train.sizes['site']} towers")
    model = _flux(train).train(
        members=members, seed=seed, epochs=size.epochs, hidden=size.hidden, progress=progress
    )
    predicted = _flux(test).predict(model)
    say("\n" + _table(test, _scored(test, predicted, model, bundled)) + "\n")

    paths = {"model": model.save(folder / "model.safetensors")}
    paths["towers"] = write_netcdf(predicted, folder / "towers.nc")
    world = datasets.load("simulated-grid", shape=size.shape, time_step=size.time_step)
    say(f"Predicting a simulated world of {size.shape[0]} x {size.shape[1]} cells, one year")
    for name, ensemble in (("trained", model), ("bundled", bundled)):
        fluxes = _flux(world).predict(ensemble)
        paths[f"world {name}"] = write_netcdf(fluxes, folder / f"world_{name}.nc")
        paths[f"map {name}"] = draw_world(fluxes, folder / f"world_{name}.png", _caption(name))
    paths["scatter"] = draw_towers(predicted, test, folder / "towers.png")
    say(f"Done in {time.monotonic() - begin:.0f} s. Written:")
    for what, path in paths.items():
        say(f"  {what:<14} {path}")
    fluxes_file = paths["world trained"].as_posix()
    say(f'Go on with:  xr.open_dataset("{fluxes_file}").GPP.mean("time").plot()')
    return paths


def draw_world(fluxes: xr.Dataset, path: Path, title: str) -> Path:
    """Draw annual means of GPP, Reco and NEE and the spread of GPP, and return the path."""
    import matplotlib.pyplot as plt

    present = [name for name in MAPS if name in fluxes]
    fig, axes = plt.subplots(2, 2, figsize=(13, 5.9), layout="constrained")
    for ax, name in zip(axes.flat, present, strict=False):
        plotting.flux_map(fluxes[name], ax=ax)
    for ax in axes.flat[len(present) :]:
        ax.set_visible(False)
    fig.suptitle(title, x=0.01, ha="left", fontsize="large")
    fig.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(fig)
    return path


def draw_towers(predicted: xr.Dataset, observed: xr.Dataset, path: Path) -> Path:
    """Draw observed against predicted fluxes of towers kept out, and return the path."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, 3, figsize=(12.5, 4.9), layout="constrained")
    kept = observed.where(observed.NEE_QC >= 0.5) if "NEE_QC" in observed else observed
    for ax, name in zip(axes, TARGETS, strict=True):
        plotting.scatter(predicted, kept, target=name, ax=ax)
    fig.suptitle("Towers that the model has never seen", x=0.01, ha="left", fontsize="large")
    fig.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(fig)
    return path


def _flux(ds: xr.Dataset) -> accessor.FluxAccessor:
    flux: accessor.FluxAccessor = ds.flux
    return flux


def _caption(name: str) -> str:
    learned = "trained just now" if name == "trained" else "bundled with xflux"
    return f"A simulated world, one year, predicted by the ensemble {learned}"


def _scored(
    test: xr.Dataset, predicted: xr.Dataset, model: FluxModel, bundled: FluxModel
) -> dict[str, xr.Dataset]:
    """Scores by the words of their row."""
    rows = {"trained just now": _flux(test).evaluate(predicted)}
    if "GPP_true" in test:
        truth: dict[Hashable, xr.DataArray] = {name: test[f"{name}_true"] for name in TARGETS}
        clean = test.drop_vars("NEE_QC").assign(truth)
        rows["  against the law without noise"] = _flux(clean).evaluate(predicted)
    known = set(map(str, bundled.card.get("towers", ())))
    seen = sum(str(site) in known for site in test["site"].values)
    name = f"bundled ({bundled.time_step})"
    if seen:
        name += f", has seen {seen} of them"
    rows[name] = _flux(test).evaluate(bundled)
    return rows


def _table(test: xr.Dataset, rows: Mapping[str, xr.Dataset]) -> str:
    """RMSE and R2 of each target over all steps of all towers kept out."""
    width = max(len(name) for name in rows) + 2
    lines = [
        f"Scores on {test.sizes['site']} towers kept out (RMSE in g m-2 d-1 of carbon)",
        " " * width + "".join(f"{name:^16}" for name in TARGETS),
        " " * width + "    RMSE      R2" * len(TARGETS),
    ]
    for name, scores in rows.items():
        pooled = [
            f"{float(scores[f'{score}_pooled'].sel(target=target)):8.2f}"
            for target in TARGETS
            for score in ("rmse", "r2")
        ]
        lines.append(f"{name:<{width}}" + "".join(pooled))
    return "\n".join(lines)
