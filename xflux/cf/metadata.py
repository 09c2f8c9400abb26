"""CF metadata of what xflux writes: set from this table, never inherited from a driver.

References
----------
CF conventions 1.11; CF standard name table v93, in which GPP has a name and ecosystem respiration
and net ecosystem exchange as a mass flux have none.
"""

from __future__ import annotations

import datetime
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xflux.cf.targets import CARBON, COMMENT, Target
from xflux.cf.variables import BY_NAME

CONVENTIONS = "CF-1.11"

TIME_UNITS = "days since 1970-01-01"
"""How times are counted in a file."""

STEP_WORDS = {"daily": "day", "monthly": "month", "weekly": "week"}
"""What one time step is called."""


def variable_attributes(name: str, step: str, time: str = "time") -> dict[str, str]:
    """Attributes of a driver or of a measured flux, by xflux's name.

    Parameters
    ----------
    name : str
        A name of the table in `xflux.cf.variables`.
    step : str
        ``"daily"``, ``"monthly"`` or ``"weekly"``: extremes of a day are means in a month.
    time : str
        Name of the time dimension.

    Examples
    --------
    >>> variable_attributes("TA_MIN", "monthly")["cell_methods"]
    'time: minimum time: mean (of the days of the month)'
    """
    row = BY_NAME[name]
    attributes = {"long_name": row.long_name, "units": row.units}
    if row.standard_name:
        attributes["standard_name"] = row.standard_name
    if row.units == "degC":
        attributes["units_metadata"] = "temperature: on_scale"
    attributes["cell_methods"] = row.cell_methods
    if row.cell_methods != "time: mean" and step == "monthly":
        attributes["cell_methods"] += " time: mean (of the days of the month)"
    attributes["cell_methods"] = attributes["cell_methods"].replace("time:", f"{time}:")
    if name in COMMENT:
        attributes["comment"] = COMMENT[name].replace("Reco - GPP, ", "")
    return attributes


def time_attributes(step: str, clock: str) -> dict[str, str]:
    """Attributes of times that stamp the first day of each step, in UTC or by another clock.

    Examples
    --------
    >>> time_attributes("daily", "UTC")["comment"]
    'the day that each value covers, in UTC'
    """
    word = STEP_WORDS[step]
    what = "the day that each value covers" if step == "daily" else f"the first day of each {word}"
    return {
        "standard_name": "time",
        "long_name": word,
        "axis": "T",
        "units_metadata": "leap_seconds: none",
        "comment": f"{what}, in {clock}",
    }


def flux_attributes(
    target: Target, *, grid: bool, beside: Sequence[str] = (), time: str = "time"
) -> dict[str, str]:
    """Attributes of a predicted flux.

    Parameters
    ----------
    target : Target
    grid : bool
        Cells rather than towers: the value is a mean over the land of the cell.
    beside : sequence of str
        Names of what tells how good it is, ``<name>_std`` for example.
    time : str
        Name of the time dimension, which ``cell_methods`` refers to.

    Examples
    --------
    >>> flux_attributes(CARBON[1], grid=False, beside=["Reco_std"])["ancillary_variables"]
    'Reco_std'
    """
    attributes = {"long_name": target.long_name, "units": target.units}
    if target.standard_name:
        attributes["standard_name"] = target.standard_name
    attributes["cell_methods"] = _methods(grid, time)
    if target.comment:
        attributes["comment"] = target.comment
    if beside:
        attributes["ancillary_variables"] = " ".join(beside)
    return attributes


def spread_attributes(target: Target, *, grid: bool, time: str = "time") -> dict[str, str]:
    """Attributes of the spread of the members around a flux."""
    return {
        "long_name": f"standard deviation of {target.long_name.split(',')[0]} over the members",
        "units": target.units,
        "cell_methods": _methods(grid, time),
        "comment": "spread of the members of the ensemble; not a full uncertainty",
    }


def output_attributes(
    names: Sequence[str], targets: Sequence[Target], *, grid: bool, time: str = "time"
) -> dict[str, dict[str, Any]]:
    """Attributes of everything in a prediction, by name.

    Parameters
    ----------
    names : sequence of str
        What is in it: targets, their ``_std`` and ``_quantile``, dissimilarity and applicable.
    targets : sequence of Target
    grid, time
        As in `flux_attributes`.

    Examples
    --------
    >>> output_attributes(["GPP", "GPP_quantile"], CARBON, grid=False)["GPP"]["ancillary_variables"]
    'GPP_quantile'
    """
    found: dict[str, dict[str, Any]] = {}
    for target in targets:
        own = [f"{target.name}_std", f"{target.name}_quantile", "dissimilarity", "applicable"]
        beside = [name for name in own if name in names]
        found[target.name] = dict(flux_attributes(target, grid=grid, beside=beside, time=time))
        found[own[0]] = dict(spread_attributes(target, grid=grid, time=time))
        found[own[1]] = {
            "long_name": f"quantiles of {target.long_name.split(',')[0]}",
            "units": target.units,
            "cell_methods": _methods(grid, time),
            "comment": "of what would be measured in one time step, from errors at towers held "
            "out; quantiles of a mean or sum over steps are not the mean or sum of these",
        }
    found["dissimilarity"] = {
        "long_name": "dissimilarity of the drivers to those of training",
        "units": "1",
        "comment": "distance to the nearest point of training over the mean distance of these",
        "references": "Meyer and Pebesma 2021, doi:10.1111/2041-210X.13650",
    }
    found["applicable"] = {
        "long_name": "whether a step is in the area of applicability of the model",
        "flag_values": np.array([-1, 0, 1], dtype=np.int8),
        "flag_meanings": "no_prediction unlike_training like_training",
        "references": "Meyer and Pebesma 2021, doi:10.1111/2041-210X.13650",
    }
    return {name: found[name] for name in names}


def quantile_coordinate() -> dict[str, str]:
    """Attributes of the coordinate of quantiles."""
    return {"long_name": "quantile", "units": "1"}


def _methods(grid: bool, time: str) -> str:
    return f"area: mean where land {time}: mean" if grid else f"{time}: mean"


def companions(ds: xr.Dataset, arrays: Iterable[xr.DataArray]) -> list[str]:
    """Variables that some arrays and their coordinates refer to: bounds and the grid mapping.

    Examples
    --------
    >>> lat = xr.Variable("lat", [0.5, 1.5], {"bounds": "lat_bnds"})
    >>> ds = xr.Dataset({"lat_bnds": (("lat", "bnds"), [[0, 1], [1, 2]])}, {"lat": lat})
    >>> companions(ds, [])
    ['lat_bnds']
    """
    keys = ("grid_mapping", "bounds", "climatology")
    held = [array.attrs | array.encoding for array in (*arrays, *ds.coords.values())]
    names = dict.fromkeys(str(found[key]) for found in held for key in keys if key in found)
    return [name for name in names if name in ds.variables]


def dataset_attributes(
    inherited: Mapping[Hashable, Any],
    *,
    source: str,
    model: str,
    version: str,
    converted: Sequence[str] = (),
    targets: Sequence[Target] = CARBON,
) -> dict[str, Any]:
    """Attributes of the whole prediction; of the input's only history and feature type stay.

    ``converted`` names the drivers whose units were converted, for the history.
    """
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    line = f"{now}: ds.flux.predict() of xflux {version}, model sha256 {model[:16]}"
    if converted:
        line += f"; converted {', '.join(converted)}"
    earlier = str(inherited.get("history", "")).strip()
    attributes: dict[str, Any] = {
        "Conventions": CONVENTIONS,
        "title": f"{_what(targets)}, predicted from drivers",
        "source": source,
        "history": f"{earlier}\n{line}" if earlier else line,
        "references": "Hochreiter and Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735",
        "xflux_version": version,
        "xflux_model_sha256": model,
    }
    if str(inherited.get("featureType", "")).lower() == "timeseries":
        attributes["featureType"] = "timeSeries"
    return attributes


def ready_to_write(ds: xr.Dataset) -> xr.Dataset:
    """Let a Dataset be written as CF wants it, whatever file its coordinates came from.

    Values and attributes stay as they are; only ``encoding`` changes. Coordinates forget how an
    earlier file packed them, a coordinate of a dimension and bounds get no ``_FillValue`` (CF 1.11,
    sections 2.5.1 and 7.1), and times are counted in days as float64, which every version of CF and
    every reader takes.

    Parameters
    ----------
    ds : xr.Dataset

    Returns
    -------
    xr.Dataset
        A shallow copy; the Dataset that was given keeps its encoding.

    Examples
    --------
    >>> ds = xr.Dataset(coords={"lat": [0.5, 1.5]})
    >>> ready_to_write(ds).lat.encoding
    {'_FillValue': None}
    """
    out = ds.copy()
    bounds = {str((c.encoding | c.attrs).get("bounds")) for c in out.coords.values()}
    for name in out.coords:
        variable = out.variables[name]
        held = variable.encoding.get("bounds")
        encoding: dict[str, Any] = {"bounds": held} if held in out.variables else {}
        is_time = _is_time(variable)
        if (name in out.dims or name in bounds) and (is_time or variable.dtype.kind in "fiu"):
            encoding["_FillValue"] = None
        if is_time:
            calendar = out[name].dt.calendar
            encoding |= {"units": TIME_UNITS, "calendar": calendar, "dtype": "float64"}
        variable.encoding = encoding
    return out


def _is_time(variable: xr.Variable) -> bool:
    if variable.dtype.kind == "M":
        return True
    if variable.dtype != object or variable.chunks is not None or not variable.size:
        return False
    return hasattr(np.ravel(variable.values)[0], "calendar")


def _what(targets: Sequence[Target]) -> str:
    if tuple(targets) == CARBON:
        return "Carbon fluxes between land and atmosphere"
    return ", ".join(target.long_name for target in targets)


def output_names(
    members: bool, spread: bool, targets: Sequence[Target] = CARBON
) -> tuple[str, ...]:
    """Names of the predicted variables, in their order."""
    names = tuple(target.name for target in targets)
    return names if members or not spread else (*names, *(f"{name}_std" for name in names))
