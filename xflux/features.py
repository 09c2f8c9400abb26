"""From physical values to what the network sees: gaps, derived drivers, normalisation.

Pure numpy on blocks: ``C`` entities (towers or cells), ``T`` time steps. Training and prediction
call the same functions in the same order, so a model sees at prediction what it saw in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from xflux.cf.derived import DERIVED
from xflux.cf.variables import BY_NAME

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

GAP_LIMIT = {"daily": 3, "monthly": 1}
"""Steps of a gap in a driver that are bridged with the last value before it."""

CLOUDED = ("LAI", "EVI", "NDVI", "FAPAR")
"""Drivers seen from space: clouds leave gaps in them as a rule; a model does without them there."""

SETTLING = {"daily": 30, "monthly": 3}
"""Steps after a longer gap that stay missing while the state is built up anew."""


@dataclass(frozen=True, kw_only=True)
class Characteristic:
    """One characteristic as the network sees it.

    ``classes`` is empty for a numeric one; ``absolute`` takes the absolute value (latitude).
    """

    name: str
    classes: tuple[str, ...] = ()
    absolute: bool = False
    centre: float = 0.0
    scale: float = 1.0

    @property
    def width(self) -> int:
        """Number of columns: one for a number, one a class for a category."""
        return len(self.classes) or 1

    @property
    def label(self) -> str:
        """The name as it is shown: ``|lat|`` for an absolute value."""
        return f"|{self.name}|" if self.absolute else self.name


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a model takes: names, order, normalisation and training ranges.

    The columns of the network's input are the drivers, the derived drivers, then a flag for each
    optional driver (1 where present).

    Attributes
    ----------
    drivers, required : tuple of str
        All drivers in order, and those that a model cannot do without.
    derived : tuple of str
        Keys of `DERIVED`.
    centre, scale : tuple of float
        Normalisation of drivers and derived drivers, in their order.
    low, high : tuple of float
        Range of each driver in training, in xflux's units.
    """

    time_step: str
    drivers: tuple[str, ...]
    required: tuple[str, ...]
    derived: tuple[str, ...]
    characteristics: tuple[Characteristic, ...]
    centre: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @property
    def optional(self) -> tuple[str, ...]:
        """Drivers that may be missing altogether, each with a flag column."""
        return tuple(name for name in self.drivers if name not in self.required)

    @property
    def width(self) -> int:
        """Columns of the network's input at each step, without characteristics."""
        return len(self.drivers) + len(self.derived) + len(self.optional)

    @property
    def characteristic_width(self) -> int:
        """Columns of the characteristics."""
        return sum(item.width for item in self.characteristics)

    def columns_of(self, driver: str) -> tuple[int, ...]:
        """Columns that vanish with a driver: its own, those derived from it, and its flag."""
        own = [self.drivers.index(driver)]
        own += [
            len(self.drivers) + i
            for i, name in enumerate(self.derived)
            if driver in DERIVED[name].needs
        ]
        if driver in self.optional:
            own.append(len(self.drivers) + len(self.derived) + self.optional.index(driver))
        return tuple(own)


def out_of_range(name: str, variable: str, values: Array) -> str | None:
    """Say how values in xflux's unit are implausible for a variable, or return None."""
    row = BY_NAME.get(name)
    finite = values[np.isfinite(values)]
    if row is None or finite.size == 0:
        return None
    low, high = float(finite.min()), float(finite.max())
    if low >= row.low and high <= row.high:
        return None
    worst = high if high > row.high else low
    words = row.explain(low, high).format(variable=variable)
    return (
        f"{variable!r} ({name}) reaches {worst:.6g} {row.units}, outside "
        f"{row.low:g} to {row.high:g}: {words}"
    )


def bridge_gaps(values: Array, limit: int, before: Array | None = None) -> Array:
    """Carry the last value over the first ``limit`` steps of every gap; the rest stays missing.

    What is done at a step depends on the ``limit`` steps before it and on nothing after it, so a
    series may be cut anywhere as long as those steps are handed on.

    Parameters
    ----------
    values : numpy.ndarray
        Shape (C, T); a gap is a run of values that are not finite.
    limit : int
        Steps that a value is carried on. A gap at the start has no value before it and stays.
    before : numpy.ndarray, optional
        Shape (C, limit): the steps before these, where this is not the start of the series.

    Returns
    -------
    numpy.ndarray
        Shape (C, T), a new array where anything was bridged.

    Examples
    --------
    >>> bridge_gaps(np.array([[1, np.nan, 3, np.nan, np.nan, 6]], dtype="f4"), 1)
    array([[ 1.,  1.,  3.,  3., nan,  6.]], dtype=float32)
    """
    if values.shape[1] == 0 or np.isfinite(values).all():
        return values
    known = values if before is None else np.concatenate([before, values], axis=1)
    present = np.isfinite(known)
    index = np.arange(known.shape[1])
    last = np.maximum.accumulate(np.where(present, index, -1), axis=1)
    carried = np.take_along_axis(known, np.maximum(last, 0), axis=1)
    near = (last >= 0) & (index - last <= limit)
    return np.where(near, carried, np.float32(np.nan))[:, known.shape[1] - values.shape[1] :]


class Course(NamedTuple):
    """Where each step stands in its series.

    ``run`` (C, T) counts the steps of the unbroken stretch up to each step, 0 where it is not
    usable; ``interrupted`` (C, T) says whether there was a gap in the series up to there.
    """

    run: npt.NDArray[np.int32]
    interrupted: Mask


def course(
    usable: Mask,
    *,
    run: npt.NDArray[np.int32] | None = None,
    interrupted: Mask | None = None,
) -> Course:
    """Count the steps of each stretch, and remember gaps.

    A gap at the start of a series is not one: there the series simply begins later.

    Parameters
    ----------
    usable : numpy.ndarray
        Shape (C, T).
    run, interrupted : numpy.ndarray, optional
        Shape (C,): the course at the step before these, where it is not the start of the series.

    Examples
    --------
    >>> course(np.array([[False, True, True, False, True]])).run
    array([[0, 1, 2, 0, 1]], dtype=int32)
    """
    count, steps = usable.shape
    ago = np.zeros(count, dtype=np.int32) if run is None else run
    gone = np.zeros(count, dtype=bool) if interrupted is None else interrupted
    index = np.arange(steps, dtype=np.int32)
    last_gap = np.maximum.accumulate(np.where(usable, -1 - ago[:, None], index), axis=1)
    begun = np.maximum.accumulate(usable, axis=1) | ((ago > 0) | gone)[:, None]
    gap = np.maximum.accumulate(begun & ~usable, axis=1) | gone[:, None]
    return Course(np.where(usable, index - last_gap, 0).astype(np.int32), gap)


def settle(course: Course, steps: int) -> Mask:
    """Steps that follow a gap inside the series by no more than ``steps``, shape (C, T)."""
    return (course.run > 0) & course.interrupted & (course.run <= steps)


def stretches(usable: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Unbroken runs of usable steps, shape (S, 3): row, first step, end (exclusive).

    Examples
    --------
    >>> stretches(np.array([[True, True, False, True]]))
    array([[0, 0, 2],
           [0, 3, 4]])
    """
    padded = np.zeros((usable.shape[0], usable.shape[1] + 2), dtype=np.int8)
    padded[:, 1:-1] = usable
    change = np.diff(padded, axis=1)
    row, start = np.nonzero(change == 1)
    end = np.nonzero(change == -1)[1]
    return np.stack([row, start, end], axis=1).astype(np.int64)


class Assembled(NamedTuple):
    """A block as the network sees it.

    ``drivers`` has shape (C, T, inputs.width), ``characteristics`` (C, characteristic_width),
    ``usable`` (C, T): the steps at which every driver that is there has a value.
    ``bridged`` (C, T): some driver has no value here and took an earlier one.
    """

    drivers: Array
    characteristics: Array
    usable: Mask
    bridged: Mask


def assemble(
    inputs: Inputs,
    drivers: Mapping[str, Array],
    characteristics: Mapping[str, npt.NDArray[np.generic]],
    latitude: Array,
    year_fraction: Array,
    *,
    training: bool = False,
    before: Mapping[str, Array] | None = None,
) -> Assembled:
    """Bring a block of physical values to the network's input.

    Parameters
    ----------
    inputs : Inputs
        The model's inputs, with their normalisation.
    drivers : mapping of str to numpy.ndarray
        Shape (C, T) each, in xflux's units; an optional driver may be absent.
    characteristics : mapping of str to numpy.ndarray
        Shape (C,) each.
    latitude, year_fraction : numpy.ndarray
        Shapes (C,) and (T,), for the season.
    training : bool
        In training a step counts as usable when the required drivers are there: the network
        learns to do without the others. At prediction a gap in any driver that is present at
        all is a gap, but for those of `CLOUDED`: there the network does without.
    before : mapping of str to numpy.ndarray, optional
        Shape (C, GAP_LIMIT) each: the drivers in the steps before these.

    Returns
    -------
    Assembled
    """
    limit = GAP_LIMIT[inputs.time_step]
    earlier = before or {}
    bridged_drivers = {
        name: bridge_gaps(values, limit, earlier.get(name)) for name, values in drivers.items()
    }
    some = next(iter(bridged_drivers.values()))
    usable = np.ones(some.shape, dtype=bool)
    bridged = np.zeros(some.shape, dtype=bool)
    for name, values in bridged_drivers.items():
        present = np.isfinite(values)
        bridged |= present & ~np.isfinite(drivers[name])
        if name in inputs.required or not (training or name in CLOUDED):
            usable &= present
    columns = np.empty((*some.shape, inputs.width), dtype=np.float32)
    width = len(inputs.drivers)
    for i, name in enumerate(inputs.drivers):
        columns[..., i] = bridged_drivers.get(name, np.float32(np.nan))
    with np.errstate(over="ignore", invalid="ignore"):
        for j, name in enumerate(inputs.derived):
            needs, function = DERIVED[name]
            if all(need in bridged_drivers for need in needs):
                columns[..., width + j] = function(bridged_drivers, latitude, year_fraction)
            else:
                columns[..., width + j] = np.nan
    flags = width + len(inputs.derived)
    for k, name in enumerate(inputs.optional):
        columns[..., flags + k] = np.isfinite(columns[..., inputs.drivers.index(name)])
    if inputs.centre:
        columns[..., :flags] -= np.asarray(inputs.centre, dtype=np.float32)
        columns[..., :flags] /= np.asarray(inputs.scale, dtype=np.float32)
    np.nan_to_num(columns, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    encoded = encode(inputs.characteristics, characteristics, some.shape[0])
    return Assembled(columns, encoded, usable, bridged)


def encode(
    wanted: tuple[Characteristic, ...],
    values: Mapping[str, npt.NDArray[np.generic]],
    count: int,
) -> Array:
    """Characteristics as columns, shape (C, width): categories one-hot, numbers normalised.

    An unknown category is a row of zeros, and so is a category of which nothing is given; a missing
    number is the mean of training.
    """
    parts: list[Array] = [np.zeros((count, 0), dtype=np.float32)]
    for item in wanted:
        if item.classes and item.name not in values:
            parts.append(np.zeros((count, item.width), dtype=np.float32))
            continue
        if item.classes:
            text = as_text(values[item.name])
            parts.append(np.stack([text == name for name in item.classes], -1).astype(np.float32))
            continue
        number = np.asarray(values[item.name], dtype=np.float32)
        number = np.abs(number) if item.absolute else number
        parts.append(np.nan_to_num((number - item.centre) / item.scale)[:, None])
    return np.concatenate(parts, axis=1).astype(np.float32)


def as_text(values: npt.NDArray[np.generic]) -> npt.NDArray[np.str_]:
    """Categories as plain strings, from text, bytes padded with blanks, objects or codes."""
    if values.dtype.kind == "f":
        return np.array([f"{v:g}" if np.isfinite(v) else "" for v in values.ravel()]).reshape(
            values.shape
        )
    return np.char.strip(values.astype(str))


def fit(
    inputs: Inputs,
    drivers: Mapping[str, Array],
    characteristics: Mapping[str, npt.NDArray[np.generic]],
    latitude: Array,
    year_fraction: Array,
    used: Mask,
) -> Inputs:
    """Learn normalisation and ranges from the steps ``used`` (C, T) for training.

    A column that never varies keeps a scale of 1, so it cannot blow up elsewhere.
    """
    plain = replace(inputs, centre=(), scale=())
    block = assemble(plain, drivers, characteristics, latitude, year_fraction, training=True)
    width = len(inputs.drivers) + len(inputs.derived)
    values = block.drivers[used][:, :width].astype(np.float64)
    here = _where_present(inputs, drivers, used, width)
    count = np.maximum(here.sum(axis=0), 1)
    centre = (values * here).sum(axis=0) / count
    spread = np.sqrt((((values - centre) * here) ** 2).sum(axis=0) / count)
    scale = np.where(spread > 1e-6 * np.maximum(np.abs(centre), 1.0), spread, 1.0)
    big = np.float32(np.inf)
    ranges = [
        (float(np.nanmin(np.where(used & np.isfinite(d), d, big))),
         float(np.nanmax(np.where(used & np.isfinite(d), d, -big))))
        for d in (drivers[name] for name in inputs.drivers)
    ]  # fmt: skip
    return replace(
        inputs,
        characteristics=tuple(_fit_one(c, characteristics) for c in inputs.characteristics),
        centre=tuple(float(v) for v in centre),
        scale=tuple(float(v) for v in scale),
        low=tuple(low for low, _ in ranges),
        high=tuple(high for _, high in ranges),
    )


def _where_present(
    inputs: Inputs, drivers: Mapping[str, Array], used: Mask, width: int
) -> npt.NDArray[np.bool_]:
    """Which columns hold a value at the steps in use, shape (steps, width)."""
    here = np.ones((int(used.sum()), width), dtype=bool)
    for name in inputs.drivers:
        present = np.isfinite(drivers[name])[used]
        for column in inputs.columns_of(name):
            if column < width:
                here[:, column] &= present
    return here


def _fit_one(item: Characteristic, values: Mapping[str, npt.NDArray[np.generic]]) -> Characteristic:
    if item.classes:
        return item
    number = np.asarray(values[item.name], dtype=np.float64)
    number = np.abs(number) if item.absolute else number
    spread = float(np.nanstd(number)) if np.isfinite(number).any() else 0.0
    centre = float(np.nanmean(number)) if np.isfinite(number).any() else 0.0
    return replace(item, centre=centre, scale=spread if spread > 1e-6 else 1.0)
