"""The Datasets that drivers come from: each understood, those with the same times as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from xflux.cf.alignment import differences
from xflux.cf.schema import Schema, resolve
from xflux.cf.variables import BY_NAME
from xflux.drivers.layout import tidy
from xflux.drivers.packing import STORED, packing_of
from xflux.errors import SchemaError

PLACES = ("lat", "lon", "igbp", "climate", "elevation")
"""Characteristics that go along with drivers, where they are there."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """What the caller said about names and units; see `xflux.cf.schema.resolve`."""

    variables: Mapping[str, str]
    units: Mapping[str, str]
    assume_units: bool
    tolerance: float | None


@dataclass(frozen=True, kw_only=True)
class Part:
    """One Dataset, or several with one time: laid out plainly, and understood.

    Attributes
    ----------
    ds : xr.Dataset
    schema : Schema
    notes : tuple of str
        What was done to its layout.
    since_midnight : bool
        Its forecast steps ran from 00 UTC through the day.
    """

    ds: xr.Dataset
    schema: Schema
    notes: tuple[str, ...] = ()
    since_midnight: bool = False

    @property
    def timed(self) -> tuple[str, ...]:
        """Drivers that change in time, and what VPD may follow from."""
        held = (*self.schema.names("driver"), *self.schema.names("precursor"))
        return tuple(n for n in held if self._dim in self.ds[self.schema.matches[n].variable].dims)

    @property
    def _dim(self) -> str:
        return self.schema.time_dim or ""

    @property
    def is_leaves(self) -> bool:
        """Whether it holds nothing but what is seen from space."""
        return bool(self.timed) and all(name in STORED for name in self.timed)

    @property
    def time(self) -> xr.DataArray:
        """Its times; there are some where there are drivers."""
        return self.ds[str(self.schema.time)]

    def problems(self, wanted: Sequence[str]) -> list[str]:
        """What stands in the way of some drivers."""
        found = [self.schema.problems[name] for name in self.schema.disputed(wanted)]
        if self.timed or "*time" not in self.schema.problems:
            found += [t for key, t in self.schema.problems.items() if key.startswith("*")]
        return found


def understand(datasets: Sequence[xr.Dataset], said: Said) -> list[Part]:
    """Lay out and understand Datasets; those with the times of an earlier one are joined to it.

    Raises
    ------
    SchemaError
        ``variables`` names what no Dataset has; coordinates of places differ.
    """
    parts: list[Part] = []
    problems = [
        f"variables={{{name!r}: {target!r}}} names a variable that is in none of the Datasets"
        for name, target in said.variables.items()
        if not any(target in ds.variables for ds in datasets)
    ]
    for ds in datasets:
        plain, notes, since_midnight = tidy(ds)
        part = Part(
            ds=plain,
            schema=_resolve(plain, said),
            notes=tuple(notes),
            since_midnight=since_midnight,
        )
        twin = next((i for i, other in enumerate(parts) if _same_times(other, part)), None)
        if twin is None:
            parts.append(part)
        else:
            parts[twin] = _joined(parts[twin], part, said, problems)
    if problems:
        raise SchemaError(problems, where="the Datasets for drivers")
    return parts


def _resolve(ds: xr.Dataset, said: Said) -> Schema:
    chosen = {name: target for name, target in said.variables.items() if target in ds.variables}
    units = {**_units_of_products(ds, chosen), **said.units}
    return resolve(ds, variables=chosen, units=units, assume_units=said.assume_units)


def _units_of_products(ds: xr.Dataset, chosen: Mapping[str, str]) -> dict[str, str]:
    """Units of numbers that are unpacked here: products call a share of 1 "Percent", or "EVI"."""
    found = {}
    for name in STORED:
        aliases = [a for group in BY_NAME[name].aliases.values() for a in group]
        for variable in (chosen.get(name), *aliases):
            if variable in ds.variables and packing_of(name, ds[variable].variable) is not None:
                found[str(variable)] = BY_NAME[name].units
    return found


def _same_times(one: Part, other: Part) -> bool:
    if one.schema.time is None or other.schema.time is None or not (one.timed and other.timed):
        return False
    ours, theirs = one.time.values, other.time.values
    return (
        ours.shape == theirs.shape
        and ours.dtype.kind == theirs.dtype.kind
        and bool(np.all(ours == theirs))
    )


def _joined(one: Part, other: Part, said: Said, problems: list[str]) -> Part:
    """Two parts with the same times as one; what both have is taken from the first."""
    dim, theirs = str(one.schema.time_dim), str(other.schema.time_dim)
    ds = other.ds.rename({theirs: dim}) if theirs != dim else other.ds
    ds = ds.assign_coords({dim: one.ds[dim]}) if dim in one.ds.coords else ds.drop_vars(dim)
    twice = [n for n in one.timed if n in other.timed]
    problems += [
        f"{name} is in two Datasets of the same times: leave one out, "
        f'beside = beside.drop_vars("{other.schema.matches[name].variable}")'
        for name in twice
    ]
    wrong = differences(one.ds, ds, tolerance=said.tolerance, what="Dataset beside them")
    problems += wrong
    if wrong or twice:
        return one
    same = ds.assign_coords({d: one.ds[d] for d in ds.dims if d in one.ds.coords})
    new = {n: v for n, v in same.data_vars.items() if n not in one.ds.variables}
    both = one.ds.assign(new)
    return replace(
        one,
        ds=both,
        schema=_resolve(both, said),
        notes=(*one.notes, *other.notes),
        since_midnight=one.since_midnight or other.since_midnight,
    )
