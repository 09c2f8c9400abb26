"""Colours and words of drawings: which flux has which colours, and what stands on its axes."""

from __future__ import annotations

import importlib.util
import re
from typing import NamedTuple

import xarray as xr

SEA = "#eef2f5"
"""Colour of what is not land."""


class Style(NamedTuple):
    """Colours of a flux: its colour map, the colour of its lines, whether zero is in the middle."""

    colours: str
    line: str
    diverging: bool = False


STYLES = {
    "GPP": Style("YlGn", "#1a7f37"),
    "Reco": Style("YlOrBr", "#a4550a"),
    "NEE": Style("BrBG_r", "#2b5c8a", diverging=True),
}
"""Green is uptake and brown is release on every map."""

SPREAD = Style("Purples", "#5e4b9c")
OTHER = Style("viridis", "#444444")


def require_matplotlib() -> None:
    """Say how to get matplotlib where it is missing.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise ImportError('drawing needs matplotlib: pip install "xflux[plots]"')


def style_of(name: str) -> Style:
    """Colours of a variable by its name; ``*_std`` is a spread.

    Examples
    --------
    >>> style_of("NEE").diverging, style_of("GPP_std").colours
    (True, 'Purples')
    """
    return SPREAD if name.endswith("_std") else STYLES.get(name, OTHER)


def label_of(flux: xr.DataArray) -> str:
    """Name and units of a variable for an axis, from its attributes."""
    name = str(flux.attrs.get("long_name", flux.name)).split(",")[0]
    if str(flux.name).endswith("_std"):
        name = "spread of members"
    return f"{name}\n{pretty_units(flux)}"


def pretty_units(flux: xr.DataArray) -> str:
    """Units in brackets with exponents set high; grams of the three fluxes are of carbon.

    Examples
    --------
    >>> pretty_units(xr.DataArray(1.0, attrs={"units": "W m-2"}))
    '[W m$^{-2}$]'
    """
    units = str(flux.attrs.get("units", "1"))
    carbon = str(flux.name).removesuffix("_std") in STYLES and units.startswith(("g ", "kg "))
    text = re.sub(r"(?<=[a-z])(-?\d+)\b", r"$^{\1}$", units)
    return f"[{text} of carbon]" if carbon else f"[{text}]"


IGBP = {
    "ENF": "#1b5e20",
    "EBF": "#2e9e44",
    "DNF": "#6d8b3c",
    "DBF": "#8bc34a",
    "MF": "#4d9078",
    "CSH": "#a1662f",
    "OSH": "#d7a86e",
    "WSA": "#b8860b",
    "SAV": "#e0b400",
    "GRA": "#f28e2b",
    "WET": "#3f7fbf",
    "CRO": "#d6417b",
    "SNO": "#9fb6c8",
    "BSV": "#8c8c8c",
}
"""Colours of land covers: forests green, shrubs brown, grass yellow to orange, wet blue."""

_CLASSES = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#777777")


def class_colours(names: list[str]) -> dict[str, str]:
    """A colour for every class: those of IGBP where all are, others one after another.

    Examples
    --------
    >>> class_colours(["ENF", "WET"])["WET"]
    '#3f7fbf'
    """
    if set(names) <= {*IGBP, "", "URB", "WAT", "CVM"}:
        return {name: IGBP.get(name, "#bbbbbb") for name in names}
    return {name: _CLASSES[k % len(_CLASSES)] for k, name in enumerate(names)}
