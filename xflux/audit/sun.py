"""Where the sun stands: radiation above the air, and the hour of its noon.

Formulas of FAO-56 (Allen et al. 1998, FAO Irrigation and Drainage Paper 56): equations 21 to 33,
with the solar constant of Kopp and Lean (2011, doi:10.1029/2010GL045777).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.floating]

SOLAR_CONSTANT = 1361.0
"""Radiation above the air at the mean distance of the sun, W m-2."""

YEAR_DAYS = 365.25


def _angles(day: Numbers) -> tuple[Numbers, Numbers]:
    """Declination [rad] and relative distance factor of each day of the year."""
    turn = 2 * np.pi * day / YEAR_DAYS
    return 0.409 * np.sin(turn - 1.39), 1 + 0.033 * np.cos(turn)


def daily_top(latitude: Numbers, day: Numbers) -> Array:
    """Daily mean radiation above the air, W m-2, shape (N, T).

    Parameters
    ----------
    latitude : numpy.ndarray
        Degrees north, shape (N,); NaN gives NaN.
    day : numpy.ndarray
        Day of the year from 1, shape (T,).

    Examples
    --------
    >>> daily_top(np.array([0.0, 60.0]), np.array([172.0])).round()
    array([[385.],
           [476.]], dtype=float32)
    """
    tilt, near = _angles(day)
    phi = np.radians(latitude)[:, None]
    sunset = np.arccos(np.clip(-np.tan(phi) * np.tan(tilt), -1, 1))
    path = sunset * np.sin(phi) * np.sin(tilt) + np.cos(phi) * np.cos(tilt) * np.sin(sunset)
    return np.asarray(SOLAR_CONSTANT / np.pi * near * np.maximum(path, 0), dtype=np.float32)


def noon(longitude: Numbers, utc_offset: Numbers, day: Numbers) -> Array:
    """Clock hour of the sun's highest stand, shape (N, T), by the equation of time."""
    turn = 2 * np.pi * (day - 81) / 364
    equation = 0.1645 * np.sin(2 * turn) - 0.1255 * np.cos(turn) - 0.025 * np.sin(turn)
    offset = (longitude + 180) % 360 - 180 - 15 * utc_offset
    return np.asarray(12 - offset[:, None] / 15 - equation, dtype=np.float32)


def height(latitude: Numbers, day: Numbers, hour: Numbers, noon_hour: Numbers) -> Array:
    """Sine of the sun's height above the horizon, shape (N, T); negative at night.

    Parameters
    ----------
    latitude : numpy.ndarray
        Degrees north, shape (N,).
    day, hour : numpy.ndarray
        Day of the year from 1 and clock hour, shape (T,).
    noon_hour : numpy.ndarray
        What `noon` gives, shape (N, T).
    """
    tilt, _ = _angles(day)
    phi = np.radians(latitude)[:, None]
    angle = 2 * np.pi * (hour - noon_hour) / 24
    return np.asarray(
        np.sin(phi) * np.sin(tilt) + np.cos(phi) * np.cos(tilt) * np.cos(angle), dtype=np.float32
    )


def top(latitude: Numbers, day: Numbers, hour: Numbers, noon_hour: Numbers) -> Array:
    """Radiation above the air at each hour, W m-2, shape (N, T); parameters as of `height`."""
    _, near = _angles(day)
    sine = height(latitude, day, hour, noon_hour)
    return np.asarray(SOLAR_CONSTANT * near * np.maximum(sine, 0), dtype=np.float32)
