"""What a reader returns for one file, in xflux's names and units, and what was chosen for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from xflux.errors import DataError

Array = npt.NDArray[np.float64]

DRIVERS = ("TA", "TA_MIN", "TA_MAX", "SW_IN", "VPD", "P", "LAI", "EVI")
"""Drivers in the order of the Dataset."""

FILLED = ("TA", "SW_IN", "VPD", "P")
"""Drivers whose gaps reanalysis can fill; the bit of each in ``driver_fill`` follows this order."""

FLUXES = ("GPP", "Reco", "NEE")
"""Targets in the order of the Dataset."""

QUALITY = ("NEE_QC", *(f"{name}_QC" for name in FILLED))
"""Shares of measured or well-filled steps."""

SUB_DAILY = "sub-daily"

PLACES = {
    "lat": (-90.0, 90.0),
    "lon": (-180.0, 360.0),
    "elevation": (-500.0, 9000.0),
    "utc_offset": (-12.0, 14.0),
}
"""Numbers that describe a tower, and between which they lie."""

ORDER = ("FLUXNET", "FLUXNET SUBSET", "MetaFlux", "table", "PLUMBER2", "half-hours", "reanalysis")
"""Products, the first preferred where several hold the same tower."""


def check_place(key: str, value: float, called: str) -> float:
    """The number, if it can be one.

    Raises
    ------
    DataError
        It lies out of the range of `PLACES`.
    """
    low, high = PLACES[key]
    if not low <= value <= high:
        raise DataError(f"{called} is {value:g}; expected {low:g} to {high:g}")
    return value


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the caller chose; see `xflux.open_towers`."""

    partitioning: str
    ustar: str
    time_step: str | None
    completeness: float


class Table(NamedTuple):
    """Columns along time: lighter than a data frame where there are hundreds of towers.

    Attributes
    ----------
    time : pandas.DatetimeIndex
        The start of each step, ascending.
    columns : dict of str to numpy.ndarray
        Shape (time,) each, NaN where missing.
    """

    time: pd.DatetimeIndex
    columns: dict[str, Array]

    def on(self, time: pd.DatetimeIndex) -> Table:
        """The same at other times, missing where there was nothing."""
        if time is self.time:
            return self
        at = self.time.get_indexer(time)
        gone = at < 0
        return Table(time, {n: np.where(gone, np.nan, v[at]) for n, v in self.columns.items()})


def in_order(columns: Mapping[str, Array], time: pd.DatetimeIndex) -> Table:
    """Columns as a Table, sorted where the rows were not."""
    if time.is_monotonic_increasing:
        return Table(time, dict(columns))
    order = np.argsort(time.to_numpy(), kind="stable")
    return Table(time[order], {name: values[order] for name, values in columns.items()})


@dataclass(frozen=True, kw_only=True)
class Record:
    """One tower from one file.

    Attributes
    ----------
    site : str
    product : str
        One of `ORDER`.
    step : str
        ``"sub-daily"``, ``"daily"``, ``"weekly"`` or ``"monthly"``.
    where : str
        The file, for messages.
    data : Table
        Columns are xflux's names, in its units, fluxes and
        precipitation per day. Reanalysis stands as ``TA_ERA``, ``SW_IN_ERA``, ``VPD_ERA``,
        ``P_ERA``.
    info : dict
        lat, lon, elevation, igbp, climate, utc_offset, those that the file tells.
    notes : dict of str to str
        How a variable was come by, where that is to be told.
    """

    site: str
    product: str
    step: str
    where: str
    data: Table
    info: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
