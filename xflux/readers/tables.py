"""Plain tables: one row a time step, a column of time, and names that xflux knows.

Names are xflux's own (TA, SW_IN, VPD, P, LAI, EVI, GPP, Reco, NEE, NEE_QC) or those of FLUXNET. A
unit may follow in brackets, ``TA [K]``; without one the unit is xflux's. A column ``site`` makes
it many towers; lat, lon, elevation, igbp, climate and utc_offset describe them.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from xflux.cf.units import conversion
from xflux.cf.variables import BY_NAME, IGBP_CLASSES
from xflux.errors import DataError
from xflux.readers.cells import Header, check_named, numbers, read_header, read_table
from xflux.readers.halfhours import median_gap, per_day
from xflux.readers.recognise import Found
from xflux.readers.records import DRIVERS, FLUXES, QUALITY, Choices, Record, check_place, in_order
from xflux.readers.stamps import STEPS, check_order, digits, parse_stamps

_TIMES = ("time", "date", "datetime", "timestamp", "timestamp_start", "date_time", "day", "month")
_SITES = ("site", "site_id", "station", "tower")
_TEXTS = {"igbp": ("igbp", "pft", "land_cover"), "climate": ("climate",)}
_PLACES = {
    "lat": ("lat", "latitude"),
    "lon": ("lon", "longitude"),
    "elevation": ("elevation", "elev", "altitude"),
    "utc_offset": ("utc_offset",),
}
_UNIT = re.compile(r"(.*?)\s*[\[(]([^\])]*)[\])]\s*")
_AMBIGUOUS = ("GPP", "Reco", "NEE", "P")
_KNOWN = (*DRIVERS, *FLUXES, *QUALITY)


def read_plain(found: Found, choices: Choices) -> list[Record]:
    """Read a table with a column of time and names that xflux knows, one Record a tower.

    Raises
    ------
    DataError
        No column of time, no name that is known, no tower, or a unit that cannot be told.
    """
    header = found.header or read_header(found.source)
    columns, units = _columns(header, choices)
    lower = {_bare(name).lower(): name for name in reversed(header.names)}
    time_column = next((lower[name] for name in _TIMES if name in lower), None)
    if time_column is None or not columns:
        raise DataError(
            "no format that xflux reads: found the columns "
            f"{', '.join(header.names[:8])}{', ...' if len(header.names) > 8 else ''}; a plain "
            "table needs a column time and at least one of TA, SW_IN, VPD, P, GPP, Reco, NEE"
        )
    site_column = next((lower[name] for name in _SITES if name in lower), None)
    static = {
        key: lower[name]
        for key, names in {**_PLACES, **_TEXTS}.items()
        for name in names
        if name in lower
    }
    extra = [time_column, *static.values(), *([site_column] if site_column else [])]
    table = read_table(found.source, header, [*columns.values(), *extra])
    if site_column is None and not found.site:
        raise DataError("no column site, and no tower in the file's name; add a column site")
    if site_column:
        check_named(table, site_column)
    groups = (
        [(str(s).strip(), g) for s, g in table.groupby(site_column, sort=False)]
        if site_column
        else [(found.site, table)]
    )
    return [
        _record(found, site, rows, time_column, columns, units, static) for site, rows in groups
    ]


def _bare(name: str) -> str:
    match = _UNIT.fullmatch(name)
    return (match[1] if match else name).strip()


def _columns(header: Header, choices: Choices) -> tuple[dict[str, str], dict[str, str]]:
    """Column and unit of each variable, by xflux's names."""
    kind, ustar = choices.partitioning, choices.ustar
    fluxnet = {
        "GPP": (f"GPP_{kind}_{ustar}_REF", f"GPP_{kind}"),
        "Reco": (f"RECO_{kind}_{ustar}_REF", f"RECO_{kind}", "RECO"),
        "NEE": (f"NEE_{ustar}_REF",),
        "NEE_QC": (f"NEE_{ustar}_REF_QC",),
    }
    bare = {_bare(name): name for name in reversed(header.names)}
    columns = {}
    units = {}
    for name in _KNOWN:
        candidates = (name, *fluxnet.get(name, ()), f"{name}_F", f"{name}_F_MDS")
        column = next((bare[c] for c in candidates if c in bare), None)
        if column is not None:
            columns[name] = column
            match = _UNIT.fullmatch(column)
            if match:
                units[name] = match[2]
    return columns, units


def _record(
    found: Found,
    site: str,
    rows: pd.DataFrame,
    time_column: str,
    columns: dict[str, str],
    units: dict[str, str],
    static: dict[str, str],
) -> Record:
    time, step = _time(rows[time_column], time_column)
    check_order(time)
    raw = {}
    for name, column in columns.items():
        values = numbers(rows, column)
        if name in BY_NAME and (name in units or step == "sub-daily"):
            if name not in units and name in _AMBIGUOUS:
                raise DataError(
                    f"{column} is sub-daily and has no unit; say it in the header, "
                    f"as in '{column} [{'mm' if name == 'P' else 'umol m-2 s-1'}]'"
                )
            rule = conversion(units.get(name, BY_NAME[name].units), BY_NAME[name].quantity)
            values = values * rule.factor + rule.offset
            if rule.per_step:
                values = values / _days(time, step)
        raw[name] = values
    notes = {}
    if "NEE" in raw and "GPP" in raw and "Reco" not in raw:
        raw["Reco"] = raw["NEE"] + raw["GPP"]
        notes["Reco"] = "NEE + GPP"
    return Record(
        site=site,
        product="table",
        step=step,
        where=found.source.where,
        data=in_order(raw, time),
        info=_info(rows, static, site),
        notes=notes,
    )


def _time(column: pd.Series, name: str) -> tuple[pd.DatetimeIndex, str]:
    """Start and kind of each step."""
    if column.isna().any():
        raise DataError(f"{name} is missing in row {int(np.flatnonzero(column.isna())[0]) + 1}")
    if column.dtype.kind not in "iufM":
        column = column.map(lambda cell: cell.strip() if isinstance(cell, str) else cell)
    first = str(column.iloc[0])
    if digits(first) in STEPS:
        time = parse_stamps(column, name)
    else:
        try:
            time = pd.DatetimeIndex(pd.to_datetime(column, format="ISO8601"))
            if not time.year.isin(range(1900, 2201)).all():
                raise ValueError("years that no tower has measured in")
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{name} holds {first[:40]!r}; expected dates like 2005-01-31 or "
                "20050131, of the years 1900 to 2200"
            ) from error
        if time.tz is not None:
            raise DataError(
                f"{name} has a time zone; give local standard time without one, and the hours "
                "ahead of UTC in a column utc_offset"
            )
    time = time.as_unit("ns")
    if len(time) < 2:
        return time, "monthly" if digits(first) == 6 else "daily"
    days = median_gap(time) / 86400.0
    if days < 1.0:
        return time, "sub-daily"
    if days == 1.0:
        return time.normalize(), "daily"
    if 28 <= days <= 31:
        starts = time.to_numpy().astype("datetime64[M]").astype("datetime64[ns]")
        return pd.DatetimeIndex(starts), "monthly"
    if days == 7.0:
        return time, "weekly"
    raise DataError(f"steps of {days:g} days; expected half-hours, hours, days or months")


def _days(time: pd.DatetimeIndex, step: str) -> np.ndarray | float:
    if step == "monthly":
        return np.asarray(time.days_in_month, dtype=np.float64)
    return {"daily": 1.0, "weekly": 7.0}.get(step) or 1.0 / per_day(time)


def _info(rows: pd.DataFrame, static: dict[str, str], site: str) -> dict[str, Any]:
    info: dict[str, Any] = {}
    for key, column in static.items():
        held = rows[column].dropna().unique()
        if len(held) > 1:
            raise DataError(f"{column} changes along the record of {site}; expected one value")
        if not len(held):
            continue
        if key in _PLACES:
            value = float(numbers(rows[[column]].dropna(), column)[0])
            if np.isfinite(value):
                info[key] = check_place(key, value, f"{column} of {site}")
        elif key != "igbp" or str(held[0]).strip().upper() in IGBP_CLASSES:
            text = str(held[0]).strip()
            info[key] = text.upper() if key == "igbp" else text
    return info
