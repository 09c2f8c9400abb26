"""FLUXNET2015, the AmeriFlux FLUXNET product, ICOS ETC L2 and newer ONEFlux files.

All are written by ONEFlux and share their columns (Pastorello et al. 2020,
doi:10.1038/s41597-020-0534-3). Fluxes are umol m-2 s-1 in half-hourly and hourly files and
g m-2 d-1 of carbon in daily, weekly and monthly ones; precipitation is mm per half-hour or hour,
and mm d-1 in the others. Yearly files hold sums a year and nothing of the seasons.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from xflux.cf.units import conversion
from xflux.errors import DataError
from xflux.readers.cells import all_numbers, read_header, read_table
from xflux.readers.halfhours import per_day
from xflux.readers.recognise import Found
from xflux.readers.records import FILLED, SUB_DAILY, Choices, Record, in_order
from xflux.readers.stamps import check_order, parse_stamps

_WEATHER = {
    "TA": ("TA_F", "TA_F_MDS"),
    "SW_IN": ("SW_IN_F", "SW_IN_F_MDS"),
    "VPD": ("VPD_F", "VPD_F_MDS"),
    "P": ("P_F", "P_F_MDS", "P"),
}
_REANALYSIS = {f"{name}_ERA": (f"{name}_ERA",) for name in FILLED}
_OFFER = re.compile(r"NEE_([VC]UT)_REF")

YEARLY = (
    "a yearly file: it has no seasons to learn from, and its fluxes are sums a year; "
    "give the DD or the MM file of the same tower"
)


def read_fluxnet(found: Found, choices: Choices) -> Record:
    """Read one file with the columns of ONEFlux, or its reanalysis companion (ERAI, ERA5).

    Parameters
    ----------
    found : Found
    choices : Choices
        Which partitioning and which u* reference.

    Raises
    ------
    DataError
        Yearly files; the partitioning or u* reference chosen is not there; times are wrong.
    """
    if found.step == "yearly":
        raise DataError(YEARLY)
    header = found.header or read_header(found.source)
    columns, stamp = columns_of(header.names, choices), stamps_of(header.names)
    if found.numbers is not None:
        time = parse_stamps(found.numbers[stamp], stamp)
        raw = {name: found.numbers[column] for name, column in columns.items()}
    else:
        table = read_table(found.source, header, [stamp, *columns.values()])
        time = parse_stamps(table[stamp], stamp)
        raw = all_numbers(table, columns)
    check_order(time)
    if found.step == SUB_DAILY:
        raw = sub_daily_units(raw, per_day(time))
    notes = {name: column for name, column in columns.items() if not name.endswith("_ERA")}
    if "NEE" in raw and "GPP" in raw and "Reco" not in raw:
        raw["Reco"] = raw["NEE"] + raw["GPP"]
        notes["Reco"] = "NEE + GPP"
    data = in_order(raw, time)
    return Record(
        site=found.site,
        product=found.product,
        step=found.step,
        where=found.source.where,
        data=data,
        notes=notes,
    )


def sub_daily_units(
    raw: dict[str, npt.NDArray[np.float64]], steps: int
) -> dict[str, npt.NDArray[np.float64]]:
    """Bring half-hourly values to rates a day: carbon fluxes, precipitation, flags to 0 or 1."""
    carbon = conversion("umol m-2 s-1", "carbon flux").factor
    out = {}
    for name, values in raw.items():
        if name in ("GPP", "Reco", "NEE"):
            values = values * carbon
        elif name in ("P", "P_ERA"):
            values = values * steps
        elif name.endswith("_QC"):
            values = np.where(np.isfinite(values), (values <= 1.0).astype(np.float64), np.nan)
        out[name] = values
    return out


@functools.lru_cache(maxsize=64)  # towers of one product have the same columns
def columns_of(names: tuple[str, ...], choices: Choices) -> Mapping[str, str]:
    """Which column becomes which variable; the choices must be there where others are.

    Raises
    ------
    DataError
        They are not, or no column is of use.
    """
    columns = _columns(set(names), names, choices)
    if not columns:
        raise DataError(
            "none of the columns that xflux reads (TA_F, SW_IN_F, NEE_VUT_REF, ...): use the "
            "file as published"
        )
    return columns


def stamps_of(names: tuple[str, ...]) -> str:
    """The column that stamps each step with its beginning.

    Raises
    ------
    DataError
        There is none.
    """
    stamps = [name for name in ("TIMESTAMP", "TIMESTAMP_START") if name in names]
    if not stamps:
        raise DataError("no column TIMESTAMP or TIMESTAMP_START: use the file as published")
    return stamps[-1]


def _columns(there: set[str], names: tuple[str, ...], choices: Choices) -> dict[str, str]:
    columns = {}
    for name, candidates in {**_WEATHER, **_REANALYSIS}.items():
        column = next((c for c in candidates if c in there), None)
        if column is not None:
            columns[name] = column
            if f"{column}_QC" in there and name in FILLED:
                columns[f"{name}_QC"] = f"{column}_QC"
    kind, ustar = choices.partitioning, choices.ustar
    nee = f"NEE_{ustar}_REF"
    offered = sorted({m[1] for name in names if (m := _OFFER.fullmatch(name))})
    if nee not in there:
        if offered:
            raise DataError(
                f'no column {nee}: the file has {" and ".join(offered)}; type ustar="{offered[0]}"'
            )
        return columns
    columns["NEE"] = nee
    if f"{nee}_QC" in there:
        columns["NEE_QC"] = f"{nee}_QC"
    gpp, reco = f"GPP_{kind}_{ustar}_REF", f"RECO_{kind}_{ustar}_REF"
    if gpp in there:
        columns["GPP"] = gpp
        if reco in there:
            columns["Reco"] = reco
        return columns
    other = "DT" if kind == "NT" else "NT"
    if f"GPP_{other}_{ustar}_REF" in there:
        raise DataError(
            f'no column {gpp}: only the other partitioning is there; type partitioning="{other}"'
        )
    return columns
