"""The drivers of one Dataset as series at one step: as they are, as days, or as months."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from xflux.cf import timestep
from xflux.cf.aggregation import EXTREMES, statistic
from xflux.cf.schema import Match
from xflux.cf.variables import BY_NAME
from xflux.drivers import accumulation, composites
from xflux.drivers.clock import Clock
from xflux.drivers.coarsen import Needs, coarsen, one_to_one, pieces
from xflux.drivers.packing import packing_of
from xflux.drivers.parts import Part
from xflux.drivers.times import (
    DAY,
    Whole,
    dates,
    first_days,
    microseconds,
    parts,
    steps_a_day,
    whole_days,
    whole_months,
)
from xflux.drivers.work import Days, Months, Same, Source

_SAMPLE = 10  # days that are looked at to tell amounts that run from those that do not


@dataclass(frozen=True, kw_only=True)
class Series:
    """Drivers along one axis of days or months.

    Attributes
    ----------
    step : str
        ``"daily"`` or ``"monthly"``.
    axis : numpy.ndarray
        Days, or months, since 1970.
    time : xr.DataArray
        The coordinate: as it was, or midnights of first days without attributes.
    variables : dict of str to xr.Variable
        By xflux's name; time first, then the entities.
    origin : dict of str to str
        Where each comes from, in words.
    """

    step: str
    axis: Whole
    time: xr.DataArray
    variables: dict[str, xr.Variable]
    origin: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class DayPlan:
    """How a sub-daily part becomes days, known from its times alone."""

    time: Whole
    days: Whole
    per_day: int
    shifts: tuple[int, int]
    kind: str | None


def plan_days(part: Part, clock: Clock, kind: str | None, completeness: float) -> DayPlan:
    """Which days a sub-daily part makes.

    Raises
    ------
    DataError
        Its steps do not divide a day, or no day is whole.
    """
    time = microseconds(part.time)
    per_day = steps_a_day(time, str(part.schema.time))
    shifts = clock.shifts
    ends = any(_ends(part, match) for match in _timed(part))
    edges = [shift - late for shift in dict.fromkeys(shifts) for late in ((0, 1) if ends else (0,))]
    days = whole_days(time, edges, completeness * per_day, part.time)
    return DayPlan(time=time, days=days, per_day=per_day, shifts=shifts, kind=kind)


def _timed(part: Part) -> list[Match]:
    return [part.schema.matches[name] for name in part.timed]


def _ends(part: Part, match: Match) -> bool:
    row = BY_NAME.get(match.name)
    return accumulation.ends_at_stamp(
        part.ds[match.variable].variable,
        match.variable,
        amount=match.conversion.per_step,
        era5=row.aliases.get("era5", ()) if row is not None else (),
    )


def accumulated(part: Part) -> list[Match]:
    """Amounts that were accumulated up to their stamps, of which the kind has to be known."""
    return [match for match in _timed(part) if match.conversion.per_step and _ends(part, match)]


def kind_of_amounts(part: Part, original: xr.Dataset) -> str | None:
    """Which kind the amounts of a part are; see `xflux.drivers.accumulation.kind_of`."""
    time = microseconds(part.time)
    shown: set[bool | None] = set()
    for start in (0, time.size // 2):
        stop = int(np.searchsorted(time, time[start] + _SAMPLE * DAY))
        for match in accumulated(part):
            array = part.ds[match.variable]
            if array.chunks is None:
                some = _few(array, str(part.schema.time_dim), slice(start, stop))
                shown.add(accumulation.evidence(match.name, some, time[start:stop]))
        if shown - {None}:
            break
    return accumulation.kind_of(original, shown, since_midnight=part.since_midnight)


def _few(array: xr.DataArray, time: str, steps: slice) -> np.ndarray:
    """Some steps of some entities, time first."""
    strides = {
        dim: slice(None, None, max(1, n // 8)) for dim, n in array.sizes.items() if dim != time
    }
    some = array.isel({time: steps, **strides}).transpose(time, ...)
    return np.ma.filled(np.ma.asarray(some.values, dtype=np.float64), np.nan)


def as_days(part: Part, names: Sequence[str], plan: DayPlan, clock: Clock, least: float) -> Series:
    """Days from sub-daily steps."""
    layout = _layout(part)
    ahead = clock.over({dim: part.ds.sizes[dim] for dim in layout[1:]})
    arrays = _arrays(part)
    low, high = (((plan.time + shift) // DAY) for shift in plan.shifts)
    start = np.searchsorted(high, plan.days, side="left")
    cut = pieces(
        Needs(start, np.maximum(np.searchsorted(low, plan.days, side="right"), start)),
        list(arrays.values()),
        layout[0],
    )
    variables, origin = {}, {}
    for name in _with_extremes(part, names):
        sources = [_source(part, match, plan) for match in _matches(part, name)]
        late, runs = int(sources[0].ends), any(source.runs for source in sources)
        low, high = (((plan.time + shift - late) // DAY) for shift in plan.shifts)
        first = np.searchsorted(high, plan.days, side="left") - int(runs)
        stop = np.searchsorted(low, plan.days, side="right")
        how = statistic(name, "sub-daily")
        work = Days(
            name=name,
            sources=tuple(sources),
            layout=layout,
            time=plan.time,
            days=plan.days,
            per_day=plan.per_day,
            how=how,
            least=least * plan.per_day,
            hours=clock.hours,
        )
        held = [arrays[source.match.variable] for source in sources]
        first = np.maximum(first, 0)
        variables[name] = coarsen(
            work,
            [*held, *([] if ahead is None else [ahead])],
            needs=Needs(first, np.maximum(stop, first)),
            layout=layout,
            cut=cut,
        )
        origin[name] = _in_words(name, sources, f"{how} of {plan.per_day} values a day")
    time = xr.DataArray(dates(plan.days, part.time), dims=layout[0])
    return Series(step="daily", axis=plan.days, time=time, variables=variables, origin=origin)


def as_is(part: Part, names: Sequence[str], kind: str | None) -> Series:
    """Days or months as they come."""
    step = str(part.schema.time_step)
    layout = _layout(part)
    arrays = _arrays(part)
    days = timestep.step_days(part.time, step)
    axis = microseconds(part.time) // DAY
    if step == "monthly":
        axis = parts(axis, part.time)[0]
    cut = pieces(one_to_one(len(axis)), list(arrays.values()), layout[0])
    variables, origin = {}, {}
    for name in names:
        sources = [_source(part, match, None) for match in _matches(part, name)]
        held = [arrays[source.match.variable] for source in sources]
        said = ""
        if step == "daily" and kind == "day" and sources[0].ends:
            held = [variable.shift({layout[0]: -1}) for variable in held]
            said = "amounts since 00 UTC, of the day before each stamp"
        elif len(sources) > 1:
            said = f"from {step} means: lower than the mean of sub-daily values"
        work = Same(name=name, sources=tuple(sources), layout=layout, days=days)
        variables[name] = coarsen(work, held, needs=one_to_one(len(axis)), layout=layout, cut=cut)
        origin[name] = _in_words(name, sources, said)
    return Series(step=step, axis=axis, time=part.time, variables=variables, origin=origin)


def from_composites(
    part: Part, names: Sequence[str], days: Whole, like: xr.DataArray, method: composites.Method
) -> Series:
    """Composites of several days or a month on some days, in the calendar of other times."""
    layout = _layout(part)
    starts, stops = composites.periods(part.time, part.schema.time_step == "monthly", like)
    needs = composites.needs_of(starts, days)
    arrays = _arrays(part)
    cut = pieces(needs, list(arrays.values()), layout[0])
    variables, origin = {}, {}
    for name in names:
        source = _source(part, part.schema.matches[name], None)
        work = composites.Composites(
            source=source,
            layout=layout,
            starts=starts,
            stops=stops,
            length=float(np.median(stops - starts)),
            days=days,
            method=method,
        )
        held = [arrays[source.match.variable]]
        variables[name] = coarsen(work, held, needs=needs, layout=layout, cut=cut)
        words = {"interpolate": "interpolated between the middles of", "hold": "held over"}[method]
        origin[name] = _in_words(name, [source], f"{words} composites")
    time = xr.DataArray(dates(days, like), dims=layout[0])
    return Series(step="daily", axis=days, time=time, variables=variables, origin=origin)


def as_months(series: Series, completeness: float) -> Series:
    """Months from days.

    Raises
    ------
    DataError
        No month is whole.
    """
    months, least = whole_months(series.axis, completeness, series.time)
    of_day = parts(series.axis, series.time)[0]
    first = np.searchsorted(of_day, months, side="left")
    needs = Needs(first, np.searchsorted(of_day, months, side="right"))
    variables = {}
    for name, variable in series.variables.items():
        layout = tuple(map(str, variable.dims))
        work = Months(
            name=name, of_day=of_day, months=months, least=least, how=statistic(name, "daily")
        )
        cut = pieces(needs, [variable], layout[0])
        variables[name] = coarsen(work, [variable], needs=needs, layout=layout, cut=cut)
    stamps = dates(first_days(months, series.time), series.time)
    time = xr.DataArray(stamps, dims=series.time.dims)
    said = {name: f"{text}; mean of the days of a month" for name, text in series.origin.items()}
    return Series(step="monthly", axis=months, time=time, variables=variables, origin=said)


def _layout(part: Part) -> tuple[str, ...]:
    return (str(part.schema.time_dim), *part.schema.entity_dims)


def _with_extremes(part: Part, names: Sequence[str]) -> list[str]:
    """Names, with the extremes of temperature that follow from its sub-daily values."""
    return [n for n in names if n in part.timed or n not in EXTREMES or "TA" in part.timed]


def _matches(part: Part, name: str) -> list[Match]:
    """The variables that a driver is made of."""
    matches = part.schema.matches
    if name in matches:
        return [matches[name]]
    return [matches[source] for source in part.schema.derivable.get(name, ("TA",))]


def _source(part: Part, match: Match, plan: DayPlan | None) -> Source:
    variable = part.ds[match.variable].variable
    ends = _ends(part, match)
    amount = ends and match.conversion.per_step
    return Source(
        match=match,
        dims=_layout_of(part, variable),
        packing=packing_of(match.name, variable),
        ends=ends,
        runs=amount and plan is not None and plan.kind == "day",
    )


def _layout_of(part: Part, variable: xr.Variable) -> tuple[str, ...]:
    """Dims of a variable once those that it lacks are put first."""
    dims = tuple(map(str, variable.dims))
    return (*(dim for dim in _layout(part) if dim not in dims), *dims)


def _arrays(part: Part) -> dict[str, xr.Variable]:
    """Variables that change in time by their own names, all dims there, in the same chunks."""
    chosen = part.ds[list(dict.fromkeys(match.variable for match in _timed(part)))]
    if any(array.chunks is not None for array in chosen.variables.values()):
        chosen = chosen.unify_chunks()
    found = {}
    for name in chosen.data_vars:
        variable = chosen[name].variable
        dims = _layout_of(part, variable)
        if dims != tuple(map(str, variable.dims)):
            variable = variable.set_dims({dim: part.ds.sizes[dim] for dim in dims})
        found[str(name)] = variable
    return found


def _in_words(name: str, sources: Sequence[Source], what: str) -> str:
    """Where a driver comes from: names and units in the file, and what was done."""
    names = " and ".join(
        f"{source.match.variable} ({source.match.units})"
        if source.match.units
        else source.match.variable
        for source in sources
    )
    amounts = ""
    if sources[0].match.conversion.per_step and sources[0].ends:
        amounts = "amounts since 00 UTC" if sources[0].runs else "amounts of the step before"
    return ", ".join(text for text in (names, amounts, what) if text)
