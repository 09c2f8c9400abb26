"""AmeriFlux BASE and other half-hourly files without partitioning: drivers and NEE alone.

Columns carry qualifiers: ``_PI`` and ``_F`` for what the investigators provided and filled, and a
position ``_H_V_R`` (horizontal, vertical, replicate; ``_A`` a mean of replicates, one number a
layer mean). Documentation: https://ameriflux.lbl.gov/data/aboutdata/data-variables/
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import pandas as pd

from xflux.cf.derived import vapour_pressure_deficit
from xflux.errors import DataError
from xflux.readers.cells import Header, numbers, read_header, read_table
from xflux.readers.fluxnet import sub_daily_units
from xflux.readers.halfhours import per_day
from xflux.readers.recognise import Found
from xflux.readers.records import Record, in_order
from xflux.readers.stamps import check_order, parse_stamps

_POSITION = r"(?:_(\d+)_(\d+)_(\d+|A)|_(\d+))?"
_KINDS = ("_PI_F", "_F", "", "_PI")
_FLUX_KINDS = ("NEE_PI_F", "NEE_F", "NEE_PI", "NEE", "FC_PI_F", "FC_F", "FC")
_MEASURED = ("NEE_PI", "NEE", "FC")
_ENOUGH = 0.9

Array = npt.NDArray[np.float64]


def read_half_hours(found: Found) -> Record:
    """Read one half-hourly or hourly file of measured drivers and NEE.

    Where several sensors measure one driver, the first by kind (filled by the investigators, then
    as measured) and position is taken, unless another holds clearly more values. VPD that is
    missing altogether comes from half-hourly TA and RH. NEE is the column filled by the
    investigators, else the measured one, else the flux without storage (FC).

    Raises
    ------
    DataError
        Times are wrong, or no column is of use.
    """
    header = found.header or read_header(found.source)
    names = {name: _candidates(header, name) for name in ("TA", "SW_IN", "VPD", "RH", "P")}
    fluxes = {base: _at_positions(header, base) for base in _FLUX_KINDS}
    wanted = [c for group in (*names.values(), *fluxes.values()) for c in group]
    if not wanted:
        raise DataError(
            "none of the columns that xflux reads (TA, SW_IN, VPD, RH, P, NEE, FC): use the file "
            "as published"
        )
    table = read_table(found.source, header, ["TIMESTAMP_START", *wanted])
    time = parse_stamps(table["TIMESTAMP_START"], "TIMESTAMP_START")
    check_order(time)
    raw: dict[str, Array] = {}
    notes: dict[str, str] = {}
    for name, columns in names.items():
        if chosen := _choose(table, columns):
            raw[name], notes[name] = numbers(table, chosen), chosen
    _add_vpd(raw, notes)
    for base in _FLUX_KINDS:
        if (chosen := _choose(table, fluxes[base])) and np.isfinite(numbers(table, chosen)).any():
            raw["NEE"], notes["NEE"] = numbers(table, chosen), chosen
            break
    if "NEE" in raw:
        measured = [numbers(table, c) for base in _MEASURED for c in fluxes[base]]
        share = np.isfinite(np.stack(measured)).any(axis=0) if measured else None
        if share is not None:
            raw["NEE_QC"] = np.where(share, 0.0, 3.0)
    data = in_order(sub_daily_units(raw, per_day(time)), time)
    return Record(
        site=found.site,
        product=found.product,
        step=found.step,
        where=found.source.where,
        data=data,
        notes=notes,
    )


def _candidates(header: Header, name: str) -> list[str]:
    """Columns of one driver, best first: by kind, then by position from 1_1_1 on."""
    return [c for kind in _KINDS for c in _at_positions(header, name + kind)]


def _at_positions(header: Header, base: str) -> list[str]:
    pattern = re.compile(re.escape(base) + _POSITION)
    found = []
    for name in header.names:
        if match := pattern.fullmatch(name):
            place = tuple(int(g) if g and g != "A" else 0 for g in match.groups())
            found.append((place, name))
    return [name for _, name in sorted(found)]


def _choose(table: pd.DataFrame, columns: list[str]) -> str | None:
    """The first column, unless another holds clearly more values."""
    counts = [int(np.isfinite(numbers(table, column)).sum()) for column in columns]
    if not counts or max(counts) == 0:
        return None
    return next(c for c, n in zip(columns, counts, strict=True) if n >= _ENOUGH * max(counts))


def _add_vpd(raw: dict[str, Array], notes: dict[str, str]) -> None:
    """VPD from temperature and humidity of the same half-hour, where there is no VPD."""
    humidity = raw.pop("RH", None)
    note = notes.pop("RH", "RH")
    if "VPD" in raw or humidity is None or "TA" not in raw:
        return
    good = (humidity >= 0.0) & (humidity <= 110.0)
    values = {"TA": raw["TA"], "RH": np.where(good, humidity, np.nan)}
    raw["VPD"] = np.asarray(vapour_pressure_deficit(values), dtype=np.float64)
    notes["VPD"] = f"from half-hourly {notes['TA']} and {note}"
