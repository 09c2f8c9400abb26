"""What was asked for, and whether it can be had: options, clock, days, kinds of amounts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import xarray as xr

from xflux.drivers import accumulation
from xflux.drivers.clock import Clock, clock_of
from xflux.drivers.composites import METHODS
from xflux.drivers.parts import Part
from xflux.drivers.series import DayPlan, accumulated, kind_of_amounts, plan_days
from xflux.drivers.times import DAY, microseconds, whole_months
from xflux.errors import DataError
from xflux.features import Inputs

_STEPS = ("daily", "monthly")


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the caller chose; see `xflux.accessor.FluxAccessor.drivers`."""

    to: str | None
    utc_offset: float | str | xr.DataArray
    accumulation: str | None
    completeness: float
    leaves: str


def check(choices: Choices, inputs: Inputs | None) -> None:
    """Refuse options that are not known.

    Raises
    ------
    DataError
        With all of them.
    """
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
        problems.append(
            f"completeness={choices.completeness!r} is not between 0 and 1; type completeness=0.9"
        )
    if inputs is not None and choices.to not in (None, inputs.time_step):
        problems.append(f"to={choices.to!r}, but the model is {inputs.time_step}; leave out to=")
    if problems:
        raise DataError("\n".join(problems))


def plan(
    parts: Sequence[Part], datasets: Sequence[xr.Dataset], step: str, choices: Choices
) -> tuple[Clock, dict[int, DayPlan], list[str]]:
    """The clock, the days of each sub-daily part by its place, and what stands in the way.

    Parameters
    ----------
    parts : sequence of Part
    datasets : sequence of xr.Dataset
        As they came, for what they say of their amounts.
    step : str
        ``"daily"`` or ``"monthly"``.
    choices : Choices
    """
    clock, plans, problems = Clock(hours=0.0), {}, []
    try:
        clock = clock_of(choices.utc_offset, _longitude(parts))
    except DataError as error:
        problems.append(str(error))
    for place, part in enumerate(parts):
        if not part.timed or part.schema.time_step is None:
            continue
        if (wrong := _too_coarse(part, step)) is not None:
            problems.append(wrong)
            continue
        try:
            if part.schema.time_step == "sub-daily":
                kind = _kind(part, datasets, choices)
                plans[place] = plan_days(part, clock, kind, choices.completeness)
            if part.schema.time_step in ("sub-daily", "daily") and step == "monthly":
                days = plans[place].days if place in plans else microseconds(part.time) // DAY
                whole_months(days, choices.completeness, part.time)
        except DataError as error:
            problems.append(str(error))
    return clock, plans, problems


def _too_coarse(part: Part, step: str) -> str | None:
    """Say that steps cannot be made finer, which leaves alone can."""
    held, name = str(part.schema.time_step), str(part.schema.time)
    if held == "yearly" or (held == "weekly" and not part.is_leaves):
        return (
            f"the steps of {name!r} are {held}, which cannot be made {step}: give hourly or daily "
            "data"
        )
    if held == "monthly" and step == "daily" and not part.is_leaves:
        return (
            f"the steps of {name!r} are months, which cannot be made days: give daily data, or "
            'ds.flux.drivers(to="monthly")'
        )
    return None


def _longitude(parts: Sequence[Part]) -> xr.DataArray | None:
    for part in parts:
        match = part.schema.matches.get("lon")
        if match is not None:
            return part.ds[match.variable].reset_coords(drop=True)
    return None


def _kind(part: Part, datasets: Sequence[xr.Dataset], choices: Choices) -> str | None:
    """Whether amounts run through the day; None where there are no such amounts.

    Raises
    ------
    DataError
        There are, and nothing tells.
    """
    amounts = accumulated(part)
    if not amounts or choices.accumulation is not None:
        return choices.accumulation
    origin = next((ds for ds in datasets if amounts[0].variable in ds.variables), part.ds)
    kind = kind_of_amounts(part, origin)
    if kind is None:
        listed = ", ".join(repr(match.variable) for match in amounts)
        raise DataError(
            f"{listed}: amounts of the step before each stamp, as in ERA5, or since 00 UTC, as in "
            'ERA5-Land? The Dataset does not tell: ds.flux.drivers(accumulation="step"), or '
            'ds.flux.drivers(accumulation="day")'
        )
    return kind
