"""Blocks of entities over all time: what a check sees, in xflux's units.

The values of a block are its own copy. What a check has found to be wrong is set aside, made
missing, so that the checks after it do not find the same fault again under another name.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from xflux.audit import robust, sun
from xflux.audit.timeline import Timeline
from xflux.cf.schema import Schema
from xflux.cf.units import Conversion

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Whole = npt.NDArray[np.int64]

BUDGET = 24_000_000
"""Values of one block, all variables together: about 100 MB, and a few times that while it is
looked at."""

FILLS: tuple[float, ...] = (
    -9999.0,
    -9999.9,
    -99999.0,
    -999.0,
    -999.9,
    -6999.0,
    -7777.0,
    -8888.0,
    -32768.0,
    9999.0,
)
FILLS += (99999.0, 999999.0, 32767.0, 65535.0, 1e20, 9.969209968386869e36, 1e36)
"""Numbers that files use for "no value", by habit or by the conventions of netCDF and FLUXNET."""

WARM = 10.0
"""Degrees Celsius above which plants and soil are active: half way up the usual ramps."""


class Fills(NamedTuple):
    """Where fill numbers stand: rows, steps and the numbers, as the Dataset has them."""

    rows: Whole
    steps: Whole
    numbers: npt.NDArray[np.float64]


class Found(NamedTuple):
    """What a check tells of one entity of its block; the rest of a finding follows from it."""

    kind: str
    row: int
    names: tuple[str, ...]
    first: int
    last: int
    evidence: str
    line: str = ""
    whole: str = ""
    severity: str = ""


def ends(steps: Whole) -> tuple[int, int]:
    """The first and the last of some steps in order."""
    return int(steps[0]), int(steps[-1])


@dataclass(kw_only=True)
class Block:
    """Some entities over all time.

    Attributes
    ----------
    time : Timeline
    values : dict of str to numpy.ndarray
        Shape (N, T) each, by xflux's name and in xflux's unit.
    raw_fills : dict of str to Fills
        Where the Dataset holds a number of `FILLS`.
    numbers, classes : dict
        Characteristics, shape (N,) each: numbers with NaN where unknown, and text.
    rows : numpy.ndarray
        Position of each entity in C order of the entity dimensions.
    called : mapping of str to str
        xflux's name of a variable to the Dataset's.
    methods, raw_units : mapping of str to str
        The attributes ``cell_methods`` and ``units`` by xflux's name.
    marks : dict of str to numpy.ndarray
        Fingerprints of windows, kept for the checks that compare them.
    """

    time: Timeline
    values: dict[str, Array]
    numbers: dict[str, npt.NDArray[np.float64]]
    classes: dict[str, npt.NDArray[np.str_]]
    rows: Whole
    called: Mapping[str, str]
    methods: Mapping[str, str] = field(default_factory=dict)
    raw_fills: dict[str, Fills] = field(default_factory=dict)
    raw_units: Mapping[str, str] = field(default_factory=dict)
    marks: dict[str, npt.NDArray[np.uint64]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Entities of the block."""
        return int(self.rows.size)

    def has(self, names: Sequence[str]) -> bool:
        """Whether all of these variables are there."""
        return all(name in self.values for name in names)

    def those(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of some variables that are there."""
        return tuple(name for name in names if name in self.values)

    def number(self, name: str) -> npt.NDArray[np.float64]:
        """A characteristic, NaN where it is not known, shape (N,)."""
        return self.numbers.get(name, np.full(self.size, np.nan))

    @cached_property
    def top(self) -> Array:
        """Daily mean radiation above the air, W m-2, shape (N, T); NaN without a latitude."""
        days, back = np.unique(self.time.day, return_inverse=True)
        with np.errstate(invalid="ignore"):
            return sun.daily_top(self.number("lat"), days)[:, back.ravel()]

    def seasonal(self, values: Array, *, least: int = 5) -> Array:
        """Median by half-month (month) of the year over all years, at each step, shape (N, T)."""
        part = self.time.month - 1
        if self.time.step != "monthly":
            part = np.minimum((self.time.day - 1) // 15.25, 23).astype(np.int64)
        else:
            least = 1
        out = np.full(values.shape, np.nan, np.float32)
        for number in np.unique(part):
            here = part == number
            out[:, here] = robust.median(values[:, here], least=least)[:, None]
        return out

    def bounds(self, mask: Mask) -> tuple[int, int]:
        """First and last step of a mask over steps, shape (T,); the whole axis if it is empty."""
        steps = np.flatnonzero(mask)
        return ends(steps) if steps.size else (0, mask.size - 1)

    def there(self, row: int, names: Sequence[str]) -> tuple[int, int]:
        """First and last step at which one of these variables has a value."""
        some = np.zeros(self.time.times.size, dtype=bool)
        for name in names:
            if name in self.values:
                some |= np.isfinite(self.values[name][row])
        return self.bounds(some)

    def set_aside(self, row: int, names: Sequence[str]) -> None:
        """Make variables of an entity missing for the checks that follow."""
        for name in names:
            if name in self.values:
                self.values[name][row] = np.nan


def good(block: Block, name: str) -> Array:
    """A flux where it was measured, as far as NEE_QC tells."""
    values = block.values[name]
    if "NEE_QC" not in block.values:
        return values
    with np.errstate(invalid="ignore"):
        return np.where(block.values["NEE_QC"] < 0.5, np.float32(np.nan), values)


def read_blocks(
    ds: xr.Dataset, schema: Schema, line: Timeline, *, chosen: Whole | None = None
) -> Iterator[Block]:
    """Walk the entities of a Dataset block by block, each over all time, in xflux's units.

    Parameters
    ----------
    ds : xr.Dataset
    schema : Schema
        What was understood of it; variables that were not understood are left out.
    line : Timeline
        The complete axis onto which steps are put.
    chosen : numpy.ndarray, optional
        Look at these entities only, positions in C order.

    Yields
    ------
    Block
    """
    assert schema.time_dim is not None
    matches = {
        name: match
        for name, match in schema.matches.items()
        if match.role != "characteristic" and schema.time_dim in ds[match.variable].dims
    }
    called = {name: match.variable for name, match in schema.matches.items()}
    methods = {n: str(ds[v].attrs.get("cell_methods", "")) for n, v in called.items()}
    units = {n: str(m.units or "") for n, m in schema.matches.items()}
    dims = schema.entity_dims
    most = max(1, BUDGET // max(line.times.size * max(len(matches), 1), 1))
    sizes = tuple(ds.sizes[dim] for dim in dims)
    for tile in _tiles(ds, [m.variable for m in matches.values()], dims, most):
        rows = _rows(sizes, tile)
        wanted = np.ones(rows.size, bool) if chosen is None else np.isin(rows, chosen)
        if not wanted.any():
            continue
        part = ds.isel(dict(zip(dims, tile, strict=True)))
        block = Block(
            time=line,
            values={},
            numbers={},
            classes={},
            rows=rows[wanted],
            called=called,
            methods=methods,
            raw_units=units,
        )
        loaded = part[[m.variable for m in matches.values()]].load()
        for name, match in matches.items():
            shape = {dim: part.sizes[dim] for dim in (*dims, schema.time_dim)}
            array = _flat(loaded[match.variable], shape)[wanted]
            block.raw_fills[name] = _fills(array, line.place)
            block.values[name] = _canonical(array, match.conversion, line)
        _characteristics(part, schema, block, wanted)
        yield block


def _tiles(
    ds: xr.Dataset, variables: list[str], dims: tuple[str, ...], most: int
) -> Iterator[tuple[slice, ...]]:
    """Boxes of entities along whole chunks, with no more than ``most`` entities where possible."""
    length = {}
    for dim in dims:
        chunks = [ds[v].chunksizes[dim][0] for v in variables if dim in ds[v].chunksizes]
        length[dim] = max(min(chunks, default=ds.sizes[dim]), 1)
    while (held := int(np.prod(list(length.values()), dtype=np.int64))) > most and held > 1:
        longest = max(length, key=lambda dim: length[dim])
        length[longest] = (length[longest] + 1) // 2
    for dim in reversed(dims):
        held = int(np.prod(list(length.values()), dtype=np.int64))
        length[dim] = min(length[dim] * max(1, most // max(held, 1)), max(ds.sizes[dim], 1))
    spans = [
        [
            slice(i, min(i + length[dim], ds.sizes[dim]))
            for i in range(0, ds.sizes[dim], length[dim])
        ]
        for dim in dims
    ]
    yield from itertools.product(*spans)


def _rows(sizes: tuple[int, ...], tile: tuple[slice, ...]) -> Whole:
    """Positions in C order of the entities of a tile."""
    index = [np.arange(part.start, part.stop) for part in tile]
    grid = np.meshgrid(*index, indexing="ij") if index else []
    return np.ravel_multi_index(grid, sizes).ravel() if index else np.zeros(1, np.int64)


def _flat(array: xr.DataArray, shape: dict[str, int]) -> npt.NDArray[np.float64]:
    """Values as (entities, time), missing where a mask says so."""
    full = array.variable.set_dims(
        {**{d: n for d, n in shape.items() if d not in array.dims}, **dict(array.sizes)}
    )
    values = full.transpose(*shape).values
    flat = np.ma.filled(np.ma.asarray(values, dtype=np.float64), np.nan)
    return np.asarray(flat.reshape(-1, flat.shape[-1]))


def _fills(array: npt.NDArray[np.float64], place: Whole) -> Fills:
    """Where one of `FILLS` stands, in the Dataset's own unit."""
    single = np.isin(array, FILLS) | np.isin(
        array, np.asarray(FILLS, np.float32).astype(np.float64)
    )
    single &= (place >= 0)[None]
    rows, steps = np.nonzero(single)
    return Fills(rows.astype(np.int64), place[steps], array[rows, steps])


def _canonical(
    array: npt.NDArray[np.float64], rule: tuple[float, float, bool], line: Timeline
) -> Array:
    """In xflux's unit on the complete axis; infinite values stay, to be found."""
    factor, offset, per_step = rule
    with np.errstate(over="ignore"):
        number = array * factor + offset
        out = np.full((array.shape[0], line.times.size), np.nan, np.float32)
        out[:, line.place[line.place >= 0]] = number[:, line.place >= 0]
    if per_step:
        days = line.hours / 24
        out /= np.float32(days) if line.step != "monthly" else _month_days(line)
    return out


def _month_days(line: Timeline) -> Array:
    return np.asarray(xr.DataArray(line.times, dims="t").dt.days_in_month.values, np.float32)


def _characteristics(part: xr.Dataset, schema: Schema, block: Block, wanted: Mask) -> None:
    """Numbers and classes of the entities of a block; what changes in time is left out."""
    shape = {dim: part.sizes[dim] for dim in schema.entity_dims}
    sources = {n: (m.variable, m.conversion) for n, m in schema.matches.items()
               if m.role == "characteristic"}  # fmt: skip
    if "utc_offset" in part.variables:
        sources.setdefault("utc_offset", ("utc_offset", Conversion(1.0)))
    for name, (variable, rule) in sources.items():
        array = part[variable]
        if schema.time_dim in array.dims:
            array = array.isel({schema.time_dim: 0}, drop=True)
        if not set(array.dims) <= set(shape):
            continue
        full = array.variable.set_dims(
            {**{d: n for d, n in shape.items() if d not in array.dims}, **dict(array.sizes)}
        )
        values = np.asarray(full.transpose(*shape).values).reshape(-1)[wanted]
        if values.dtype.kind in "fiu" and name not in ("igbp", "climate"):
            block.numbers[name] = values.astype(np.float64) * rule[0] + rule[1]
        elif values.dtype.kind in "OUS":
            text = [v.decode() if isinstance(v, bytes) else str(v) for v in values.tolist()]
            block.classes[name] = np.char.strip(np.array(text, dtype=str))
