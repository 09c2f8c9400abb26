"""CF metadata of what xflux writes: set from this table, never inherited from a driver.

References
----------
CF conventions 1.11; CF standard name table v93, in which GPP has a name and ecosystem respiration
and net ecosystem exchange as a mass flux have none.
"""

from __future__ import annotations

import datetime
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xflux.cf.targets import CARBON, Target

CONVENTIONS = "CF-1.11"

TIME_UNITS = "days since 1970-01-01"
"""How times are counted in a file."""


def flux_attributes(target: Target, *, grid: bool, spread: bool) -> dict[str, str]:
    """Attributes of a predicted flux.

    Parameters
    ----------
    target : Target
    grid : bool
        Cells rather than towers: the value is a mean over the land of the cell.
    spread : bool
        Whether ``<name>_std`` stands beside it.

    Examples
    --------
    >>> flux_attributes(CARBON[1], grid=False, spread=True)["ancillary_variables"]
    'Reco_std'
    """
    attributes = {"long_name": target.long_name, "units": target.units}
    if target.standard_name:
        attributes["standard_name"] = target.standard_name
    attributes["cell_methods"] = _methods(grid)
    if target.comment:
        attributes["comment"] = target.comment
    if spread:
        attributes["ancillary_variables"] = f"{target.name}_std"
    return attributes


def spread_attributes(target: Target, *, grid: bool) -> dict[str, str]:
    """Attributes of the spread of the members around a flux."""
    return {
        "long_name": f"standard deviation of {target.long_name.split(',')[0]} over the members",
        "units": target.units,
        "cell_methods": _methods(grid),
        "comment": "spread of the members of the ensemble; not a full uncertainty",
    }


def _methods(grid: bool) -> str:
    return "area: mean where land time: mean" if grid else "time: mean"


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
    earlier file packed them, a coordinate of a dimension gets no ``_FillValue`` (CF 1.11, section
    2.5.1), and times are counted in days as float64, which every version of CF and every reader
    takes.

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
    for name in out.coords:
        variable = out.variables[name]
        encoding: dict[str, Any] = {}
        if name in out.dims and variable.dtype.kind in "fiuM":
            encoding["_FillValue"] = None
        if _is_time(variable):
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
