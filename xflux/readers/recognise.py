"""Tell what a file is, by its content first and by its name second."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from xflux.errors import DataError
from xflux.readers.cells import Header, read_header
from xflux.readers.sources import Source
from xflux.readers.stamps import STEPS, digits

_SITE = re.compile(r"(?<![A-Za-z0-9])([A-Z]{2}-[A-Za-z0-9]{2,4})(?![A-Za-z0-9])")
_STEP = re.compile(r"_(HH|HR|DD|WW|MM|YY)(?=[_.]|$)")
_STEPS = {
    "HH": "sub-daily",
    "HR": "sub-daily",
    "DD": "daily",
    "WW": "weekly",
    "MM": "monthly",
    "YY": "yearly",
}
_SKIPPED = re.compile(r"_(AUXMETEO|AUXNEE|BIFVARINFO|BADMVARINFO)(?=[_.])", re.IGNORECASE)
_FLUXNET = re.compile(r"(TA|SW_IN|VPD|P)_F(_MDS)?|(GPP|RECO)_(NT|DT)_.UT_\w+|NEE_.UT_\w+")
_BASE = re.compile(
    r"(FC|NEE|TA|SW_IN|RH|VPD|P|PPFD_IN|USTAR|LE|H)(_PI)?(_F)?(_\d+_\d+_(\d+|A)|_\d+)?"
)
_ERA = re.compile(r"(TA|SW_IN|LW_IN|VPD|PA|P|WS)_ERA")
_METAFLUX = {"Site", "Lat", "Lon", "PFT", "Climate", "TA_ERA", "LAI", "EVI", "RECO"}


@dataclass(frozen=True)
class Found:
    """A file that a reader can take.

    Attributes
    ----------
    kind : str
        ``"fluxnet"``, ``"reanalysis"``, ``"half-hours"``, ``"site information"``, ``"plumber2"``,
        ``"metaflux"``, ``"table"`` or ``"other"`` (belongs to a product, holds nothing to read).
    site : str
        Empty where only the content tells.
    step : str
        ``"sub-daily"``, ``"daily"``, ``"weekly"``, ``"monthly"``, ``"yearly"``, or empty.
    numbers : mapping of str to numpy.ndarray, optional
        Its stamps and columns, where they were read together with those of other files.
    """

    source: Source
    kind: str
    site: str = ""
    step: str = ""
    product: str = ""
    header: Header | None = None
    numbers: Mapping[str, np.ndarray] | None = None


def recognise(source: Source) -> Found:
    """Look into a file and tell its format, tower and time step.

    Raises
    ------
    DataError
        The file is empty, or of no format that xflux reads.
    """
    name = source.name
    site = site_in(name)
    start = source.start()
    if start[:3] == b"CDF" or start[:8] == b"\x89HDF\r\n\x1a\n":
        return Found(source, "plumber2", site, "sub-daily", "PLUMBER2")
    if _SKIPPED.search(name):
        return Found(source, "other", site)
    header = read_header(source, start)
    columns = set(header.names)
    if {"VARIABLE", "DATAVALUE"} <= columns:
        return Found(source, "site information", site, header=header)
    if columns >= _METAFLUX:
        return Found(source, "metaflux", site, "monthly", "MetaFlux", header)
    if not site and "SITE_ID" in columns:
        return Found(source, "table", "", "", "table", header)  # many towers, one under the other
    step = _step(name, header)
    stamped = any(column.startswith("TIMESTAMP") for column in columns)
    if stamped and any(_FLUXNET.fullmatch(column) for column in columns):
        product = "FLUXNET SUBSET" if "_SUBSET_" in name else "FLUXNET"
        return Found(source, "fluxnet", _site(site, source, header), step, product, header)
    if stamped and any(_ERA.fullmatch(column) for column in columns):
        where = _site(site, source, header)
        return Found(source, "reanalysis", where, step, "reanalysis", header)
    is_base = "TIMESTAMP_START" in columns and step == "sub-daily"
    if is_base and any(_BASE.fullmatch(column) for column in columns):
        where = _site(site, source, header)
        return Found(source, "half-hours", where, "sub-daily", "half-hours", header)
    return Found(source, "table", site, "", "table", header)


def site_in(text: str) -> str:
    """The identifier of a tower in a file's name, empty where there is none.

    Examples
    --------
    >>> site_in("AMF_US-CRT_BASE_HH_2-5.csv"), site_in("towers.csv")
    ('US-CRT', '')
    """
    match = _SITE.search(text)
    return match[1] if match else ""


def _site(site: str, source: Source, header: Header) -> str:
    """The tower of a file: by its name, its comment lines, or the archive that holds it."""
    for text in (site, *header.comments, source.path.name):
        if found := site_in(text):
            return found
    for column in ("SITE_ID", "Site", "site"):
        if column in header.names and header.rows:
            return header.rows[0][header.names.index(column)]
    raise DataError(
        "no tower in its name; name it after the tower, as in FLX_DE-Hai_FLUXNET2015_FULLSET_DD.csv"
    )


def _step(name: str, header: Header) -> str:
    """Time step by the time stamps; where digits do not tell weeks from days, by the rest."""
    columns = header.names
    match = _STEP.search(name)
    said = _STEPS[match[1]] if match else ""
    for column in ("TIMESTAMP", "TIMESTAMP_START"):
        if column not in columns or not header.rows:
            continue
        at = columns.index(column)
        step = STEPS.get(digits(header.rows[0][at]) if at < len(header.rows[0]) else 0, "")
        if step == "daily" and column == "TIMESTAMP_START":
            return "weekly"
        if step == "daily" and said == "monthly":  # months by the number of their first day
            return said
        return step or said
    return said
