"""PLUMBER2 and FluxDataKit netCDF: half-hourly Met and Flux files of one tower.

Written by FluxnetLSM (doi:10.5194/gmd-10-3379-2017; PLUMBER2 doi:10.5194/essd-14-449-2022). GPP
stands under the standard name of a mass flux with units of a mole flux: variables are found by
their own names, and their units are read.
"""

from __future__ import annotations

import datetime
import threading
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from xflux.cf.derived import vapour_pressure_deficit
from xflux.cf.units import conversion
from xflux.cf.variables import IGBP_CLASSES
from xflux.errors import DataError
from xflux.readers.cells import without_fills
from xflux.readers.halfhours import per_day
from xflux.readers.recognise import Found
from xflux.readers.records import Choices, Record, check_place, in_order
from xflux.readers.stamps import check_order

_WEATHER = {
    "TA": ("temperature", ("Tair",)),
    "SW_IN": ("irradiance", ("SWdown",)),
    "VPD": ("pressure", ("VPD",)),
    "P": ("water flux", ("Precip", "Rainf")),
    "LAI": ("leaf area", ("LAI",)),
    "RH": ("relative humidity", ("RH",)),
    "QA": ("specific humidity", ("Qair",)),
    "PA": ("pressure", ("Psurf", "PSurf")),
}
_FLUXES = {
    "NT": {"GPP": ("GPP",), "Reco": ("Resp",)},
    "DT": {"GPP": ("GPP_DT",), "Reco": ("Resp_DT",)},
}
_LOCK = threading.Lock()  # the netCDF library serves one thread at a time

Array = npt.NDArray[np.float64]


def read_plumber2(found: Found, choices: Choices) -> Record:
    """Read one Met or Flux file; Reco is NEE + GPP where the file has no respiration.

    Raises
    ------
    DataError
        The file is no PLUMBER2 netCDF, its units are unknown, or the choices are not in it.
    """
    with _LOCK:
        ds = _load(found)
    site = str(ds.attrs.get("site_code", "") or found.site).strip()
    if not site:
        raise DataError(
            "no tower: neither the attribute site_code nor the file's name has one; name it "
            "after the tower, as in AU-How_2003-2017_OzFlux_Met.nc"
        )
    if "time" not in ds.coords or ds["time"].dtype.kind != "M":
        raise DataError("no time coordinate that can be read: use the file as published")
    time = pd.DatetimeIndex(ds["time"].values).as_unit("ns")
    if time.hasnans:
        raise DataError("times are missing; the file is damaged: download it again")
    check_order(time)
    days = 1.0 / per_day(time)
    raw: dict[str, Array] = {}
    notes: dict[str, str] = {}
    for name, (quantity, candidates) in _WEATHER.items():
        _take(ds, raw, notes, name, quantity, candidates, days)
    _add_fluxes(ds, raw, notes, choices, days)
    _add_vpd(raw, notes)
    if not raw:
        raise DataError(
            "none of the variables of PLUMBER2 (Tair, SWdown, NEE, GPP, ...): use the file as "
            "published"
        )
    return Record(
        site=site,
        product="PLUMBER2",
        step="sub-daily",
        where=found.source.where,
        data=in_order(raw, time),
        info=_info(ds, time),
        notes=notes,
    )


def _load(found: Found) -> xr.Dataset:
    where = found.source.seekable()
    known = {n for _, names in _WEATHER.values() for n in names}
    known |= {n for group in _FLUXES.values() for names in group.values() for n in names}
    known |= {"NEE", "latitude", "longitude", "elevation", "IGBP_veg_short"}
    try:
        if isinstance(where, Path):
            opened = xr.open_dataset(where, engine="netcdf4")
        else:
            import netCDF4

            held = netCDF4.Dataset("member.nc", memory=where.getvalue())
            opened = xr.open_dataset(xr.backends.NetCDF4DataStore(held))
        with opened as ds:
            wanted = [n for n in ds.variables if n in known or str(n).removesuffix("_qc") in known]
            return ds[[n for n in wanted if n not in ds.coords]].load()
    except OSError:
        raise
    except Exception as error:  # attributes and times can be wrong in more ways than can be listed
        text = " ".join(str(error).split())[:200]
        raise DataError(
            f"the netCDF file is damaged, or its times or attributes are not those of PLUMBER2 "
            f"({type(error).__name__}: {text}); download it again"
        ) from error


def _take(
    ds: xr.Dataset,
    raw: dict[str, Array],
    notes: dict[str, str],
    name: str,
    quantity: str,
    candidates: tuple[str, ...],
    days: float,
) -> None:
    """Add a variable in xflux's unit, and the share of good steps where flags are there."""
    found = next((c for c in candidates if c in ds.data_vars), None)
    if found is None:
        return
    rule = conversion(str(ds[found].attrs.get("units", "")), quantity)
    values = _series(ds, found) * rule.factor + rule.offset
    raw[name] = values / days if rule.per_step else values
    notes[name] = found
    if name in ("TA", "SW_IN", "VPD", "P", "NEE") and f"{found}_qc" in ds.data_vars:
        flags = _series(ds, f"{found}_qc")
        good = np.where(np.isfinite(flags), ((flags == 0) | (flags == 1)).astype(float), np.nan)
        if np.isfinite(flags).any():
            raw[f"{name}_QC"] = good


def _series(ds: xr.Dataset, name: str) -> Array:
    array = ds[name]
    if "time" not in array.dims or array.size != ds.sizes["time"]:
        raise DataError(f"{name} has dims {dict(array.sizes)}; expected one tower along time")
    if array.dtype.kind not in "fiub":
        raise DataError(f"{name} holds values of type {array.dtype}; expected numbers")
    return without_fills(np.asarray(array.transpose("time", ...).values, dtype=np.float64).ravel())


def _add_fluxes(
    ds: xr.Dataset,
    raw: dict[str, Array],
    notes: dict[str, str],
    choices: Choices,
    days: float,
) -> None:
    _take(ds, raw, notes, "NEE", "carbon flux", ("NEE",), days)
    for name, candidates in _FLUXES[choices.partitioning].items():
        _take(ds, raw, notes, name, "carbon flux", candidates, days)
    for name in ("NEE", "GPP", "Reco"):
        if name in notes:
            origin = str(ds[notes[name]].attrs.get("Fluxnet_name", ""))
            other = "CUT" if choices.ustar == "VUT" else "VUT"
            if f"_{other}_" in origin:
                raise DataError(f'{notes[name]} is {origin}; type ustar="{other}"')
            notes[name] = f"{notes[name]} ({origin})" if origin else notes[name]
    other = "DT" if choices.partitioning == "NT" else "NT"
    if "GPP" not in raw and _FLUXES[other]["GPP"][0] in ds.data_vars:
        raise DataError(
            f"no {_FLUXES[choices.partitioning]['GPP'][0]}: only the other partitioning is there; "
            f'type partitioning="{other}"'
        )
    if "Reco" not in raw and "NEE" in raw and "GPP" in raw:
        raw["Reco"] = raw["NEE"] + raw["GPP"]
        notes["Reco"] = "NEE + GPP"


def _add_vpd(raw: dict[str, Array], notes: dict[str, str]) -> None:
    """VPD from the humidity of the same half-hour, where the file has no VPD."""
    values: dict[str, Any] = {name: raw.pop(name) for name in ("RH", "QA", "PA") if name in raw}
    for name in ("RH", "QA", "PA"):
        notes.pop(name, None)
    if (
        "VPD" in raw
        or "TA" not in raw
        or not ({"RH"} <= set(values) or {"QA", "PA"} <= set(values))
    ):
        return
    values["TA"] = raw["TA"]
    raw["VPD"] = np.asarray(vapour_pressure_deficit(values), dtype=np.float64)
    notes["VPD"] = f"from half-hourly Tair and {'RH' if 'RH' in values else 'Qair'}"


def _info(ds: xr.Dataset, time: pd.DatetimeIndex) -> dict[str, Any]:
    info: dict[str, Any] = {}
    for name, key in (("latitude", "lat"), ("longitude", "lon"), ("elevation", "elevation")):
        if name in ds.variables:
            value = float(np.ravel(ds[name].values)[0])
            if np.isfinite(value) and value > -9990.0:
                info[key] = check_place(key, value, name)
    if "IGBP_veg_short" in ds.variables:
        held = np.ravel(ds["IGBP_veg_short"].values)[0]
        text = (held.decode("ascii", "replace") if isinstance(held, bytes) else str(held)).strip()
        if text.upper() in IGBP_CLASSES:
            info["igbp"] = text.upper()
    zone = ds["time"].attrs.get("time_zone")
    if zone:
        offset = _standard_offset(str(zone), int(time[0].year))
        if offset is not None:
            info["utc_offset"] = offset
    return info


def _standard_offset(zone: str, year: int) -> float | None:
    """Hours that a zone's standard time is ahead of UTC; None where the zone is not known."""
    try:
        noon = datetime.datetime(year, 1, 1, 12, tzinfo=ZoneInfo(zone))
    except (KeyError, ValueError, OSError):
        return None
    offset, saving = noon.utcoffset(), noon.dst()
    if offset is None:
        return None
    return (offset - (saving or datetime.timedelta(0))).total_seconds() / 3600.0
