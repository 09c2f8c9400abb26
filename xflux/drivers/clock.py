"""By which clock days are counted: UTC, a number of hours ahead of it, or that of each place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from xflux.drivers.times import HOUR
from xflux.errors import DataError

_EARTH = (-12.0, 14.0)  # hours ahead of UTC that occur


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Hours ahead of UTC.

    Attributes
    ----------
    hours : float or None
        The same everywhere; None where places differ.
    of_place : xr.DataArray, optional
        Hours of each place.
    words : str
        What it is called.
    """

    hours: float | None
    of_place: xr.DataArray | None = None
    words: str = "UTC"

    @property
    def shifts(self) -> tuple[int, int]:
        """Microseconds of the earliest and of the latest clock that occur."""
        if self.hours is not None:
            return (round(self.hours * HOUR),) * 2
        assert self.of_place is not None
        if self.of_place.chunks is not None or not np.isfinite(self.of_place.values).any():
            return round(_EARTH[0] * HOUR), round(_EARTH[1] * HOUR)
        low, high = np.nanmin(self.of_place.values), np.nanmax(self.of_place.values)
        return round(float(low) * HOUR), round(float(high) * HOUR)

    def over(self, sizes: Mapping[str, int]) -> xr.Variable | None:
        """Hours over all entities; None where they are the same everywhere."""
        if self.of_place is None:
            return None
        missing = {dim: size for dim, size in sizes.items() if dim not in self.of_place.dims}
        own = dict(zip(map(str, self.of_place.dims), self.of_place.shape, strict=True))
        return self.of_place.variable.set_dims({**missing, **own}).transpose(*sizes)


def clock_of(offset: float | str | xr.DataArray, longitude: xr.DataArray | None) -> Clock:
    """The clock that a caller asked for.

    Parameters
    ----------
    offset : float, "longitude" or xr.DataArray
        Hours ahead of UTC; ``"longitude"`` takes the full hour that is nearest to the sun's.
    longitude : xr.DataArray, optional
        degrees_east, in either convention.

    Raises
    ------
    DataError
        It is none of these, or there is no longitude.

    Examples
    --------
    >>> lon = xr.DataArray([0.0, 100.0, 262.5], dims="lon")
    >>> clock_of("longitude", lon).of_place.values
    array([ 0.,  7., -6.])
    """
    if isinstance(offset, xr.DataArray):
        return Clock(hours=None, of_place=offset, words="the local time of utc_offset")
    if offset == "longitude":
        if longitude is None:
            raise DataError(
                'utc_offset="longitude" needs a longitude, and there is none: give hours, '
                "utc_offset=1"
            )
        east = (longitude.astype("float64") + 180.0) % 360.0 - 180.0
        return Clock(
            hours=None,
            of_place=(east / 15.0).round(),
            words="local time, the full hour nearest to longitude / 15",
        )
    if isinstance(offset, str) or not _EARTH[0] <= float(offset) <= _EARTH[1]:
        raise DataError(
            f"utc_offset={offset!r} is not known: give hours ahead of UTC from {_EARTH[0]:g} to "
            f'{_EARTH[1]:g}, "longitude", or a DataArray of hours'
        )
    hours = float(offset)
    words = "UTC" if hours == 0.0 else f"UTC{hours:+g} h"
    return Clock(hours=hours, words=words)
