"""The budget of fluxes on a grid: totals of whole years over land, in petagrams of carbon."""

from __future__ import annotations

import datetime
from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xflux import __version__
from xflux.budgets.areas import fitted, land_area
from xflux.budgets.sums import sum_over_cells
from xflux.budgets.years import days_of_years
from xflux.cf.metadata import CONVENTIONS
from xflux.cf.schema import Schema
from xflux.cf.timestep import step_days
from xflux.cf.variables import BY_NAME, TARGETS
from xflux.errors import DataError, SchemaError

MEMBERS = "realization"
UNITS = "Pg year-1"
_GRAMS = 1e15  # in a petagram
_MANY = 1000


def budget(
    ds: xr.Dataset,
    schema: Schema,
    *,
    by: str | xr.DataArray | None = None,
    area: xr.DataArray | str | None = None,
    land_fraction: xr.DataArray | str | float | None = None,
    incomplete: str = "raise",
    members: bool = False,
) -> xr.Dataset:
    """Totals of GPP, Reco and NEE over a grid; `ds.flux.budget` is the door to this."""
    names = _fluxes(ds, schema, members)
    time = str(schema.time_dim)
    dims = tuple(str(dim) for dim in ds[next(iter(names.values()))].dims)
    cells = tuple(dim for dim in dims if dim not in (time, MEMBERS))
    land, origin = land_area(ds, schema, cells, area=area, land_fraction=land_fraction)
    days = days_of_years(ds[schema.time], str(schema.time_step), incomplete=incomplete)
    codes, labels = _groups(ds, cells, by)

    spreads = {} if MEMBERS in dims else {f"{k}_std_bound": f"{v}_std" for k, v in names.items()}
    spreads = {name: variable for name, variable in spreads.items() if variable in ds}
    arrays = [ds[variable] for variable in (*names.values(), *spreads.values())]
    is_lazy = any(array.chunks is not None for array in arrays)
    sums = sum_over_cells(
        arrays, land, codes, groups=1 if labels is None else len(labels), dims=cells
    )
    sums = sums.isel(group=0) if labels is None else sums.assign_coords(group=labels)
    totals = _totals(sums, names, spreads, schema, ds, days, members)
    if labels is not None:
        totals = totals.rename(group=str(codes.name))
    out = _described(totals, ds, origin)
    return out if is_lazy else out.compute()


def _fluxes(ds: xr.Dataset, schema: Schema, members: bool) -> dict[str, str]:
    """The fluxes that are there, by xflux's name; all that stands in the way is raised at once."""
    found = [name for name in TARGETS if name in (*schema.matches, *schema.problems)]
    if not found:
        raise SchemaError(
            ["no GPP, Reco or NEE to add up: fluxes = ds.flux.predict(), then fluxes.flux.budget()"]
        )
    schema.require(found, task="a budget")
    names = {name: schema.matches[name].variable for name in found}
    if schema.time_step not in ("daily", "monthly"):
        raise DataError(
            f"the time step is {schema.time_step}, expected daily or monthly: "
            f'ds = ds.resample({schema.time_dim}="1D").mean()'
        )
    if members and not any(MEMBERS in ds[variable].dims for variable in names.values()):
        raise DataError(
            f"there are no members along {MEMBERS!r}: fluxes = ds.flux.predict(members=True)"
        )
    return names


def _groups(
    ds: xr.Dataset, cells: tuple[str, ...], by: str | xr.DataArray | None
) -> tuple[xr.DataArray, Any]:
    """The number of each cell's group, -1 for none, and what the groups are called."""
    shape = tuple(ds.sizes[dim] for dim in cells)
    if by is None:
        return xr.DataArray(np.zeros(shape, np.int64), dims=cells), None
    if isinstance(by, str) and by not in ds.variables:
        raise DataError(
            f"by={by!r} is no variable of the Dataset; it has {', '.join(map(str, ds.coords))}. "
            "Give one of them, or a DataArray with one label a cell"
        )
    array = ds[by] if isinstance(by, str) else by
    held = fitted(array, ds, cells, "by")
    full = held.variable.set_dims({dim: ds.sizes[dim] for dim in cells}).transpose(*cells)
    flat = full.values.ravel()
    if flat.dtype == object:
        flat = np.array(["" if pd.isnull(label) else label for label in flat])
    number, labels = pd.factorize(flat, sort=True)
    if flat.dtype.kind in "UT" and "" in labels:  # a cell without a label is in no group
        empty = int(np.flatnonzero(labels == "")[0])
        number = np.where(number == empty, -1, number - (number > empty))
        labels = np.delete(labels, empty)
    if not 0 < labels.size <= _MANY:
        raise DataError(
            f"by has {labels.size} different labels, expected 1 to {_MANY}: a number is put into "
            "classes first, by=(ds.elevation // 500)"
        )
    name = array.name or "region"
    return xr.DataArray(number.reshape(shape), dims=cells, name=name), labels


def _totals(
    sums: xr.DataArray,
    names: dict[str, str],
    spreads: dict[str, str],
    schema: Schema,
    ds: xr.Dataset,
    days: xr.DataArray,
    members: bool,
) -> xr.Dataset:
    """Sums over the steps of each year, in Pg, with the spread over members."""
    time = str(schema.time_dim)
    steps = xr.DataArray(step_days(ds[schema.time], str(schema.time_step)), dims=time)
    bare = days.drop_vars("length")
    covered = sums.isel(part=-1)
    if MEMBERS in covered.dims:
        covered = covered.min(MEMBERS)
    area = xr.dot(covered, bare, dim=time) / days["length"]
    totals: dict[Hashable, xr.DataArray] = {}
    for part, name in enumerate((*names, *spreads)):
        rule = schema.matches[name.removesuffix("_std_bound")].conversion
        rate = sums.isel(part=part) * rule.factor / (steps if rule.per_step else 1.0)
        total = (xr.dot(rate, bare, dim=time) / _GRAMS).where(area > 0)
        if MEMBERS in total.dims and not members and total.sizes[MEMBERS] > 1:
            totals[f"{name}_std"] = total.std(MEMBERS, ddof=1, skipna=False)
        if MEMBERS in total.dims and not members:
            total = total.mean(MEMBERS, skipna=False)
        totals[name] = total
    ordered = [*names, *(name for name in totals if name not in names)]
    out = xr.Dataset({name: totals[name] for name in ordered})
    out["covered_area"] = area
    best = covered.max(time)
    out["coverage"] = area / best.where(best > 0)
    return out.transpose(..., "year").drop_vars("length")


def _described(totals: xr.Dataset, ds: xr.Dataset, origin: str) -> xr.Dataset:
    """The totals with CF metadata."""
    for name in totals.data_vars:
        totals[name].attrs = _attributes(str(name))
    totals["year"].attrs = {"long_name": "calendar year", "units": "1"}
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    earlier = str(ds.attrs.get("history", "")).strip()
    line = f"{now}: ds.flux.budget() of xflux {__version__}"
    on_sphere = "on a sphere" in origin
    kept = {key: ds.attrs[key] for key in ("source", "xflux_model_sha256") if key in ds.attrs}
    totals.attrs = {
        "Conventions": CONVENTIONS,
        "title": "Carbon budget of the land, totals of calendar years",
        **kept,
        "history": f"{earlier}\n{line}".strip(),
        "comment": origin,
        **({"references": "Moritz 2000, doi:10.1007/s001900050278"} if on_sphere else {}),
        "xflux_version": __version__,
    }
    return totals


def _attributes(name: str) -> dict[str, str]:
    if name == "covered_area":
        text = "area of land with a value, mean over the days of the year"
        return {"long_name": text, "units": "m2"}
    if name == "coverage":
        text = "covered area over the area that is covered at the best step"
        return {"long_name": text, "units": "1", "comment": "1 where no step is missing"}
    flux = name.removesuffix("_bound").removesuffix("_std")
    what = f"total {BY_NAME[flux].long_name.split(',')[0]} of the year"
    attributes = {
        "long_name": what,
        "units": UNITS,
        "cell_methods": "area: sum where land time: sum",
    }
    if name.endswith("_bound"):
        attributes["long_name"] = f"upper bound of the standard deviation of {what} over members"
        attributes["comment"] = (
            "as if all cells and days erred together; the spread itself needs the members, "
            "ds.flux.predict(members=True)"
        )
    elif name.endswith("_std"):
        attributes["long_name"] = f"standard deviation of {what} over the members"
        attributes["comment"] = "spread of the members of the ensemble; not a full uncertainty"
    else:
        attributes["comment"] = "mass of carbon"
    return attributes
