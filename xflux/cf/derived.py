"""Drivers that follow from other drivers, from the place and from the date."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Floats = npt.NDArray[np.floating]


class Derived(NamedTuple):
    """A driver computed from others: ``function(drivers, latitude, year_fraction)``."""

    needs: tuple[str, ...]
    function: Callable[[Mapping[str, Array], Array, Array], Array]


def _season(phase: float) -> Callable[[Mapping[str, Array], Array, Array], Array]:
    def wave(_: Mapping[str, Array], latitude: Array, fraction: Array) -> Array:
        south = np.where(latitude < 0, 0.5, 0.0)[:, None]
        return np.sin(2 * np.pi * (fraction[None, :] + south + phase)).astype(np.float32)

    return wave


def _absorbed(drivers: Mapping[str, Array], _: Array, __: Array) -> Array:
    return np.asarray(drivers["SW_IN"] * (1.0 - np.exp(-0.5 * drivers["LAI"])), dtype=np.float32)


def _warm_absorbed(drivers: Mapping[str, Array], _: Array, __: Array) -> Array:
    ramp = 1.0 / (1.0 + np.exp(-(drivers["TA"] - 5.0) / 3.0))
    return np.asarray(_absorbed(drivers, _, __) * ramp, dtype=np.float32)


def _respiration_response(drivers: Mapping[str, Array], _: Array, __: Array) -> Array:
    return np.asarray(np.exp(0.07 * np.minimum(drivers["TA"], 60.0)), dtype=np.float32)


DERIVED: dict[str, Derived] = {
    "season_sin": Derived((), _season(0.0)),
    "season_cos": Derived((), _season(0.25)),
    "absorbed_light": Derived(("SW_IN", "LAI"), _absorbed),
    "warm_absorbed_light": Derived(("SW_IN", "LAI", "TA"), _warm_absorbed),
    "respiration_response": Derived(("TA",), _respiration_response),
}
"""Derived drivers: the season (shifted by half a year in the south), light absorbed by leaves after
Beer's law with an extinction of 0.5 (Monteith 1972, doi:10.2307/2401901), the same weighted by a
temperature ramp, and an exponential temperature response with Q10 = 2 (van 't Hoff)."""


def saturation_pressure(temperature: Floats) -> Floats:
    """Saturation vapour pressure over water, hPa, from temperature in degC.

    Magnus form with the coefficients of Alduchov and Eskridge (1996,
    doi:10.1175/1520-0450(1996)035<0601:IMFAOS>2.0.CO;2).

    Examples
    --------
    >>> float(saturation_pressure(np.float32(20.0)).round(2))
    23.33
    """
    return np.asarray(6.1094 * np.exp(17.625 * temperature / (temperature + 243.04)))


def vapour_pressure_deficit(values: Mapping[str, Floats]) -> Array:
    """Vapour pressure deficit, hPa, from TA with one of TD, RH, EA, or QA and PA.

    Exact for instantaneous values; from means of a day or a month it is too low, because
    saturation pressure is convex in temperature.
    """
    saturated = saturation_pressure(values["TA"])
    if "TD" in values:
        actual = saturation_pressure(values["TD"])
    elif "RH" in values:
        actual = saturated * np.clip(values["RH"], 0.0, 100.0) / 100.0
    elif "EA" in values:
        actual = values["EA"]
    else:
        actual = values["QA"] * values["PA"] / (0.622 + 0.378 * values["QA"])
    return np.asarray(np.maximum(saturated - actual, 0.0), dtype=np.float32)
