"""From Datasets as downloaded to the drivers of a model: what is there, at one step, on one axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from xflux.cf.aggregation import EXTREMES
from xflux.cf.schema import missing
from xflux.cf.variables import BY_NAME, DRIVERS
from xflux.drivers import accumulation
from xflux.drivers.clock import Clock, clock_of
from xflux.drivers.composites import METHODS, Method, periods
from xflux.drivers.dress import dress
from xflux.drivers.packing import STORED
from xflux.drivers.parts import Part, Said, understand
from xflux.drivers.series import (
    DayPlan,
    Series,
    accumulated,
    as_days,
    as_is,
    as_months,
    from_composites,
    kind_of_amounts,
    plan_days,
)
from xflux.drivers.times import DAY, Whole, microseconds, whole_months
from xflux.errors import DataError, SchemaError, warn
from xflux.features import Inputs
from xflux.training.towers import warn_derived

_STEPS = ("daily", "monthly")


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the caller chose; see `xflux.accessor.FluxAccessor.drivers`."""

    to: str | None
    utc_offset: float | str | xr.DataArray
    accumulation: str | None
    completeness: float
    leaves: str


def prepare(
    datasets: Sequence[xr.Dataset],
    said: Said,
    choices: Choices,
    *,
    inputs: Inputs | None,
    version: str,
) -> xr.Dataset:
    """Make the drivers of a model from Datasets as they are downloaded.

    Parameters
    ----------
    datasets : sequence of xr.Dataset
        The first with drivers that are no leaves gives time, places and their order.
    said : Said
        About names and units.
    choices : Choices
    inputs : Inputs, optional
        Of a model: its drivers alone are made, and those that it cannot do without must be there.
    version : str
        For the history.

    Returns
    -------
    xr.Dataset
        Drivers by xflux's names in its units, lazy where the inputs are.

    Raises
    ------
    SchemaError
        With everything that stands in the way.
    DataError
        An option is not known; values that cannot be, on lazy data when they are computed.
    """
    _check(choices, inputs)
    parts = understand(datasets, said)
    wanted = inputs.drivers if inputs is not None else DRIVERS
    timed = [part for part in parts if part.timed]
    problems = [text for part in parts for text in part.problems(wanted)]
    if not timed:
        problems = problems or [missing("TA", _available(parts))]
        raise SchemaError(problems, where="the Datasets for drivers")
    main = next((part for part in timed if not part.is_leaves), timed[0])
    names = {id(part): _names(part, inputs, wanted) for part in timed}
    if inputs is not None:
        held = {name for found in names.values() for name in found}
        problems += [missing(n, _available(parts)) for n in inputs.required if n not in held]
    step = choices.to or (inputs.time_step if inputs is not None else _usual(main))
    clock, plans = _plans(parts, timed, datasets, step, choices, problems)
    if problems:
        raise SchemaError(list(dict.fromkeys(problems)), where="the Datasets for drivers")
    _say(timed, names)
    ordered = [main, *(part for part in timed if part is not main)]
    made: list[tuple[Part, Series]] = []
    for part in ordered:
        beside = made[0][1] if made else None
        held = names[id(part)]
        made.append((part, _series(part, held, step, choices, clock, plans, beside=beside)))
    still = [part for part in parts if not part.timed]
    return dress(main, made, still, clock=clock, tolerance=said.tolerance, version=version)


def _check(choices: Choices, inputs: Inputs | None) -> None:
    allowed: tuple[tuple[str, object, tuple[object, ...]], ...] = (
        ("to", choices.to, (*_STEPS, None)),
        ("accumulation", choices.accumulation, (*accumulation.KINDS, None)),
        ("leaves", choices.leaves, METHODS),
    )
    problems = [
        f"{name}={value!r} is not known; type {name}={known[0]!r}, or one of {known}"
        for name, value, known in allowed
        if value not in known
    ]
    if not 0.0 < choices.completeness <= 1.0:
        problems.append(f"completeness={choices.completeness!r} is no share; type completeness=0.9")
    if inputs is not None and choices.to not in (None, inputs.time_step):
        problems.append(f"to={choices.to!r}, but the model is {inputs.time_step}; leave out to=")
    if problems:
        raise DataError("\n".join(problems))


def _available(parts: Sequence[Part]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for part in parts for name in part.schema.available))


def _names(part: Part, inputs: Inputs | None, wanted: Sequence[str]) -> list[str]:
    """The drivers that a part gives: those wanted, and those that only the caller knows."""
    own = [n for n in part.schema.names("driver") if n not in BY_NAME and n in part.timed]
    asked = [*wanted, *(own if inputs is None else ())]
    found = [name for name in asked if name in part.timed or name in part.schema.derivable]
    if part.schema.time_step == "sub-daily" and "TA" in part.timed:
        found += [name for name in EXTREMES if name in asked and name not in found]
    return sorted(found, key=asked.index)


def _usual(part: Part) -> str:
    return "monthly" if part.schema.time_step == "monthly" else "daily"


def _plans(
    parts: Sequence[Part],
    timed: Sequence[Part],
    datasets: Sequence[xr.Dataset],
    step: str,
    choices: Choices,
    problems: list[str],
) -> tuple[Clock, dict[int, DayPlan]]:
    """The clock, and for each sub-daily part its days; what stands in the way is noted."""
    clock, plans = Clock(hours=0.0), {}
    try:
        clock = clock_of(choices.utc_offset, _longitude(parts))
    except DataError as error:
        problems.append(str(error))
    for part in timed:
        held = part.schema.time_step
        if held is None:
            continue
        name = str(part.schema.time)
        if held == "yearly" or (held == "weekly" and not part.is_leaves):
            problems.append(
                f"the steps of {name!r} are {held}, which cannot be made {step}: give hourly or "
                "daily data"
            )
        elif held == "monthly" and step == "daily" and not part.is_leaves:
            problems.append(
                f"the steps of {name!r} are months, which cannot be made days: give daily data, or "
                'ds.flux.drivers(to="monthly")'
            )
        elif held == "sub-daily":
            kind = _kind(part, datasets, choices, problems)
        if held not in ("sub-daily", "daily"):
            continue
        try:
            if held == "sub-daily":
                plans[id(part)] = plan_days(part, clock, kind, choices.completeness)
            if step == "monthly":
                days = plans[id(part)].days if id(part) in plans else microseconds(part.time) // DAY
                whole_months(days, choices.completeness, part.time)
        except DataError as error:
            problems.append(str(error))
    return clock, plans


def _longitude(parts: Sequence[Part]) -> xr.DataArray | None:
    for part in parts:
        match = part.schema.matches.get("lon")
        if match is not None:
            return part.ds[match.variable].reset_coords(drop=True)
    return None


def _kind(
    part: Part, datasets: Sequence[xr.Dataset], choices: Choices, problems: list[str]
) -> str | None:
    """Whether amounts run through the day; a problem where nothing tells."""
    amounts = accumulated(part)
    if not amounts or choices.accumulation is not None:
        return choices.accumulation
    origin = next((ds for ds in datasets if amounts[0].variable in ds.variables), part.ds)
    kind = kind_of_amounts(part, origin)
    if kind is None:
        listed = ", ".join(repr(match.variable) for match in amounts)
        problems.append(
            f"{listed}: amounts of the step before each stamp, as in ERA5, or since 00 UTC, as in "
            'ERA5-Land? The Dataset does not tell: ds.flux.drivers(accumulation="step"), or '
            'ds.flux.drivers(accumulation="day")'
        )
    return kind


def _say(timed: Sequence[Part], names: Mapping[int, Sequence[str]]) -> None:
    """Warn of what was taken for granted, and of VPD that comes from means."""
    for part in timed:
        for name in names[id(part)]:
            for source in (name, *part.schema.derivable.get(name, ())):
                if source in part.schema.notes:
                    warn(part.schema.notes[source])
        derived = "VPD" in part.schema.derivable and "VPD" in names[id(part)]
        if derived and part.schema.time_step != "sub-daily":
            warn_derived(part.schema)


def _series(
    part: Part,
    names: Sequence[str],
    step: str,
    choices: Choices,
    clock: Clock,
    plans: Mapping[int, DayPlan],
    *,
    beside: Series | None,
) -> Series:
    """The drivers of one part at the step that is wanted."""
    held = part.schema.time_step
    if held == "sub-daily":
        made = as_days(part, names, plans[id(part)], clock, choices.completeness)
    elif held == step or held == "daily":
        made = as_is(part, names, choices.accumulation)
    else:
        days, like = _days_of_leaves(part, beside, step)
        method: Method = "hold" if choices.leaves == "hold" else "interpolate"
        made = from_composites(part, [n for n in names if n in STORED], days, like, method)
    return as_months(made, choices.completeness) if made.step != step else made


def _days_of_leaves(
    part: Part, beside: Series | None, step: str
) -> tuple[Whole, xr.DataArray]:
    """The days that composites are brought to: those of the other drivers, else their own."""
    if beside is not None and step == "daily":
        return beside.axis, beside.time
    like = part.time if beside is None else beside.time
    starts, stops = periods(part.time, part.schema.time_step == "monthly", like)
    return np.arange(starts[0], stops[-1]), like
