"""What is done to a piece of a series: to xflux's unit, then to days, or from days to months."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xflux import features
from xflux.cf.aggregation import Statistic, aggregate
from xflux.cf.derived import vapour_pressure_deficit
from xflux.cf.schema import Match
from xflux.drivers import accumulation
from xflux.drivers.packing import Packing
from xflux.drivers.times import DAY, HOUR, Whole
from xflux.errors import DataError
from xflux.features import Array
from xflux.training.towers import in_unit

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Source:
    """One variable of the input, and how its numbers become a series in xflux's unit.

    Attributes
    ----------
    match : Match
    dims : tuple of str
        Of its arrays.
    packing : Packing, optional
        Numbers as a satellite product stores them.
    ends : bool
        Each value speaks of the step before its stamp.
    runs : bool
        Amounts run since 00 UTC.
    """

    match: Match
    dims: tuple[str, ...]
    packing: Packing | None = None
    ends: bool = False
    runs: bool = False

    def lay_out(self, array: npt.NDArray[np.generic], layout: tuple[str, ...]) -> Values:
        """Its numbers as they are in double precision, time first, NaN where masked."""
        ordered = np.transpose(array, [self.dims.index(dim) for dim in layout])
        number = np.ma.filled(np.ma.asarray(ordered, dtype=np.float64), np.nan)
        return number if self.packing is None else self.packing.unpack(number)

    def in_unit(self, number: Values, days: Values | float) -> Values:
        """In xflux's unit; ``days`` is the length of the steps."""
        return in_unit(number, self.match.conversion, days)


@dataclass(frozen=True, kw_only=True)
class Same:
    """Steps as they are: units alone, and VPD from what it follows from.

    Attributes
    ----------
    name : str
        Of the output.
    sources : tuple of Source
    layout : tuple of str
        Time, then the entities.
    days : numpy.ndarray
        Length of each step, shape (T,).
    """

    name: str
    sources: tuple[Source, ...]
    layout: tuple[str, ...]
    days: Values

    def __call__(
        self, arrays: Sequence[npt.NDArray[np.generic]], steps: slice, out: slice
    ) -> Array:
        """The same steps in xflux's unit."""
        days = self.days[steps].reshape(-1, *(1,) * (len(self.layout) - 1))
        series = {
            source.match.name: source.in_unit(source.lay_out(array, self.layout), days)
            for source, array in zip(self.sources, arrays, strict=True)
        }
        return checked(self.name, self.sources, _only(self.name, self.sources, series))


@dataclass(frozen=True, kw_only=True)
class Days:
    """Sub-daily steps to days.

    Attributes
    ----------
    name, sources, layout
        As of `Same`. Where days are local, one more array comes last, the hours ahead of UTC.
    time : numpy.ndarray
        Stamps of the input, microseconds, shape (T,).
    days : numpy.ndarray
        The days to make, shape (G,).
    per_day : int
        Steps a day has.
    how : str
        Mean, minimum or maximum of a day.
    least : float
        Values that a day needs.
    hours : float, optional
        Hours ahead of UTC where they are the same everywhere; else they come as an array.
    """

    name: str
    sources: tuple[Source, ...]
    layout: tuple[str, ...]
    time: Whole
    days: Whole
    per_day: int
    how: Statistic
    least: float
    hours: float | None

    def __call__(
        self, arrays: Sequence[npt.NDArray[np.generic]], steps: slice, out: slice
    ) -> Array:
        """Days ``out`` from steps ``steps``."""
        time, days = self.time[steps], self.days[out]
        series = {
            source.match.name: self._series(source, array, time)
            for source, array in zip(self.sources, arrays, strict=False)
        }
        values = _only(self.name, self.sources, series)
        flat = values.reshape(len(values), -1)
        found = np.full((len(days), flat.shape[1]), np.nan)
        for hours, here in self._zones(arrays, flat.shape[1]):
            codes = (time - int(self.sources[0].ends) + round(hours * HOUR)) // DAY
            present, reduced = aggregate(flat[:, here], codes, self.how, self.least)
            wanted = np.isin(present, days)
            rows = np.searchsorted(days, present[wanted])
            found[rows[:, None], here] = reduced[wanted]
        return checked(self.name, self.sources, found.reshape(len(days), *values.shape[1:]))

    def _series(self, source: Source, array: npt.NDArray[np.generic], time: Whole) -> Values:
        number = source.lay_out(array, self.layout)
        if source.match.conversion.per_step and source.ends:
            shown = accumulation.evidence(source.match.name, number, time)
            if shown is not None and shown != source.runs:
                raise DataError(accumulation.contradiction(source.match.variable, shown))
            if source.runs:
                number = accumulation.amounts(number, time, DAY // self.per_day)
        return source.in_unit(number, 1.0 / self.per_day)

    def _zones(
        self, arrays: Sequence[npt.NDArray[np.generic]], cells: int
    ) -> list[tuple[float, npt.NDArray[np.intp]]]:
        """Hours ahead of UTC that occur, and the cells in which they do."""
        if self.hours is not None:
            return [(self.hours, np.arange(cells))]
        ahead = np.asarray(arrays[-1], dtype=np.float64).ravel()
        occurring = np.unique(ahead[np.isfinite(ahead)])
        return [(float(hours), np.flatnonzero(ahead == hours)) for hours in occurring]


@dataclass(frozen=True, kw_only=True)
class Months:
    """Days to months, of one variable in xflux's unit.

    Attributes
    ----------
    of_day : numpy.ndarray
        The month of each day, shape (T,).
    months : numpy.ndarray
        The months to make, shape (G,).
    least : numpy.ndarray
        Days that each of them needs, shape (G,).
    """

    name: str
    of_day: Whole
    months: Whole
    least: Values
    how: Statistic

    def __call__(
        self, arrays: Sequence[npt.NDArray[np.generic]], steps: slice, out: slice
    ) -> Array:
        """Months ``out`` from days ``steps``."""
        months = self.months[out]
        values = np.asarray(arrays[0], dtype=np.float64)
        found = np.full((len(months), *values.shape[1:]), np.nan)
        of_day = self.of_day[steps]
        inside = np.isin(of_day, months)
        if inside.any():
            rows = np.searchsorted(months, np.unique(of_day[inside]))
            least = self.least[out][rows]
            found[rows] = aggregate(values[inside], of_day[inside], self.how, least)[1]
        return found.astype(np.float32)


def _only(name: str, sources: Sequence[Source], series: dict[str, Values]) -> Values:
    """The one series there is, or VPD from the several."""
    if len(sources) == 1:
        return series[sources[0].match.name]
    problems = [
        text
        for source in sources
        if (
            text := features.out_of_range(
                source.match.name,
                source.match.variable,
                series[source.match.name].astype(np.float32),
            )
        )
    ]
    if problems:
        raise DataError("; ".join(problems))
    return np.asarray(vapour_pressure_deficit(series), dtype=np.float64)


def checked(name: str, sources: Sequence[Source], values: Values) -> Array:
    """Values as they are written, or an error where they cannot be."""
    found = values.astype(np.float32)
    if len(sources) == 1:
        problem = features.out_of_range(name, sources[0].match.variable, found)
        if problem:
            raise DataError(problem)
    return found
