"""Drawings of a Dataset: ``ds.flux.plot`` and what it offers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xarray as xr

from xflux.accessor.understanding import Understanding

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Plots:
    """What can be drawn of a Dataset; each method calls one function of `xflux.plotting`.

    Parameters
    ----------
    ds : xr.Dataset
        Towers, drivers, a prediction, or the scores of `evaluate` and `cross_validate`.
    """

    def __init__(self, ds: xr.Dataset) -> None:
        self._ds = ds

    def __repr__(self) -> str:
        names = (name for name in vars(type(self)) if not name.startswith("_"))
        return f"<ds.flux.plot: {', '.join(f'.{name}()' for name in names)}>"

    def map(
        self,
        name: str = "GPP",
        *,
        ax: Axes | None = None,
        low: float | None = None,
        high: float | None = None,
        title: str | None = None,
    ) -> Axes:
        """Draw a map of a variable, as its mean over time; see `xflux.plotting.flux_map`.

        Examples
        --------
        >>> world = xflux.datasets.load("simulated-grid", shape=(12, 24), time_step="monthly")
        >>> world.flux.plot.map("GPP_true").get_title(loc="left")
        'GPP_true'
        """
        from xflux import plotting
        from xflux.plotting.parts import target_of

        flux = target_of(self._ds, name)
        return plotting.flux_map(flux, ax=ax, low=low, high=high, title=title)

    def spread(
        self,
        target: str = "GPP",
        *,
        ax: Axes | None = None,
        high: float | None = None,
        title: str | None = None,
    ) -> Axes:
        """Draw the spread of the members relative to the mean; `xflux.plotting.spread_map`."""
        from xflux import plotting

        return plotting.spread_map(self._ds, target=target, ax=ax, high=high, title=title)

    def towers(
        self,
        colour: str = "years",
        *,
        target: str = "GPP",
        land: xr.DataArray | None = None,
        ax: Axes | None = None,
        title: str | None = None,
    ) -> Axes:
        """Draw where towers are, coloured by a score, a class or years: `xflux.plotting.towers`.

        Examples
        --------
        >>> towers = xflux.datasets.load("simulated-towers", sites=4, years=1)
        >>> towers.flux.plot.towers("igbp").get_title(loc="left")
        'igbp'
        """
        from xflux import plotting

        return plotting.towers(
            self._ds, colour=colour, target=target, land=land, ax=ax, title=title
        )

    def scatter(self, observed: xr.Dataset, target: str = "GPP", *, ax: Axes | None = None) -> Axes:
        """Draw observed against predicted values; see `xflux.plotting.scatter`."""
        from xflux import plotting

        return plotting.scatter(self._ds, observed, target=target, ax=ax)

    def seasonal_cycle(
        self,
        target: str = "GPP",
        *,
        observed: xr.Dataset | None = None,
        ax: Axes | None = None,
        label: str | None = "predicted",
        colour: str | None = None,
    ) -> Axes:
        """Draw the mean of every calendar month with spread: `xflux.plotting.seasonal_cycle`."""
        from xflux import plotting

        return plotting.seasonal_cycle(
            self._ds, target=target, observed=observed, ax=ax, label=label, colour=colour
        )

    def series(
        self,
        target: str = "GPP",
        *,
        observed: xr.Dataset | None = None,
        ax: Axes | None = None,
        label: str | None = "predicted",
        colour: str | None = None,
    ) -> Axes:
        """Draw one entity over time with its spread or interval; see `xflux.plotting.series`."""
        from xflux import plotting

        return plotting.series(
            self._ds, target=target, observed=observed, ax=ax, label=label, colour=colour
        )

    def hovmoeller(
        self,
        name: str = "GPP",
        *,
        ax: Axes | None = None,
        low: float | None = None,
        high: float | None = None,
        title: str | None = None,
    ) -> Axes:
        """Draw the mean of every latitude over time; see `xflux.plotting.hovmoeller`."""
        from xflux import plotting
        from xflux.plotting.parts import target_of

        flux = target_of(self._ds, name)
        return plotting.hovmoeller(flux, ax=ax, low=low, high=high, title=title)

    def scores(
        self,
        score: str = "rmse",
        *,
        by: str = "igbp",
        targets: tuple[str, ...] = ("GPP", "Reco", "NEE"),
        ax: Axes | None = None,
    ) -> Axes:
        """Draw bars of a score by a class of entities; see `xflux.plotting.scores`.

        Examples
        --------
        >>> towers = xflux.datasets.load("simulated-towers", sites=4, years=1)
        >>> scores = towers.flux.evaluate(xflux.load_model("daily"))
        >>> scores.flux.plot.scores("r2", by="climate").get_ylabel()
        'R²'
        """
        from xflux import plotting

        return plotting.scores(self._ds, score=score, by=by, targets=targets, ax=ax)


class Drawing(Understanding):
    """The part of ``ds.flux`` that draws."""

    @property
    def plot(self) -> Plots:
        """Drawings with matplotlib: maps, towers, series, seasons, scores.

        Examples
        --------
        >>> xr.Dataset().flux.plot
        <ds.flux.plot: .map(), .spread(), .towers(), .scatter(), ..., .scores()>
        """
        return Plots(self._ds)
