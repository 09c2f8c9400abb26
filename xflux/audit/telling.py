"""From what was found at a position to a finding with names, dates and a line to type.

A line that mends one tower must leave the others alone: what holds for a whole variable is turned
into one for the entity, unless every entity shows the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from xflux.audit.blocks import Found
from xflux.audit.findings import Finding
from xflux.audit.kinds import KINDS, Severity
from xflux.audit.timeline import Timeline
from xflux.cf import units
from xflux.cf.schema import Schema
from xflux.cf.variables import BY_NAME
from xflux.errors import UnitsError

CUT = KINDS["stuck"].advice
"""The advice that becomes a line which leaves out some steps of one entity."""

HARMLESS = ("fill value", "infinite values", "negative precipitation")
"""Kinds whose line for the whole variable changes nothing but what is wrong."""


OF_A_TIME = ("no closure",)
"""Kinds whose line holds for the period of the finding only."""


@dataclass(frozen=True, kw_only=True)
class Teller:
    """Knows the Dataset: names of entities and variables, and how to select them."""

    ds: xr.Dataset
    schema: Schema
    entities: int
    hours: float

    def label(self, position: int) -> str:
        """Name of an entity by its position in C order of the entity dimensions."""
        dims = self.schema.entity_dims
        if not dims:
            return self._scalar()
        where = np.unravel_index(position, tuple(self.ds.sizes[dim] for dim in dims))
        parts = [
            str(self.ds[dim].values[i]) if dim in self.ds.coords else str(i)
            for dim, i in zip(dims, where, strict=True)
        ]
        if len(dims) == 1:
            return parts[0]
        return ", ".join(f"{dim}={part}" for dim, part in zip(dims, parts, strict=True))

    def _scalar(self) -> str:
        """The name of a Dataset of one series, where a coordinate has it."""
        for name, coord in self.ds.coords.items():
            if coord.ndim == 0 and (name == "site" or "cf_role" in coord.attrs):
                return str(coord.values)
        return "the series"

    def called(self, names: Sequence[str]) -> str:
        """Names in the Dataset."""
        matches = self.schema.matches
        return ", ".join(matches[n].variable if n in matches else n for n in names)

    def finding(self, position: int, found: Found, line: Timeline) -> Finding:
        """What a check found, as a finding."""
        kind = KINDS[found.kind]
        start, end = line.stamp(found.first), line.stamp(found.last)
        severity: Severity = found.severity or kind.severity  # type: ignore[assignment]
        return Finding(
            severity=severity,
            kind=found.kind,
            entity=self.label(position),
            variable=self.called(found.names),
            quantity=", ".join(found.names),
            start=start,
            end=end,
            evidence=found.evidence,
            advice=found.line or self._advice(position, found, start, end),
        )

    def _advice(self, position: int, found: Found, start: str, end: str) -> str:
        """The line to type for this entity, or what to do in words."""
        of_a_time = found.kind in OF_A_TIME
        if found.whole and (found.kind in HARMLESS or (self.entities == 1 and not of_a_time)):
            return found.whole
        words = KINDS[found.kind].advice
        chosen = self._chosen(position)
        name = self.called(found.names[:1])
        if chosen is None:
            return words
        time = f"ds.{self.schema.time}"
        when = f'{time}.isin({time}.loc["{start}":"{end}"])'
        if found.whole:
            chosen = [*chosen, when] if of_a_time else chosen
            return self._for_one(found, name, chosen) or f"{words}, of this entity alone"
        if words != CUT:
            return words
        inside = " & ".join([*chosen, when])
        return f'ds["{name}"] = ds["{name}"].where(~({inside}))'

    def _for_one(self, found: Found, name: str, chosen: list[str]) -> str:
        """A line for the whole variable turned into one for an entity; empty where it cannot be."""
        before, _, after = found.whole.partition(" = ")
        if before == f'ds["{name}"]':
            return f"{before} = {before}.where({_others(chosen)}, {after})"
        if before != f'ds["{name}"].attrs["units"]':
            return ""
        mended = self._in_units(found.names[0], after.strip('"'))
        variable = f'ds["{name}"]'
        return f"{variable} = {variable}.where({_others(chosen)}, {mended})" if mended else ""

    def _in_units(self, name: str, unit: str) -> str:
        """Values that are in another unit, brought to the one that the variable has."""
        match, row = self.schema.matches[name], BY_NAME[name]
        try:
            meant = units.conversion(unit, row.quantity)
        except UnitsError:
            return ""
        factor, offset, per_step = match.conversion
        days = self.hours / 24
        scale = meant.factor / (days if meant.per_step else 1) * (days if per_step else 1) / factor
        shift = (meant.offset - offset) / factor
        text = f'ds["{match.variable}"]' + (f" * {scale:.6g}" if scale != 1 else "")
        return text + (f" {'+' if shift > 0 else '-'} {abs(shift):g}" if shift else "")

    def _chosen(self, position: int) -> list[str] | None:
        """Conditions that select an entity, or None where a dimension has no coordinate."""
        dims = self.schema.entity_dims
        if not all(dim in self.ds.coords for dim in dims):
            return None
        if not dims:
            return []
        index = np.unravel_index(position, tuple(self.ds.sizes[dim] for dim in dims))
        values = [self.ds[dim].values[i] for dim, i in zip(dims, index, strict=True)]
        return [
            f'(ds.{dim} == "{value}")' if isinstance(value, str) else f"(ds.{dim} == {value})"
            for dim, value in zip(dims, values, strict=True)
        ]


def _others(chosen: list[str]) -> str:
    """The condition that keeps all entities but the chosen one as they are."""
    if len(chosen) == 1 and " == " in chosen[0]:
        return chosen[0].strip("()").replace(" == ", " != ")
    return f"~({' & '.join(chosen)})"
