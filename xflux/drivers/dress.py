"""Drivers as one CF Dataset: time, places and characteristics as they were, metadata of its own."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xflux.cf.alignment import differences
from xflux.cf.entities import without_time
from xflux.cf.metadata import (
    CONVENTIONS,
    companions,
    ready_to_write,
    time_attributes,
    variable_attributes,
)
from xflux.cf.variables import BY_NAME, DRIVERS
from xflux.drivers.clock import Clock
from xflux.drivers.parts import Part
from xflux.drivers.series import Series
from xflux.drivers.times import days_like, parts
from xflux.errors import SchemaError, warn

_KEPT = ("institution", "source", "references", "license", "doi", "featureType")
_ALSO = {
    "latitude": {"units": "degrees_north"},
    "longitude": {"units": "degrees_east"},
    "time": {"units_metadata": "leap_seconds: none"},
}
_PROJECTION = ("projection_x_coordinate", "projection_y_coordinate")
_BESIDE = "Dataset beside them"


def dress(
    main: Part,
    made: Sequence[tuple[Part, Series]],
    still: Sequence[Part],
    *,
    clock: Clock,
    tolerance: float | None,
    version: str,
) -> xr.Dataset:
    """Put series and characteristics together on the time and the places of the main part.

    Parameters
    ----------
    main : Part
    made : sequence of (Part, Series)
        The main part first.
    still : sequence of Part
        Those without drivers, for their characteristics.
    clock : Clock
        By which days were counted, where they were.
    tolerance : float, optional
        Coordinates that differ by no more are the same place.
    version : str

    Raises
    ------
    SchemaError
        Places or times differ; a characteristic changes in time.
    """
    first = made[0][1]
    dim = str(main.schema.time_dim)
    out = _frame(main, first, clock)
    problems: list[str] = []
    for part, series in made:
        held = _on_axis(series, first, problems)
        found = xr.Dataset({n: v for n, v in held.items() if n not in out.data_vars})
        theirs = str(part.schema.time_dim)
        found = found.rename({theirs: dim}) if theirs in found.dims and theirs != dim else found
        if part is not main:
            places = {d: part.ds[d] for d in found.dims if d in part.ds.coords and d != dim}
            wrong = differences(out, found.assign_coords(places), tolerance=tolerance, what=_BESIDE)
            problems += wrong
            found = found if not wrong else xr.Dataset()
        out = out.assign(dict(found.data_vars))
    for part in (*(p for p, _ in made), *still):
        out = _with_characteristics(out, part, tolerance, problems)
    if problems:
        raise SchemaError(list(dict.fromkeys(problems)), where="the Datasets for drivers")
    out = _in_the_same_chunks(out, dim)
    origin = {name: text for _, series in reversed(made) for name, text in series.origin.items()}
    out = _described(out, main, [part for part, _ in made], first.step, origin)
    if clock.of_place is not None:
        attrs = {"long_name": "hours that local time is ahead of UTC", "units": "h"}
        ahead = clock.of_place.variable.astype("float32")
        out = out.assign_coords(utc_offset=xr.Variable(ahead.dims, ahead.data, attrs))
    said = [f"{name} from {text}" for name, text in origin.items()]
    said += [note for part in (*(p for p, _ in made), *still) for note in part.notes]
    out.attrs = _global_attributes(main, first, said, clock, version)
    return ready_to_write(_named(out, main))


def _frame(main: Part, first: Series, clock: Clock) -> xr.Dataset:
    """The places of a part as it has them, and the times of its series; no driver yet."""
    ds, dim, time = main.ds, str(main.schema.time_dim), str(main.schema.time)
    lead = ds[main.schema.matches[main.timed[0]].variable]
    kept = companions(ds, [lead])
    kept += [
        str(name)
        for name, array in ds.data_vars.items()
        if array.attrs.get("standard_name") in _PROJECTION and dim not in array.dims
    ]
    frame = ds.set_coords(kept)
    frame = frame.drop_vars(list(frame.data_vars))
    frame.attrs = {}
    if first.step == main.schema.time_step and first.time.size == main.time.size:
        return frame
    frame = frame.drop_vars([n for n, v in frame.variables.items() if dim in v.dims])
    local = clock.words if main.schema.time_step == "sub-daily" else "the clock of the input"
    attrs = time_attributes(first.step, local)
    return frame.assign_coords({time: xr.Variable(dim, first.time.values, attrs)})


def _in_the_same_chunks(out: xr.Dataset, time: str) -> xr.Dataset:
    """Coordinates along time that are lazy, such as bounds, in the chunks of the drivers."""
    lazy = [v for v in out.data_vars.values() if v.chunks is not None]
    if not lazy:
        return out
    cut = dict(zip(lazy[0].dims, lazy[0].chunks or (), strict=True))[time]
    along = {n: c for n, c in out.coords.items() if c.chunks is not None and time in c.dims}
    return out.assign_coords({n: c.variable.chunk({time: cut}) for n, c in along.items()})


def _named(out: xr.Dataset, main: Part) -> xr.Dataset:
    """Coordinates with the names of CF where the input left them open; values stay."""
    named = out.copy()
    known = {"time": str(main.schema.time), **_places(main)}
    for standard, variable in known.items():
        if variable in named.coords:
            attrs = {"standard_name": standard, **_ALSO[standard]}
            named[variable].attrs = {**attrs, **named[variable].attrs}
    for dim in named.dims:
        attrs = named[dim].attrs if dim in named.coords else {"long_name": ""}
        if not {"long_name", "standard_name"} & attrs.keys():
            named[dim].attrs = {**attrs, "long_name": f"position along {dim}"}
    return named


def _places(main: Part) -> dict[str, str]:
    """Latitude and longitude of a part, by their standard names."""
    names = {"latitude": "lat", "longitude": "lon"}
    matches = main.schema.matches
    return {full: matches[name].variable for full, name in names.items() if name in matches}


def _on_axis(series: Series, first: Series, problems: list[str]) -> dict[str, xr.Variable]:
    """The variables of a series at the times of the first; missing where it has none."""
    axis = days_like(series.time, first.time)
    if series.step == "monthly":
        axis = parts(axis, first.time)[0]
    if np.array_equal(axis, first.axis):
        return series.variables
    at = np.clip(np.searchsorted(axis, first.axis), 0, len(axis) - 1)
    there = axis[at] == first.axis
    if not there.any():
        problems.append(
            f"{', '.join(series.variables)} from {series.time.values[0]} to "
            f"{series.time.values[-1]} have no time in common with the other drivers, "
            f"{first.time.values[0]} to {first.time.values[-1]}: give Datasets of one period"
        )
    found = {}
    for name, variable in series.variables.items():
        dim = str(variable.dims[0])
        found[name] = variable.isel({dim: at}).where(xr.Variable(dim, there))
    return found


def _with_characteristics(
    out: xr.Dataset, part: Part, tolerance: float | None, problems: list[str]
) -> xr.Dataset:
    """What a part says of places, as coordinates; what is there already stays."""
    for name, problem in part.schema.problems.items():
        if name in BY_NAME and BY_NAME[name].role == "characteristic" and not _has(out, name):
            warn(f"{name} is left out, and no driver needs it: {problem}")
    for name in part.schema.names("characteristic"):
        variable = part.schema.matches[name].variable
        if variable in out.variables or _has(out, name):
            continue
        try:
            array = without_time(part.ds, part.schema, name)
        except SchemaError as error:
            problems += error.problems
            continue
        wrong = differences(out, array.to_dataset(), tolerance=tolerance, what=_BESIDE)
        problems += wrong
        if not wrong:
            known, taken = part.schema.matches[name].units, array.variable
            if known is not None and "units" not in taken.attrs:
                taken = taken.copy(deep=False)
                taken.attrs["units"] = known
            out = out.assign_coords({variable: taken})
    return out


def _has(ds: xr.Dataset, name: str) -> bool:
    """Whether a characteristic is there, by any of its names."""
    row = BY_NAME.get(name)
    aliases = [alias for group in row.aliases.values() for alias in group] if row else [name]
    return any(alias in ds.variables for alias in aliases)


def _described(
    out: xr.Dataset, main: Part, with_drivers: Sequence[Part], step: str, origin: Mapping[str, str]
) -> xr.Dataset:
    """Variables in the table's order and in the input's order of dims, with their attributes."""
    lead = main.ds[main.schema.matches[main.timed[0]].variable]
    known = [name for name in DRIVERS if name in out.data_vars]
    ordered = [*known, *(name for name in out.data_vars if name not in known)]
    dims = [dim for dim in lead.dims if dim in out.dims]
    arrays = {name: out[name].variable.transpose(*dims) for name in ordered}
    out = out.drop_vars(ordered).assign(arrays)
    mapping = lead.attrs.get("grid_mapping", lead.encoding.get("grid_mapping"))
    for name in out.data_vars:
        out[name].encoding = {}
        if name in BY_NAME:
            attrs: dict[str, Any] = {
                **variable_attributes(str(name), step, str(main.schema.time_dim))
            }
        else:
            matches = (part.schema.matches.get(str(name)) for part in with_drivers)
            attrs = _own_attributes(with_drivers, next(m.variable for m in matches if m))
        attrs["source"] = origin[str(name)]
        if mapping in out.coords:
            attrs["grid_mapping"] = mapping
        out[name].attrs = attrs
    return out


def _own_attributes(with_drivers: Sequence[Part], variable: str) -> dict[str, Any]:
    """What a driver that xflux does not know says of itself."""
    ds = next(part.ds for part in with_drivers if variable in part.ds.variables)
    names = ("long_name", "standard_name", "units")
    return {name: ds[variable].attrs[name] for name in names if name in ds[variable].attrs}


def _global_attributes(
    main: Part, first: Series, said: Sequence[str], clock: Clock, version: str
) -> dict[str, Any]:
    """Attributes of the whole; what the input says of its origin stays."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    inherited = main.ds.attrs
    days = f"days in {clock.words}; " if main.schema.time_step == "sub-daily" else ""
    line = f"{now}: ds.flux.drivers() of xflux {version}, {first.step}; {days}{'; '.join(said)}"
    earlier = str(inherited.get("history", "")).strip()
    return {
        "Conventions": CONVENTIONS,
        "title": f"Drivers of carbon fluxes, {first.step}",
        **{name: inherited[name] for name in _KEPT if name in inherited},
        "history": f"{earlier}\n{line}" if earlier else line,
        "xflux_version": version,
    }
