"""The same tower twice: series that stand under two names, moved in time or with a little noise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from xflux.audit.blocks import Array, Block, Whole
from xflux.audit.days import daily
from xflux.audit.repeats import alive_share, marks_of, telling, window_of
from xflux.cf.variables import BY_NAME

WATCHED = ("TA", "SW_IN", "VPD", "NEE", "GPP", "Reco")
"""Series that differ between any two places; leaves may come from one pixel, rain from one
gauge."""

SHARE = 64
"""One in so many windows is kept. Which ones is decided by their values, so the same windows are
kept of a copy, wherever it stands in time (winnowing by content: Schleimer et al. 2003,
doi:10.1145/872757.872770)."""

SAME, MOST = 3, 0.5
"""Windows that two entities must share at one lag to be named at all, and the share of all
windows of the shorter record that makes them one tower. Less is a gap filled from one source."""

ALIKE = {"TA": 0.998, "SW_IN": 0.998, "NEE": 0.985, "GPP": 0.985}
"""Correlation of days, the season taken out, from which on two series are one. Towers some
hundred metres apart share their weather to about 0.999 in one variable, but not in two, and their
fluxes to 0.9: two drivers or one flux must agree."""

CLOSE = {"TA": 0.1, "SW_IN": 6.0, "NEE": 0.35, "GPP": 0.35}
"""Median difference between two such series, in their unit, apart from a constant one."""

THIN, ALIKE_DAYS = 3, 60
"""Each third day is compared, and so many of them must be there."""

NEAR_KM = 1.0

EARTH_KM = 6371.0


class Prints(NamedTuple):
    """What is kept of each entity to compare it with those of other blocks."""

    marks: npt.NDArray[np.uint64]
    rows: Whole
    steps: Whole
    kinds: Whole
    days: dict[str, Array]
    places: npt.NDArray[np.float64]
    entities: Whole


class Pair(NamedTuple):
    """Two entities that are one: positions in C order, names, lag in steps, words."""

    kind: str
    one: int
    other: int
    names: tuple[str, ...]
    words: str


def prints_of(block: Block) -> Prints:
    """Sampled windows of the series, their daily anomalies and their places."""
    window = window_of(block)
    marks, rows, steps, kinds = [], [], [], []
    for number, name in enumerate(WATCHED):
        if name not in block.values or block.time.times.size <= window:
            continue
        found = marks_of(block, name)
        keep = telling(block.values[name], window, alive=alive_share(block)) & (
            found % np.uint64(SHARE) == 0
        )
        row, step = np.nonzero(keep)
        marks.append(found[row, step] ^ np.uint64(number * 0x9E3779B1))
        rows.append(block.rows[row])
        steps.append(step)
        kinds.append(np.full(row.size, number))
    view = daily(block) if block.time.step == "sub-daily" else block
    days = {name: _days(view, name) for name in view.those(tuple(ALIKE))}
    places = np.stack([block.number("lat"), block.number("lon")], axis=1)
    empty = np.zeros(0, np.int64)
    return Prints(
        np.concatenate(marks) if marks else np.zeros(0, np.uint64),
        np.concatenate(rows) if rows else empty,
        np.concatenate(steps) if steps else empty,
        np.concatenate(kinds) if kinds else empty,
        days,
        places,
        block.rows,
    )


def _days(view: Block, name: str) -> Array:
    """Days without their season, what cannot be (fill values, other units) left out, thinned."""
    row, values = BY_NAME[name], view.values[name]
    with np.errstate(invalid="ignore"):
        values = np.where((values >= row.low) & (values <= row.high), values, np.float32(np.nan))
    return np.asarray(values - view.seasonal(values), dtype=np.float32)[:, ::THIN]


def twins(prints: list[Prints], hours: float) -> Iterator[Pair]:
    """Pairs of entities that hold one record.

    Parameters
    ----------
    prints : list of Prints
        Of every block.
    hours : float
        Length of a step, to say how far a copy is moved.
    """
    found: set[tuple[int, int]] = set()
    places = np.concatenate([p.places for p in prints])
    entities = np.concatenate([p.entities for p in prints])
    at = {int(entity): i for i, entity in enumerate(entities)}
    for one, other, lag, shares, watched in _shared_windows(prints):
        share, names = max(shares.values()), tuple(shares)
        whole = {name for name, part in shares.items() if part > MOST}
        moved = "" if lag == 0 else f", moved by {abs(lag) * hours:g} hours"
        apart = _apart(places[at[one]], places[at[other]])
        words = f"the same values in about {100 * share:.0f} % of the shorter record{moved}{apart}"
        if len(whole) >= min(2, watched) or whole & {"NEE", "GPP", "Reco"}:
            found.add((one, other))
            yield Pair("same tower twice", one, other, names, words)
        else:
            yield Pair("shared stretch", one, other, names, words)
    for pair in _alike(prints, places, entities):
        if (pair.one, pair.other) not in found:
            found.add((pair.one, pair.other))
            yield pair
    for one, other, km in _neighbours(places, entities):
        if (one, other) not in found:
            words = f"{1000 * km:.0f} m apart, with records of their own"
            yield Pair("near neighbours", one, other, ("lat", "lon"), words)


def _shared_windows(
    prints: list[Prints],
) -> Iterator[tuple[int, int, int, dict[str, float], int]]:
    """Pairs with windows in common: entities, lag in steps, shares, variables of both."""
    marks = np.concatenate([p.marks for p in prints])
    rows = np.concatenate([p.rows for p in prints])
    steps = np.concatenate([p.steps for p in prints])
    kinds = np.concatenate([p.kinds for p in prints])
    held: dict[tuple[int, int], int] = {}
    for at in zip(rows.tolist(), kinds.tolist(), strict=True):
        held[at] = held.get(at, 0) + 1
    order = np.argsort(marks, kind="stable")
    marks, rows, steps, kinds = marks[order], rows[order], steps[order], kinds[order]
    hits: dict[tuple[int, int], dict[tuple[int, int], int]] = {}
    for ahead in (1, 2):
        same = np.flatnonzero((marks[ahead:] == marks[:-ahead]) & (rows[ahead:] != rows[:-ahead]))
        for i in same.tolist():
            a, b = (i, i + ahead) if rows[i] < rows[i + ahead] else (i + ahead, i)
            pair = hits.setdefault((int(rows[a]), int(rows[b])), {})
            key = (int(kinds[a]), int(steps[b] - steps[a]))
            pair[key] = pair.get(key, 0) + 1
    for (one, other), counts in sorted(hits.items()):
        counts = {key: count for key, count in counts.items() if count >= SAME}
        if not counts:
            continue
        lag = max(counts, key=lambda key: counts[key])[1]
        shares = {
            WATCHED[kind]: min(1.0, count / min(held[one, kind], held[other, kind]))
            for (kind, moved), count in sorted(counts.items())
            if moved == lag
        }
        both = [k for k in range(len(WATCHED)) if (one, k) in held and (other, k) in held]
        yield one, other, lag, shares, len(both)


def _alike(
    prints: list[Prints], places: npt.NDArray[np.float64], entities: Whole
) -> Iterator[Pair]:
    """Pairs whose days hardly differ, by correlation of all with all."""
    votes: dict[tuple[int, int], dict[str, tuple[float, float]]] = {}
    watched = [name for name in ALIKE if all(name in p.days for p in prints)]
    for name in watched:
        for i, j, link, off in _close_pairs(np.concatenate([p.days[name] for p in prints]), name):
            votes.setdefault((i, j), {})[name] = (link, off)
    for (i, j), names in sorted(votes.items()):
        if len(names) < min(2, len(watched)) and not {"NEE", "GPP"} & set(names):
            continue
        words = "; ".join(
            f"days of {name} correlate with {link:.4f} and differ by {off:.2g} in the median"
            for name, (link, off) in names.items()
        )
        one, other = sorted((int(entities[i]), int(entities[j])))
        apart = _apart(places[i], places[j])
        yield Pair("same tower twice", one, other, tuple(names), f"{words}{apart}")


def _close_pairs(days: Array, name: str) -> Iterator[tuple[int, int, float, float]]:
    """Pairs of rows with nearly the same days: correlation and median difference."""
    there = np.isfinite(days)
    value = np.where(there, days, 0.0).astype(np.float32)
    mask = there.astype(np.float32)
    count = mask @ mask.T
    both, square, total = value @ value.T, (value**2) @ mask.T, value @ mask.T
    with np.errstate(invalid="ignore", divide="ignore"):
        cross = both - total * total.T / count
        own = square - total**2 / count
        link = cross / np.sqrt(own * own.T)
        near = np.triu((count >= ALIKE_DAYS) & (link > ALIKE[name]), k=1)
    for i, j in zip(*np.nonzero(near), strict=True):
        gap = (days[i] - days[j])[there[i] & there[j]]
        off = float(np.median(np.abs(gap - np.median(gap))))
        if off <= CLOSE[name]:
            yield int(i), int(j), float(link[i, j]), off


def _distance(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """Kilometres between two places in degrees, by the haversine formula."""
    (a, b), (c, d) = np.radians(one), np.radians(other)
    part = np.sin((c - a) / 2) ** 2 + np.cos(a) * np.cos(c) * np.sin((d - b) / 2) ** 2
    return float(2 * EARTH_KM * np.arcsin(np.sqrt(np.clip(part, 0, 1))))


def _apart(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> str:
    km = _distance(one, other)
    return f", {km:.3g} km apart" if np.isfinite(km) else ""


def _neighbours(
    places: npt.NDArray[np.float64], entities: Whole
) -> Iterator[tuple[int, int, float]]:
    """Pairs that lie within `NEAR_KM`."""
    from scipy.spatial import cKDTree

    known = np.flatnonzero(np.isfinite(places).all(axis=1) & (np.abs(places) > 0).any(axis=1))
    if known.size < 2:
        return
    lat, lon = np.radians(places[known]).T
    points = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)
    for i, j in sorted(cKDTree(points).query_pairs(NEAR_KM / EARTH_KM)):
        one, other = sorted((int(entities[known[i]]), int(entities[known[j]])))
        yield one, other, _distance(places[known[i]], places[known[j]])
