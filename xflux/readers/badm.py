"""BADM site information (BIF): land cover, place, elevation, climate and offset from UTC.

A long table with a row for each fact, SITE_ID, GROUP_ID, VARIABLE_GROUP, VARIABLE, DATAVALUE, as
CSV with commas or semicolons or as a spreadsheet; in the archives of ICOS the tower stands in the
file's name only (https://ameriflux.lbl.gov/data/badm/).
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from xflux.cf.variables import IGBP_CLASSES
from xflux.errors import DataError
from xflux.readers.cells import check_named, read_header, read_table
from xflux.readers.recognise import Found
from xflux.readers.records import check_place

_NUMBERS = {
    "LOCATION_LAT": "lat",
    "LOCATION_LONG": "lon",
    "LOCATION_ELEV": "elevation",
    "UTC_OFFSET": "utc_offset",
}
_TEXTS = {"IGBP": "igbp", "CLIMATE_KOEPPEN": "climate"}
_DATES = {
    "LOCATION_DATE_START",
    "IGBP_DATE_START",
    "UTC_OFFSET_DATE_START",
}
_CLIMATES = {"A": "Tropical", "B": "Arid", "C": "Temperate", "D": "Continental", "E": "Polar"}


def read_badm(found: Found) -> dict[str, dict[str, Any]]:
    """Read what is known of each tower of a BADM file.

    Where a fact was reported more than once the latest by its start date counts, else the first.

    Returns
    -------
    dict
        By tower: lat [degrees_north], lon [degrees_east], elevation [m], utc_offset [h], igbp,
        climate, those that are there.

    Raises
    ------
    DataError
        There is no tower, or a number is none.
    """
    header = found.header or read_header(found.source)
    columns = ["SITE_ID", "GROUP_ID", "VARIABLE", "DATAVALUE"]
    table = read_table(found.source, header, columns, prose=True).astype(object)
    if "SITE_ID" not in table:
        if not found.site:
            raise DataError(
                "no column SITE_ID, and no tower in the file's name: name it after the tower, "
                "as in AMF_US-Ha1_BIF.csv"
            )
        table["SITE_ID"] = found.site
    check_named(table, "SITE_ID")
    if "GROUP_ID" not in table:
        table["GROUP_ID"] = range(len(table))
    known = {*_NUMBERS, *_TEXTS, *_DATES}
    rows = table[table["VARIABLE"].astype(str).str.strip().isin(known)].dropna(subset=["DATAVALUE"])
    sites: dict[str, dict[str, Any]] = {str(site).strip(): {} for site in table["SITE_ID"].unique()}
    for site, facts in rows.groupby(rows["SITE_ID"].astype(str).str.strip()):
        sites[str(site)] = _facts(facts, str(site))
    return sites


def _facts(rows: pd.DataFrame, site: str) -> dict[str, Any]:
    groups = [
        {str(v).strip(): str(d).strip() for v, d in zip(g["VARIABLE"], g["DATAVALUE"], strict=True)}
        for _, g in rows.groupby("GROUP_ID", sort=False)
    ]
    facts: dict[str, Any] = {}
    dates: dict[str, str] = {}
    for group in groups:
        date = next((group[name] for name in _DATES if name in group), "")
        for variable, text in group.items():
            if variable in _DATES:
                continue
            name, value = _fact(variable, text, site)
            if value is not None and (name not in facts or date > dates.get(name, "")):
                facts[name], dates[name] = value, date
    return facts


def _fact(variable: str, text: str, site: str) -> tuple[str, float | str | None]:
    """Name and value of one fact; None where it says nothing that xflux knows."""
    if variable == "IGBP":
        return "igbp", text.upper() if text.upper() in IGBP_CLASSES else None
    if variable == "CLIMATE_KOEPPEN":
        return "climate", _CLIMATES.get(text[:1].upper())
    name = _NUMBERS[variable]
    try:
        value = float(text.replace(",", ".") if text.count(",") == 1 else text)
    except ValueError as error:
        raise DataError(f"{variable} of {site} is {text[:40]!r}; expected a number") from error
    return name, check_place(name, value, f"{variable} of {site}")
