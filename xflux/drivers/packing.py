"""Leaf area and vegetation indices as satellite products store them: scaled numbers and fills.

MODIS and VIIRS write whole numbers: leaf area in tenths and fAPAR in hundredths from 0 to 100, with
fills from 249 to 255 that say why there is none (MCD15 user's guide, Myneni et al. 2015); EVI and
NDVI in ten-thousandths from -2000 to 10000, with the fill -3000 (MOD13 user's guide, Didan and
Munoz 2019). Readers undo a part of this at most: the scale where the file says it, one fill.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

STORED: dict[str, tuple[float, float, float]] = {
    "LAI": (0.1, 0.0, 100.0),
    "FAPAR": (0.01, 0.0, 100.0),
    "EVI": (1e-4, -2000.0, 10000.0),
    "NDVI": (1e-4, -2000.0, 10000.0),
}
"""Scale, and the lowest and highest whole number that is a value and no fill."""


@dataclass(frozen=True)
class Packing:
    """``value = stored * factor`` where stored is from ``low`` to ``high``, else missing."""

    factor: float
    low: float
    high: float

    def unpack(self, stored: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Values, NaN for fills.

        Examples
        --------
        >>> Packing(0.1, 0.0, 100.0).unpack(np.array([35.0, 249.0]))
        array([3.5, nan])
        """
        slack = 1e-6 * (self.high - self.low)
        value = (stored >= self.low - slack) & (stored <= self.high + slack)
        return np.where(value, stored * self.factor, np.nan)


def packing_of(name: str, variable: xr.Variable) -> Packing | None:
    """How a variable is stored, or None where it holds plain values.

    Whole numbers are in the product's scale, or in the one that ``scale_factor`` tells; values that
    a reader has scaled still hold fills. A scale above 1, as MOD13 has it, is one to divide by.

    Parameters
    ----------
    name : str
        xflux's name.
    variable : xr.Variable
        As opened.

    Examples
    --------
    >>> packing_of("LAI", xr.Variable("time", np.array([35, 255], "u1")))
    Packing(factor=0.1, low=0.0, high=100.0)
    >>> packing_of("LAI", xr.Variable("time", [3.5]))
    """
    if name not in STORED:
        return None
    usual, low, high = STORED[name]
    low, high = _valid_range(variable, low, high)
    said = _scale(variable.attrs)
    done = _scale(variable.encoding)
    if said is not None or variable.dtype.kind in "iu":
        factor = usual if said is None else said
        return Packing(factor if factor <= 1 else 1 / factor, low, high)
    if done is None:
        return None
    true = done if done <= 1 else 1 / done
    return Packing(true / done, low * done, high * done)


def _scale(held: Mapping[Any, Any]) -> float | None:
    """A scale that is written down and is not 1."""
    try:
        scale = float(np.ravel(held["scale_factor"])[0])
    except (KeyError, TypeError, ValueError, IndexError):
        return None
    return scale if scale not in (0.0, 1.0) else None


def _valid_range(variable: xr.Variable, low: float, high: float) -> tuple[float, float]:
    """The usual range of stored numbers, from as low as the file says it goes."""
    said = variable.attrs.get("valid_range", (variable.attrs.get("valid_min"), None))
    if isinstance(said, str):
        said = said.replace(",", " ").split()
    try:
        least = float(np.ravel(said)[0])
    except (TypeError, ValueError, IndexError):
        return low, high
    return (least if -high <= least <= 0 else low), high
