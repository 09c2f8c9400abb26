"""Lay towers side by side: one CF Dataset (site, time), with everything that was decided said."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from xflux.cf.metadata import (
    CONVENTIONS,
    ready_to_write,
    time_attributes,
    variable_attributes,
)
from xflux.readers.merge import Tower
from xflux.readers.records import DRIVERS, FILLED, FLUXES, QUALITY, Array, Choices

_PARTITIONING = {
    "NT": "NT: GPP and Reco from night-time fluxes (doi:10.1111/j.1365-2486.2005.001002.x)",
    "DT": "DT: GPP and Reco from light-response curves (doi:10.1111/j.1365-2486.2009.02041.x)",
}
_USTAR = {
    "VUT": "VUT_REF: u* threshold of each year",
    "CUT": "CUT_REF: one u* threshold for all years",
}
_PLACES = {
    "lat": ("latitude", "degrees_north", "latitude"),
    "lon": ("longitude", "degrees_east", "longitude"),
    "elevation": ("surface_altitude", "m", "elevation above sea level"),
    "utc_offset": (None, "h", "hours that local standard time is ahead of UTC"),
}
_TEXTS = {"igbp": "land cover, IGBP class", "climate": "main climate group"}
_FREQUENCY = {"daily": "D", "monthly": "MS"}


def lay_out(
    towers: Sequence[Tower],
    facts: Mapping[str, Mapping[str, Any]],
    choices: Choices,
    step: str,
    version: str,
) -> xr.Dataset:
    """Make one Dataset of all towers.

    Parameters
    ----------
    towers : sequence of Tower
        At one time step; may be empty, then the Dataset has the characteristics alone.
    facts : mapping
        Characteristics of each tower, the names of coordinates.
    """
    sites = [tower.site for tower in towers] or sorted(facts)
    ds = xr.Dataset(coords={"site": ("site", np.array(sites))})
    ds["site"].attrs = {"long_name": "identifier of the tower", "cf_role": "timeseries_id"}
    if towers:
        ds = _with_data(ds, towers, choices, step)
    ds = _with_characteristics(ds, [facts.get(site, {}) for site in sites])
    ds.attrs = _attributes(towers, choices, step, version)
    return ready_to_write(ds)


def _with_data(ds: xr.Dataset, towers: Sequence[Tower], choices: Choices, step: str) -> xr.Dataset:
    time = _time(towers, step)
    ds = ds.assign_coords(time=("time", time.to_numpy()))
    ds["time"].attrs = time_attributes(step, "local standard time")
    rows = [_rows(time, tower.data.time) for tower in towers]
    there = {name for tower in towers for name in tower.data.columns}
    for name in (*DRIVERS, *FLUXES, *QUALITY):
        if name not in there:
            continue
        values = np.full((len(towers), len(time)), np.nan, dtype=np.float32)
        for i, tower in enumerate(towers):
            if name in tower.data.columns:
                values[i, rows[i]] = tower.data.columns[name]
        if name in FLUXES or any(np.isfinite(v).any() for v in _held(towers, name)):
            ds[name] = (("site", "time"), values, _variable_attributes(name, towers, choices, step))
    for name in (*DRIVERS, *FLUXES):
        if name in ds.data_vars and f"{name}_QC" in ds.data_vars:
            ds[name].attrs["ancillary_variables"] = f"{name}_QC"
    if any(tower.fill.any() for tower in towers):
        flags = np.zeros((len(towers), len(time)), dtype=np.int8)
        for i, tower in enumerate(towers):
            flags[i, rows[i]] = tower.fill
        attrs = {
            "long_name": "drivers that were filled from reanalysis",
            "standard_name": "status_flag",
            "flag_masks": np.array([1 << bit for bit in range(len(FILLED))], dtype=np.int8),
            "flag_meanings": " ".join(f"{name}_from_reanalysis" for name in FILLED),
        }
        ds["driver_fill"] = (("site", "time"), flags, attrs)
    return ds


def _held(towers: Sequence[Tower], name: str) -> Iterator[Array]:
    return (t.data.columns[name] for t in towers if name in t.data.columns)


def _rows(time: pd.DatetimeIndex, own: pd.DatetimeIndex) -> slice | npt.NDArray[np.intp]:
    """Where the times of one tower lie in all times; a slice where there is no gap."""
    stamps = own.to_numpy()
    first, last = np.searchsorted(time.to_numpy(), stamps[[0, -1]])
    if last - first == len(own) - 1:
        return slice(int(first), int(last) + 1)
    return np.asarray(time.get_indexer(own))


def _time(towers: Sequence[Tower], step: str) -> pd.DatetimeIndex:
    indexes = [tower.data.time for tower in towers]
    if step in _FREQUENCY:
        first, last = min(i[0] for i in indexes), max(i[-1] for i in indexes)
        return pd.date_range(first, last, freq=_FREQUENCY[step]).as_unit("ns")
    union = indexes[0]
    for index in indexes[1:]:
        union = union.union(index)
    return pd.DatetimeIndex(union).as_unit("ns")


def _variable_attributes(
    name: str, towers: Sequence[Tower], choices: Choices, step: str
) -> dict[str, Any]:
    if name in QUALITY:
        of = name.removesuffix("_QC")
        return {
            "long_name": f"share of measured or well filled half-hours in {of}",
            "units": "1",
            "cell_methods": "time: mean",
        }
    attrs: dict[str, Any] = {**variable_attributes(name, step)}
    if name in ("GPP", "Reco"):
        attrs["partitioning"] = choices.partitioning
    attrs["source"] = _origin(name, towers)
    return attrs


def _origin(name: str, towers: Sequence[Tower]) -> str:
    """Where a variable comes from, tower by tower where that differs."""
    groups: dict[str, list[str]] = {}
    for tower in towers:
        if name in tower.origin:
            groups.setdefault(tower.origin[name], []).append(tower.site)
    if len(groups) == 1:
        return next(iter(groups))
    return "; ".join(f"{origin} ({', '.join(sites)})" for origin, sites in groups.items())


def _with_characteristics(ds: xr.Dataset, facts: Sequence[Mapping[str, Any]]) -> xr.Dataset:
    for name, (standard, units, words) in _PLACES.items():
        if any(name in fact for fact in facts):
            dtype = np.float32 if name in ("elevation", "utc_offset") else np.float64
            values = np.array([fact.get(name, np.nan) for fact in facts], dtype=dtype)
            attrs = {"long_name": words, "units": units}
            if standard:
                attrs["standard_name"] = standard
            ds = ds.assign_coords({name: ("site", values, attrs)})
    for name, words in _TEXTS.items():
        if any(name in fact for fact in facts):
            texts = np.array([str(fact.get(name, "")) for fact in facts])
            ds = ds.assign_coords({name: ("site", texts, {"long_name": words})})
    return ds


def _attributes(
    towers: Sequence[Tower], choices: Choices, step: str, version: str
) -> dict[str, Any]:
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    files = sorted({file for tower in towers for file in tower.files})
    named = ", ".join(files[:20]) + (f" and {len(files) - 20} more" if len(files) > 20 else "")
    attrs: dict[str, Any] = {"Conventions": CONVENTIONS, "title": "Characteristics of flux towers"}
    if towers:
        products = sorted({text.partition(":")[0] for t in towers for text in t.origin.values()})
        attrs |= {
            "featureType": "timeSeries",
            "title": f"Carbon fluxes and weather of flux towers, {step}",
            "source": f"eddy covariance towers: {', '.join(products)}",
            "partitioning": _PARTITIONING[choices.partitioning],
            "ustar": _USTAR[choices.ustar],
            "completeness": choices.completeness,
            "reco": _reco(towers),
        }
    attrs |= {
        "license": "as of the files read; see the data policy of each network",
        "references": "doi:10.1038/s41597-020-0534-3",
        "history": f"{now}: xflux.open_towers() of xflux {version}"
        + (f" read {named}" if named else ""),
        "xflux_version": version,
    }
    return attrs


def _reco(towers: Sequence[Tower]) -> str:
    derived = [t.site for t in towers if t.origin.get("Reco", "").endswith("NEE + GPP")]
    published = [t.site for t in towers if "Reco" in t.origin and t.site not in derived]
    parts = []
    if published:
        parts.append("as published" + (f" ({', '.join(published)})" if derived else ""))
    if derived:
        parts.append(f"NEE + GPP ({', '.join(derived)})")
    return "; ".join(parts) or "none in the files"
