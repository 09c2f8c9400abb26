"""How one variable of the table is found in a Dataset, and how its unit is understood.

A variable is said by the user, or found by a name of the field, or by its CF standard name, in this
order. What is ambiguous, without units or of another dimension becomes a problem, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import xarray as xr

from xflux.cf import units, variables
from xflux.cf.units import Conversion
from xflux.cf.variable import Variable
from xflux.errors import UnitsError


@dataclass(frozen=True, kw_only=True)
class Match:
    """One physical variable found in a Dataset, and how to bring it to xflux's unit."""

    name: str
    variable: str
    role: str
    units: str | None
    conversion: Conversion
    found_by: str


def custom_rows(ds: xr.Dataset, chosen: Mapping[str, str], time_dim: str | None) -> list[Variable]:
    """Rows for names that only the user knows: taken as they are, in the user's own unit."""
    return [
        Variable(
            name=name,
            role="driver" if time_dim in ds[target].dims else "characteristic",
            quantity="dimensionless",
            long_name=str(ds[target].attrs.get("long_name", name)),
        )
        for name, target in chosen.items()
        if name not in variables.BY_NAME
    ]


def candidates(
    ds: xr.Dataset, row: Variable, chosen: Mapping[str, str], problems: dict[str, str]
) -> tuple[str, str] | None:
    """Find the one variable that a row of the table means: said, then by name, then by CF."""
    if row.name in chosen:
        return chosen[row.name], "said"
    by_dialect = {
        dialect: [name for name in names if name in ds.variables]
        for dialect, names in row.aliases.items()
    }
    by_dialect = {dialect: names for dialect, names in by_dialect.items() if names}
    if len({names[0] for names in by_dialect.values()}) == 1:
        return next(iter(by_dialect.values()))[0], "name"
    if not by_dialect:
        standard = [
            str(name)
            for name, array in ds.variables.items()
            if row.matches(array.attrs.get("standard_name"), array.attrs.get("cell_methods"))
            and not str(name).endswith(("_QC", "_qc", "_bnds"))
        ]
        if len(standard) == 1:
            return standard[0], "standard_name"
        several = standard
    else:
        several = list(dict.fromkeys(name for names in by_dialect.values() for name in names))
    if several:
        problems[row.name] = (
            f"{len(several)} variables could be {row.name} ({row.long_name}): "
            f'{", ".join(several)}; choose one, variables={{"{row.name}": "{several[0]}"}}'
        )
    return None


def units_text(
    array: xr.DataArray,
    row: Variable,
    name: str,
    said: Mapping[str, str],
    assume: bool,
    problems: dict[str, str],
    notes: dict[str, str],
) -> str | None:
    """The units of a variable: said, or written on it, or taken for granted; None where unknown."""
    found = said.get(row.name, said.get(name, array.attrs.get("units")))
    if found is not None:
        return str(found)
    if row.name not in variables.BY_NAME or array.dtype.kind not in "fiub":
        return None
    if row.quantity in units.UNITLESS:
        return row.units
    if assume:
        notes[row.name] = (
            f"{name!r} ({row.name}) has no units and is taken to be in {row.units}: to be sure, "
            f'ds["{name}"].attrs["units"] = "{row.units}"'
        )
        return row.units
    problems[row.name] = (
        f"{name!r} ({row.name}) has no units: "
        f'ds["{name}"].attrs["units"] = "{row.units}", '
        f'or units={{"{row.name}": "{row.units}"}}, or assume_units=True'
    )
    return None


def with_units(
    array: xr.DataArray,
    row: Variable,
    name: str,
    how: str,
    text: str | None,
    step: str | None,
    problems: dict[str, str],
    notes: dict[str, str],
) -> Match | None:
    """The match of a variable that was found, or None and a problem: dtype, units and sign."""
    same = Conversion(1.0)
    if row.role == "characteristic" and array.dtype.kind not in "fiu":
        return _match(row, name, None, same, how)
    if row.name not in variables.BY_NAME or row.name in variables.CATEGORIES:
        return _match(row, name, text, same, how)
    if row.role != "characteristic" and array.dtype.kind not in "fiub":
        problems[row.name] = (
            f"{name!r} ({row.name}) holds {array.dtype}, not numbers: "
            f'ds["{name}"] = ds["{name}"].astype("float32")'
        )
        return None
    if text is None:
        return None
    if (wrong := _wrong_direction(row, name, array.attrs)) is not None:
        problems[row.name] = wrong
        return None
    try:
        rule = units.on_step(units.conversion(text, row.quantity), text, step)
    except UnitsError as error:
        problems[row.name] = f"{name!r} ({row.name}): {error}; " + (
            f'if the attribute is wrong, units={{"{row.name}": "{row.units}"}}'
        )
        return None
    a_day = rule.per_step and step == "monthly" and not text.endswith("month-1")
    if a_day and name in variables.MONTHLY_MEANS_PER_DAY:
        rule = rule._replace(per_step=False)
        notes[row.name] = (
            f"{name!r} ({row.name}) in {text} is taken as a monthly mean of ERA5, an amount a "
            f'day; for monthly sums say so, ds["{name}"].attrs["units"] = '
            f'"{text.split(" of ")[0]} month-1"'
        )
    return _match(row, name, text, rule, how)


def _match(row: Variable, name: str, text: str | None, rule: Conversion, how: str) -> Match:
    return Match(
        name=row.name, variable=name, role=row.role, units=text, conversion=rule, found_by=how
    )


def _wrong_direction(row: Variable, name: str, attrs: Mapping[Any, Any]) -> str | None:
    """Check the CF ``positive`` attribute of a flux against xflux's sign."""
    expected = {"NEE": "up", "GPP": "down", "Reco": "up"}.get(row.name)
    positive = attrs.get("positive")
    if expected is None or positive is None or positive == expected:
        return None
    return (
        f"{name!r} ({row.name}) says positive={positive!r}, xflux expects {expected!r}: turn it, "
        f'ds["{name}"] = -ds["{name}"]; ds["{name}"].attrs["positive"] = "{expected}"'
    )
