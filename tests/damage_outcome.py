"""What became of a damaged file: a clear error, a right result, or something that must not be."""

from __future__ import annotations

import csv
import io
import re
import warnings
from pathlib import Path

import numpy as np
import xarray as xr
from damaged_files import Case, Whole

import xflux
from xflux.errors import XfluxError

GOOD = ("same", "result", "error")
"""Outcomes that may be."""

_PROGRAMMING = re.compile(
    r"cannot be read \((\w*(?:Key|Type|Index|Attribute|Assertion|UnboundLocal|Name|Recursion|Memory"
    r"|Overflow|ZeroDivision|OutOfBounds|Lookup|NotImplemented|Value|Runtime)\w*(?:Error|Datetime))"
)


def outcome(case: Case, whole: dict[str, xr.Dataset | None], folder: Path) -> tuple[str, str]:
    """Read a damaged file and judge what comes of it.

    Returns
    -------
    str
        ``"same"`` as the whole file, another ``"result"``, ``"error"``, or what must not be:
        ``"unclear error"``, ``"wrong result"``, ``"lost"``, ``"exception NAME"``.
    str
        The words of the error, or what is wrong.
    """
    path = folder / case.name
    path.write_bytes(case.content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if case.kind == "model":
                return _model(path)
            ds = xflux.open_towers(path, progress=False, completeness=0.1)
    except XfluxError as error:
        text = str(error)
        if case.lossless and whole[case.kind] is not None:
            return "refused", text
        return ("unclear error" if _PROGRAMMING.search(text) else "error"), text
    except Exception as error:
        return f"exception {type(error).__name__}", str(error)[:500]
    if wrong := _unsound(ds):
        return "wrong result", wrong
    if case.lossless:
        wrong = _different(ds, whole[case.kind])
        return ("wrong result", wrong) if wrong else ("same", "")
    if "FLUXNET" in case.kind or case.kind.startswith("real FLX"):
        return _independent(case, ds)
    return "result", ""


def read_whole(found: Whole, folder: Path) -> xr.Dataset | None:
    """What the whole file reads as; None for a model."""
    if found.kind == "model":
        return None
    path = folder / found.name
    path.write_bytes(found.content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return xflux.open_towers(path, progress=False, completeness=0.1)


def _model(path: Path) -> tuple[str, str]:
    found = xflux.load_model(path)
    shown = f"{found!r}{found.source}"
    html = found._repr_html_()
    if not shown or "<b>" in html:
        return "wrong result", "hostile text in what is shown"
    return "result", ""


def _unsound(ds: xr.Dataset) -> str:
    """What a Dataset of towers can never be."""
    if "time" in ds.dims:
        if not ds.indexes["time"].is_monotonic_increasing or not ds.indexes["time"].is_unique:
            return "times are not in order"
        years = ds.indexes["time"].year
        if len(years) and (years.min() < 1900 or years.max() > 2200):
            return f"years from {years.min()} to {years.max()}"
        if ds.sizes["time"] > 200_000:
            return f"{ds.sizes['time']} times"
    if not ds.sizes.get("site") or len(set(ds.site.values.tolist())) != ds.sizes["site"]:
        return f"towers {ds.site.values.tolist()}"
    if not all(str(site).strip() and str(site) != "nan" for site in ds.site.values):
        return f"towers without a name: {ds.site.values.tolist()}"
    for name, edge in (("lat", 90.0), ("lon", 360.0)):
        if name in ds.coords and (np.abs(ds[name].values) > edge).any():
            return f"{name} {ds[name].values.tolist()}"
    for name in ds.data_vars:
        if ds[name].dtype.kind == "f" and np.isinf(ds[name].values).any():
            return f"{name} is infinite"
    return ""


def _different(ds: xr.Dataset, whole: xr.Dataset | None) -> str:
    assert whole is not None
    for name in (*whole.data_vars, *whole.coords):
        if name not in ds.variables:
            return f"{name} is gone"
        one, other = ds[name].values, whole[name].values
        if one.shape != other.shape or not np.array_equal(
            one, other, equal_nan=one.dtype.kind == "f"
        ):
            return f"{name} is another"
    return ""


def _independent(case: Case, ds: xr.Dataset) -> tuple[str, str]:
    """Compare temperature, row by row, with what stands in rows of the right length."""
    try:
        text = case.content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return "result", ""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    first = next((i for i, line in enumerate(lines) if "TIMESTAMP" in line), None)
    if first is None or "TA" not in ds:
        return "result", ""
    delimiter = max(",;\t", key=lines[first].count)
    names = [n.strip() for n in next(csv.reader(io.StringIO(lines[first]), delimiter=delimiter))]
    column = next((c for c in ("TA_F", "TA_F_MDS", "TA_ERA") if c in names), None)
    if column is None or names.count(column) > 1 or names.count("TIMESTAMP") != 1:
        return "result", ""
    there: dict[str, list[float]] = {}
    for line in lines[first + 1 :]:
        cells = line.split(delimiter)
        stamp = cells[names.index("TIMESTAMP")].strip('" ') if len(cells) == len(names) else ""
        if len(stamp) in (6, 8) and stamp.isdigit():
            cell = cells[names.index(column)].strip('" ').replace(",", ".")
            there.setdefault(stamp, []).append(_number(cell))
    kind = "%Y%m" if case.kind.endswith("months") or "_MM_" in case.name else "%Y%m%d"
    read = dict(zip(ds.indexes["time"].strftime(kind), ds.TA.values[0].tolist(), strict=True))
    filled = ds.driver_fill.values[0] & 1 if "driver_fill" in ds else np.zeros(len(read))
    for (stamp, value), from_reanalysis in zip(read.items(), filled, strict=True):
        if from_reanalysis:
            continue
        told = there.get(stamp, [])
        if np.isfinite(value) and not any(np.isclose(value, t, rtol=1e-5) for t in told):
            if len(told) or column != "TA_F":
                return "wrong result", f"{stamp}: {value}, the file says {told}"
            return "result", "a row of another length was read"
    lost = [
        s for s, t in there.items()
        if np.isfinite(t).all() and len(t) == 1 and not np.isfinite(read.get(s, np.nan))
    ]  # fmt: skip
    return ("lost", f"rows {lost[:5]} of {len(there)}") if lost else ("result", "")


def _number(cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        return np.nan
    return np.nan if -10000.0 <= value <= -9990.0 or abs(value) > 1e38 else value
