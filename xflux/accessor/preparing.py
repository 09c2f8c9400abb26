"""Drivers from Datasets as they are downloaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import xarray as xr

from xflux.accessor.understanding import Understanding, trained

if TYPE_CHECKING:
    from xflux.model import FluxModel


class Preparing(Understanding):
    """The part of ``ds.flux`` that makes drivers of reanalyses and satellite products."""

    def drivers(
        self,
        model: FluxModel | None = None,
        *,
        to: str | None = None,
        beside: xr.Dataset | Iterable[xr.Dataset] = (),
        utc_offset: float | str | xr.DataArray = 0.0,
        accumulation: str | None = None,
        completeness: float = 0.9,
        leaves: str = "interpolate",
        tolerance: float | None = None,
        variables: Mapping[str, str] | None = None,
        units: Mapping[str, str] | None = None,
        assume_units: bool = False,
    ) -> xr.Dataset:
        """Make the drivers of a model from this Dataset as it was downloaded.

        Parameters
        ----------
        model : FluxModel, optional
            Make its drivers alone, at its time step, and check that all it needs is there.
        to : {"daily", "monthly"}, optional
            By default the model's time step; without a model months from months, else days.
        beside : xr.Dataset or several, optional
            Other Datasets of the same places: the other half of a download, leaves with steps of
            their own, characteristics. Nothing is joined silently.
        utc_offset : float, "longitude" or xr.DataArray
            Hours that the days of sub-daily data are ahead of UTC; ``"longitude"`` takes the full
            hour nearest to the sun's at each place. Days are in UTC by default.
        accumulation : {"step", "day"}, optional
            What sub-daily amounts of ECMWF are, where the Dataset does not tell: of the step before
            each stamp (ERA5), or since 00 UTC (ERA5-Land).
        completeness : float
            Share of the steps of a day, and of the days of a month, that a mean needs (0 to 1).
        leaves : {"interpolate", "hold"}
            How composites of several days or a month become days: between their middles, looking
            ahead by two composites at most, or each held on its own days.
        tolerance : float, optional
            Coordinates of ``beside`` that differ by no more are the same place.
        variables, units : mapping of str to str, optional
            As in `train`.
        assume_units : bool
            Take missing ``units`` for xflux's own.

        Returns
        -------
        xr.Dataset
            float32 drivers by xflux's names and in its units, with the places, their order and the
            calendar of this Dataset; lazy where it is. Each has the attribute ``source``; the
            characteristics go along as coordinates.

        Raises
        ------
        SchemaError
            With everything that stands in the way.
        DataError
            An option is not known, or values cannot be; on lazy data when they are computed.

        Notes
        -----
        All variables are means of rates and states, TA_MIN and TA_MAX the extremes of a day. VPD
        that follows from humidity is the mean of its sub-daily values; from daily or monthly means
        it comes out too low, and that is said. See `docs/drivers.md`.

        Examples
        --------
        >>> hours = xr.date_range("2001-07-01", periods=49, freq="1h")
        >>> t2m = ("time", 290.0 + 5 * np.sin(np.arange(49) * np.pi / 12), {"units": "K"})
        >>> ssrd = ("time", np.full(49, 7.2e5), {"units": "J m**-2"})
        >>> era5 = xr.Dataset({"t2m": t2m, "ssrd": ssrd}, {"time": hours, "latitude": 50.0})
        >>> daily = era5.flux.drivers(accumulation="step")
        >>> daily.TA_MAX.values.round(2), daily.SW_IN.values
        (array([21.85, 21.85], dtype=float32), array([200., 200.], dtype=float32))
        """
        from xflux import __version__
        from xflux.drivers.parts import Said
        from xflux.drivers.plan import Choices
        from xflux.drivers.prepare import prepare

        others = [beside] if isinstance(beside, xr.Dataset) else list(beside)
        return prepare(
            [self._ds, *others],
            Said(
                variables=variables or {},
                units=units or {},
                assume_units=assume_units,
                tolerance=tolerance,
            ),
            Choices(
                to=to,
                utc_offset=utc_offset,
                accumulation=accumulation,
                completeness=completeness,
                leaves=leaves,
            ),
            inputs=None if model is None else trained(model).inputs,
            version=__version__,
        )
