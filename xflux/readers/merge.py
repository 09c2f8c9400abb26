"""Bring the records of all files to one time step and join those of one tower."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from xflux.errors import DataError
from xflux.readers.halfhours import to_days, to_months
from xflux.readers.records import FILLED, FLUXES, ORDER, SUB_DAILY, Array, Record, Table

WAYS = {
    "daily": ("daily", SUB_DAILY),
    "monthly": ("monthly", "daily", SUB_DAILY),
    "weekly": ("weekly",),
}
"""From which time steps each can be made, the best first."""


@dataclass(frozen=True, kw_only=True)
class Tower:
    """One tower at the common time step.

    Attributes
    ----------
    data : Table
        xflux's names and units.
    fill : numpy.ndarray
        Bits of `FILLED` for each row: which drivers come from reanalysis.
    origin : dict of str to str
        For each variable the product and column it was taken from.
    """

    site: str
    data: Table
    fill: npt.NDArray[np.int8]
    origin: dict[str, str]
    info: dict[str, Any]
    files: tuple[str, ...]

    @property
    def has_values(self) -> bool:
        """Whether there is anything but gaps."""
        return any(bool(np.isfinite(values).any()) for values in self.data.columns.values())


def common_step(steps: dict[str, set[str]], wanted: str | None) -> str:
    """The time step of the Dataset: the one wanted, else the finest that every tower can give.

    Raises
    ------
    DataError
        There is none.

    Examples
    --------
    >>> common_step({"A": {"sub-daily"}, "B": {"daily", "monthly"}}, None)
    'daily'
    >>> common_step({"A": {"daily"}, "B": {"monthly"}}, None)
    'monthly'
    """
    if wanted is not None:
        return wanted
    for step in ("daily", "monthly", "weekly"):
        if all(held & set(WAYS[step]) for held in steps.values()):
            return step
    kinds = "; ".join(f"{site}: {', '.join(sorted(held))}" for site, held in steps.items())
    raise DataError(
        f"no time step that all towers can give ({kinds}); weekly files stand alone: leave them "
        'out, or give the DD files and type time_step="daily"'
    )


def best_steps(held: Iterable[str], step: str) -> str | None:
    """The time step of files to read for `step`, of those that are there; None where none will."""
    there = set(held)
    return next((way for way in WAYS[step] if way in there), None)


def at_step(record: Record, step: str, completeness: float) -> Record:
    """The same record at a coarser time step."""
    if record.step == SUB_DAILY:
        record = to_days(record, completeness)
    if record.step == "daily" and step == "monthly":
        record = to_months(record, completeness)
    return record


def join(site: str, records: Sequence[Record], refuse: Callable[[str], None]) -> Tower:
    """Join what several files hold of one tower, all at one time step.

    Records of one product are put one after another; two that hold different values of the same
    variable and time are refused. Between products the first of `ORDER` gives a variable whole;
    the fluxes and their quality come from one product. Reanalysis only fills gaps.
    """
    products: dict[str, Table] = {}
    notes: dict[str, dict[str, str]] = {}
    info: dict[str, Any] = {}
    used = []
    for record in sorted(records, key=lambda r: ORDER.index(r.product)):
        held = products.get(record.product)
        if held is not None and (clash := _clash(held, record.data)):
            refuse(
                f"{record.where}: {site} was read before, with other values of {clash}; give one "
                "file for each tower and period"
            )
            continue
        products[record.product] = record.data if held is None else _combine(held, record.data)
        notes.setdefault(record.product, {}).update(record.notes)
        info = {**record.info, **info}
        used.append(record.where)
    own = [product for product in products if product != "reanalysis"]
    index = _union([products[product].time for product in own or products])
    fluxes = next((p for p in own if {"NEE", "GPP"} & set(products[p].columns)), None)
    columns: dict[str, Array] = {}
    origin: dict[str, str] = {}
    for product in own:
        for name, values in products[product].on(index).columns.items():
            is_flux = name in FLUXES or name == "NEE_QC"
            if name in columns or name.endswith("_ERA") or (is_flux and product != fluxes):
                continue
            if name.endswith("_QC"):
                if not is_flux and origin.get(name[:-3], product) != product:
                    continue
            else:
                origin[name] = product
            columns[name] = values
    fill = _fill(columns, [table.on(index) for table in products.values()], len(index))
    told = {n: f"{p}: {notes[p][n]}" if n in notes[p] else p for n, p in origin.items()}
    data = Table(index, columns)
    return Tower(site=site, data=data, fill=fill, origin=told, info=info, files=tuple(used))


def _fill(columns: dict[str, Array], tables: list[Table], size: int) -> npt.NDArray[np.int8]:
    """Fill gaps of drivers from reanalysis, in place, and say where, bit by bit."""
    flags = np.zeros(size, dtype=np.int8)
    for bit, name in enumerate(FILLED):
        fillers = [t.columns[f"{name}_ERA"] for t in tables if f"{name}_ERA" in t.columns]
        own = columns.get(name)
        if not fillers or (own is not None and np.isfinite(own).all()):
            continue
        filler = fillers[0]
        for other in fillers[1:]:
            filler = np.where(np.isnan(filler), other, filler)
        own = np.full(size, np.nan) if own is None else own
        gaps = np.isnan(own) & np.isfinite(filler)
        if gaps.any():
            columns[name] = np.where(gaps, filler, own)
            flags |= (gaps << bit).astype(np.int8)
            quality = columns.get(f"{name}_QC", np.full(size, np.nan))
            columns[f"{name}_QC"] = np.where(gaps, 0.0, quality)
    return flags


def _union(indexes: Sequence[pd.DatetimeIndex]) -> pd.DatetimeIndex:
    first = indexes[0]
    for other in indexes[1:]:
        first = pd.DatetimeIndex(first.union(other)).as_unit("ns")
    return first


def _clash(held: Table, new: Table) -> str:
    """A variable for which two tables have different values at one time; empty where none."""
    both = pd.DatetimeIndex(held.time.intersection(new.time))
    if not len(both):
        return ""
    one, two = held.on(both).columns, new.on(both).columns
    for name in one.keys() & two.keys():
        there = np.isfinite(one[name]) & np.isfinite(two[name])
        if not np.allclose(one[name][there], two[name][there], rtol=1e-5, atol=1e-5):
            return name
    return ""


def _combine(held: Table, new: Table) -> Table:
    """Both tables, one after or beside the other; the first where both have a value."""
    time = _union([held.time, new.time])
    one, two = held.on(time).columns, new.on(time).columns
    columns = dict(two)
    for name, values in one.items():
        columns[name] = np.where(np.isnan(values), two[name], values) if name in two else values
    return Table(time, columns)
