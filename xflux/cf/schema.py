"""What is what in a Dataset: drivers, characteristics, targets, units, layout and time step.

`resolve` looks at names and metadata only, never at the values, so it computes nothing on lazy
data. It collects every problem; `Schema.require` raises those that stand in the way of a task, in
one error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import xarray as xr

from xflux.cf import timestep, variables
from xflux.cf.matching import Match as Match
from xflux.cf.matching import candidates, custom_rows, units_text, with_units
from xflux.cf.variable import Variable
from xflux.errors import DataError, SchemaError, warn

HUMIDITY = (("TD",), ("RH",), ("EA",), ("QA", "PA"))
"""What VPD can be derived from beside TA, the best first."""


@dataclass(frozen=True, kw_only=True)
class Schema:
    """What xflux understood of a Dataset.

    Attributes
    ----------
    time : str or None
        Name of the time coordinate; ``time_dim`` is the dimension it lies on.
    entity_dims : tuple of str
        Every dimension that is not time, in the order of the first driver.
    time_step : str or None
        ``"daily"``, ``"monthly"``, or a step that xflux does not model.
    matches : dict of str to Match
        By xflux's name of the variable.
    derivable : dict of str to tuple of str
        Drivers that can be derived, and from what.
    problems : dict of str to str
        By the variable they concern; general ones have keys that start with ``"*"``.
    notes : dict of str to str
        What was taken for granted, by variable: said as a warning by the task that uses it.
    """

    time: str | None
    time_dim: str | None
    entity_dims: tuple[str, ...]
    time_step: str | None
    calendar: str | None
    matches: dict[str, Match]
    derivable: dict[str, tuple[str, ...]]
    problems: dict[str, str]
    available: tuple[str, ...] = field(default=())
    notes: dict[str, str] = field(default_factory=dict)

    def names(self, role: str) -> tuple[str, ...]:
        """Names of the matched variables of one role, in the table's order."""
        return tuple(name for name, match in self.matches.items() if match.role == role)

    @property
    def drivers(self) -> tuple[str, ...]:
        """Drivers present in the Dataset or derivable from it."""
        found = (*self.names("driver"), *self.derivable)
        return tuple(sorted(found, key=_table_order))

    def disputed(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those of some variables that seem to be there but could not be understood.

        What a driver could be derived from counts when the driver itself is not there: it would
        otherwise be left out in silence.
        """
        wanted = dict.fromkeys(names)
        if "VPD" in wanted and "VPD" not in self.drivers:
            wanted |= dict.fromkeys(source for sources in HUMIDITY for source in sources)
        return tuple(name for name in wanted if name in self.problems)

    def require(self, names: Iterable[str] = (), *, task: str, ignore: Iterable[str] = ()) -> None:
        """Raise one error with every problem that stands in the way of a task.

        Parameters
        ----------
        names : iterable of str
            Variables that the task needs.
        task : str
            Ends the first line of the error: "... in the Dataset for training".
        ignore : iterable of str
            Keys of general problems that do not matter here.

        Raises
        ------
        SchemaError
            With every problem found.

        Warns
        -----
        XfluxWarning
            With what was taken for granted about the variables of the task.
        """
        wanted = tuple(dict.fromkeys(names))
        found = [
            text
            for key, text in self.problems.items()
            if key in wanted or (key.startswith("*") and key not in set(ignore))
        ]
        found += [
            missing(name, self.available)
            for name in wanted
            if name not in self.matches and name not in self.derivable and name not in self.problems
        ]
        if found:
            raise SchemaError(found, where=f"the Dataset for {task}")
        sources = [source for name in wanted for source in self.derivable.get(name, ())]
        for name in dict.fromkeys((*wanted, *sources)):
            if name in self.notes:
                warn(self.notes[name])


def _table_order(name: str) -> int:
    order = list(variables.BY_NAME)
    return order.index(name) if name in order else len(order)


def missing(name: str, available: tuple[str, ...]) -> str:
    """Say that a variable is not there, by which names it is known, and how to name it."""
    row = variables.BY_NAME.get(name)
    if row is None:
        return (
            f'{name!r} is missing: name it, variables={{"{name}": "..."}}; '
            f"found {_listing(available)}"
        )
    accepted = [alias for names in row.aliases.values() for alias in names]
    standard = f" or standard_name {row.standard_name!r}" if row.standard_name else ""
    return (
        f"{row.role} {name} ({row.long_name}, {row.units}) is missing; accepted names are "
        f"{', '.join(accepted)}{standard}; "
        f'or name it, variables={{"{name}": "..."}}; found {_listing(available)}'
    )


def _listing(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:30]) or "no variables"
    return shown + (f" and {len(names) - 30} more" if len(names) > 30 else "")


def resolve(
    ds: xr.Dataset,
    *,
    variables: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    assume_units: bool = False,
    time_step: str | None = None,
) -> Schema:
    """Understand a Dataset by CF metadata, then by the names of the field, then by what you say.

    Parameters
    ----------
    ds : xr.Dataset
        Any layout with a time dimension; values are not looked at.
    variables : mapping of str to str, optional
        xflux's name to the Dataset's, for what is ambiguous or unusual: ``{"GPP": "GPP_DT"}``.
        A name that is not in the table becomes a driver (with time) or characteristic (without).
    units : mapping of str to str, optional
        Units of variables that carry none or wrong ones, by the Dataset's name or by xflux's.
    assume_units : bool
        Take a missing ``units`` attribute to mean xflux's own unit.
    time_step : str, optional
        The step of a series of one or two steps, which do not tell it.

    Returns
    -------
    Schema
        With every problem that was found; nothing is raised for them here.

    Raises
    ------
    SchemaError
        ``variables`` names something that the Dataset does not have.

    Examples
    --------
    >>> ds = xr.Dataset(
    ...     {"tas": ("time", np.full(3, 280.0), {"units": "K"})},
    ...     {"time": xr.date_range("2001-01-01", periods=3)},
    ... )
    >>> resolve(ds).matches["TA"].conversion.offset
    -273.15
    """
    chosen = dict(variables or {})
    absent = [
        f"variables={{{name!r}: {target!r}}} names a variable that is not there; "
        f"found {_listing(tuple(map(str, ds.variables)))}"
        for name, target in chosen.items()
        if target not in ds.variables
    ]
    if absent:
        raise SchemaError(absent)
    problems: dict[str, str] = {}
    notes: dict[str, str] = {}
    time, time_dim = _find_time(ds, problems)
    step = _time_step(ds, time, problems, time_step)
    matches: dict[str, Match] = {}
    for row in (*_table(), *custom_rows(ds, chosen, time_dim)):
        found = candidates(ds, row, chosen, problems)
        if found is None:
            continue
        name, how = found
        if how == "standard_name" and ds[name].attrs["standard_name"] in row.misspelt:
            notes[row.name] = (
                f"{name!r} has the misspelt standard_name {ds[name].attrs['standard_name']!r}; it "
                f'is taken for {row.name}: ds["{name}"].attrs["standard_name"] = '
                f'"{row.standard_name}"'
            )
        text = units_text(ds[name], row, name, dict(units or {}), assume_units, problems, notes)
        match = with_units(ds[name], row, name, how, text, step, problems, notes)
        if match is not None:
            matches[row.name] = match
    entity_dims = _layout(ds, matches, time_dim, problems)
    return Schema(
        time=time,
        time_dim=time_dim,
        entity_dims=entity_dims,
        time_step=step,
        calendar=str(ds[time].dt.calendar) if time and step else None,
        matches=matches,
        derivable=_derivable(matches, entity_dims, time_dim),
        problems=problems,
        available=tuple(str(name) for name in ds.variables if name not in ds.dims),
        notes=notes,
    )


def _table() -> tuple[Variable, ...]:
    return variables.VARIABLES


def _find_time(ds: xr.Dataset, problems: dict[str, str]) -> tuple[str | None, str | None]:
    import cf_xarray  # noqa: F401  (registers ds.cf)

    names = list(ds.cf.axes.get("T", [])) or list(ds.cf.coordinates.get("time", []))
    names = names or [
        str(name)
        for name, coord in ds.coords.items()
        if coord.ndim == 1 and "datetime64" in str(coord.dtype)
    ]
    names = names or [str(n) for n in ("time", "valid_time") if n in ds.coords or n in ds.dims]
    along = [name for name in names if name in ds.coords and ds[name].ndim == 1]
    own = [name for name in along if name in ds.dims]
    usable = own or along
    if len(usable) != 1:
        found = f"{len(usable)} time coordinates ({', '.join(usable)})" if usable else "none"
        problems["*time"] = (
            f"one time coordinate is needed, found {found}: give the time dimension a coordinate "
            'of dates, ds = ds.assign_coords(time=...), and ds.time.attrs["axis"] = "T"'
        )
        return None, None
    return str(usable[0]), str(ds[usable[0]].dims[0])


def _time_step(
    ds: xr.Dataset, time: str | None, problems: dict[str, str], known: str | None
) -> str | None:
    if time is None:
        return None
    wrong = timestep.problem_of(ds[time], minimum=1 if known else timestep.MINIMUM_STEPS)
    if wrong is not None:
        problems["*time"] = wrong
        return None
    if known and ds[time].size < timestep.MINIMUM_STEPS:
        return known
    try:
        return timestep.time_step(ds[time])
    except DataError as error:
        problems["*time"] = str(error)
        return None


def _layout(
    ds: xr.Dataset, matches: dict[str, Match], time_dim: str | None, problems: dict[str, str]
) -> tuple[str, ...]:
    """Entity dimensions, in the order of the first driver; foreign dimensions are problems."""
    timed = [m for m in matches.values() if m.role in ("driver", "precursor", "target", "quality")]
    for match in timed:
        if time_dim is not None and time_dim not in ds[match.variable].dims:
            problems[match.name] = (
                f"{match.variable!r} ({match.name}) has dims {ds[match.variable].dims}, without "
                f"the time dimension {time_dim!r}: rename its dimension, or choose another variable"
            )
    with_time = [m for m in timed if m.name not in problems]
    if not with_time:
        return ()
    first = next((m for m in with_time if m.role == "driver"), with_time[0])
    entity_dims = tuple(str(dim) for dim in ds[first.variable].dims if dim != time_dim)
    for match in matches.values():
        foreign = set(map(str, ds[match.variable].dims)) - {*entity_dims, time_dim}
        if foreign:
            problems[match.name] = (
                f"{match.variable!r} ({match.name}) has the dimension "
                f"{', '.join(sorted(foreign))}, which {first.variable!r} has not: select from it "
                f'or rename it, ds = ds.rename({{"{sorted(foreign)[0]}": '
                f'"{entity_dims[0] if entity_dims else "site"}"}})'
            )
    if "expver" in entity_dims and ds.sizes["expver"] > 1:
        problems["*expver"] = (
            "the dimension 'expver' mixes final and preliminary ERA5: merge it, "
            "ds = ds.sel(expver=1).combine_first(ds.sel(expver=5))"
        )
    return entity_dims


def _derivable(
    matches: Mapping[str, Match], entity_dims: tuple[str, ...], time_dim: str | None
) -> dict[str, tuple[str, ...]]:
    """Drivers that are not there but follow from what is."""
    if "VPD" in matches or "TA" not in matches or time_dim is None:
        return {}
    for sources in HUMIDITY:
        if all(source in matches for source in sources):
            return {"VPD": ("TA", *sources)}
    return {}
