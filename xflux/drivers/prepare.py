"""From Datasets as downloaded to the drivers of a model: at one step, on one axis of time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from xflux.cf.aggregation import EXTREMES
from xflux.cf.schema import missing
from xflux.cf.variables import BY_NAME, DRIVERS
from xflux.drivers.clock import Clock
from xflux.drivers.composites import Method, periods
from xflux.drivers.dress import dress
from xflux.drivers.packing import STORED
from xflux.drivers.parts import Part, Said, understand
from xflux.drivers.plan import Choices, check, plan
from xflux.drivers.series import DayPlan, Series, as_days, as_is, as_months, from_composites
from xflux.drivers.times import Whole
from xflux.errors import SchemaError, warn
from xflux.features import Inputs
from xflux.training.towers import warn_derived


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
    check(choices, inputs)
    parts = understand(datasets, said)
    wanted = inputs.drivers if inputs is not None else DRIVERS
    timed = [part for part in parts if part.timed]
    problems = [text for part in parts for text in part.problems(wanted)]
    if not timed:
        problems = problems or [missing("TA", _available(parts))]
        raise SchemaError(problems, where="the Datasets for drivers")
    main = next((part for part in timed if not part.is_leaves), timed[0])
    names = [_names(part, inputs, wanted) for part in parts]
    if inputs is not None:
        there = {name for own in names for name in own}
        problems += [missing(n, _available(parts)) for n in inputs.required if n not in there]
    step = choices.to or (inputs.time_step if inputs is not None else _usual(main))
    clock, plans, obstacles = plan(parts, datasets, step, choices)
    if problems or obstacles:
        listed = list(dict.fromkeys([*problems, *obstacles]))
        raise SchemaError(listed, where="the Datasets for drivers")
    for part, own in zip(parts, names, strict=True):
        _say(part, own)
    made: list[tuple[Part, Series]] = []
    for place in sorted(range(len(parts)), key=lambda i: parts[i] is not main):
        if parts[place].timed:
            beside = made[0][1] if made else None
            days = plans.get(place)
            series = _series(parts[place], names[place], step, choices, clock, days, beside)
            made.append((parts[place], series))
    still = [part for part in parts if not part.timed]
    return dress(main, made, still, clock=clock, tolerance=said.tolerance, version=version)


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


def _say(part: Part, names: Sequence[str]) -> None:
    """Warn of what was taken for granted, and of VPD that comes from means."""
    for name in names:
        for source in (name, *part.schema.derivable.get(name, ())):
            if source in part.schema.notes:
                warn(part.schema.notes[source])
    derived = "VPD" in part.schema.derivable and "VPD" in names
    if derived and part.schema.time_step != "sub-daily":
        warn_derived(part.schema)


def _series(
    part: Part,
    names: Sequence[str],
    step: str,
    choices: Choices,
    clock: Clock,
    days: DayPlan | None,
    beside: Series | None,
) -> Series:
    """The drivers of one part at the step that is wanted."""
    held = part.schema.time_step
    if days is not None:
        made = as_days(part, names, days, clock, choices.completeness)
    elif held == step or held == "daily":
        made = as_is(part, names, choices.accumulation)
    else:
        wanted, like = _days_of_leaves(part, beside, step)
        method: Method = "hold" if choices.leaves == "hold" else "interpolate"
        made = from_composites(part, [n for n in names if n in STORED], wanted, like, method)
    return as_months(made, choices.completeness) if made.step != step else made


def _days_of_leaves(part: Part, beside: Series | None, step: str) -> tuple[Whole, xr.DataArray]:
    """The days that composites are brought to: those of the other drivers, else their own."""
    if beside is not None and step == "daily":
        return beside.axis, beside.time
    like = part.time if beside is None else beside.time
    starts, stops = periods(part.time, part.schema.time_step == "monthly", like)
    return np.arange(starts[0], stops[-1]), like
