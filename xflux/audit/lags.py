"""Days out of step: a variable whose days are those before or after of the others.

Bright days have a wide range of temperature, dry air and much photosynthesis, on the same day.
Where these go together best a day earlier or later, the days of one of them are shifted, as time
stamps of the end of a day or days of another time zone make them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from xflux.audit import robust
from xflux.audit.blocks import Array, Block, Found, good

SHIFTS = (-2, -1, 0, 1, 2)

LEAST_DAYS = 200
"""Days that a correlation needs: its standard error is then below 0.07."""

MARGIN = {"range": 0.08, "VPD": 0.2, "GPP": 0.15, "NEE": 0.15, "P": 0.1}
"""By how much a shifted correlation must be better. Humidity lags behind the sun by nature, and
fluxes by the growth that sunny days bring, so these need more than the range of temperature."""

STRONG = {"range": 0.25, "VPD": 0.3, "GPP": 0.3, "NEE": 0.3, "P": 0.25}
"""The least correlation of the shifted series."""

VOTE = 0.03
"""Mean gain in correlation of the other series by which they agree."""

LIT = 60.0
"""W m-2 above the air, daily mean, below which days tell nothing about the sun."""


class Lag(NamedTuple):
    """How a series follows the radiation: correlations by shift, and the shift of each entity.

    ``links`` has shape (shifts, N); ``days`` (N,) is `SILENT` where the series tells nothing.
    """

    links: Array
    days: Array


def shifted_days(block: Block) -> Iterator[Found]:
    """Variables whose days go best with the radiation of another day."""
    if block.time.step != "daily" or "SW_IN" not in block.values:
        return
    with np.errstate(invalid="ignore"):
        dull = ~(block.top > LIT)
    sunny = _unusual(block, np.where(dull, np.float32(np.nan), block.values["SW_IN"]))
    lags = {name: _lag(name, sunny, series) for name, series in _followers(block, dull).items()}
    for row in range(block.size):
        moved = {
            n: int(lag.days[row]) for n, lag in lags.items() if lag.days[row] not in (0, SILENT)
        }
        for names, shift, witness in _culprits(row, moved, lags, block):
            links = lags[witness].links[:, row]
            best, plain = links[SHIFTS.index(moved[witness])], links[SHIFTS.index(0)]
            yield Found(
                "shifted days",
                row,
                names,
                *block.there(row, names),
                f"days {abs(shift)} too {'late' if shift > 0 else 'early'}"
                f": correlation of radiation and {WORDS[witness]} {best:.2f} so shifted, "
                f"{plain:.2f} as they are",
                whole=_line(block, names, shift),
            )


SILENT = 99
"""The lag of a series that tells none."""

WORDS = {
    "range": "the range of temperature",
    "VPD": "VPD",
    "GPP": "GPP",
    "NEE": "NEE",
    "P": "precipitation",
}


def _line(block: Block, names: tuple[str, ...], shift: int) -> str:
    called = block.called.get(names[0], names[0])
    return f'ds["{called}"] = ds["{called}"].shift(time={-shift})'


def _followers(block: Block, dull: np.ndarray) -> dict[str, Array]:
    """Series that go with the radiation of their day, each with the sign that makes them rise."""
    values, out = block.values, {}
    if block.has(("TA_MIN", "TA_MAX")):
        out["range"] = values["TA_MAX"] - values["TA_MIN"]
    if "VPD" in values:
        out["VPD"] = values["VPD"]
    if "P" in values:
        out["P"] = -np.sqrt(np.maximum(values["P"], 0))
    for name, sign in (("GPP", 1), ("NEE", -1)):
        if name in values and "TA" in values:
            with np.errstate(invalid="ignore"):
                idle = ~(values["TA"] > 5)
            out[name] = sign * np.where(idle, np.float32(np.nan), good(block, name))
    return {
        name: _unusual(block, np.where(dull, np.float32(np.nan), series))
        for name, series in out.items()
    }


def _unusual(block: Block, values: Array) -> Array:
    """What is left when the season is taken out."""
    return np.asarray(values - block.seasonal(values), dtype=np.float32)


def _lag(name: str, sunny: Array, series: Array) -> Lag:
    """Correlations with the radiation at each shift, and by how many days a series is behind it."""
    steps = sunny.shape[1]
    links = np.full((len(SHIFTS), sunny.shape[0]), np.nan, np.float32)
    for i, shift in enumerate(SHIFTS):
        one = sunny[:, max(0, -shift) : steps - max(0, shift)]
        other = series[:, max(0, shift) : steps - max(0, -shift)]
        links[i] = robust.correlation(one, other, least=LEAST_DAYS)
    known = np.where(np.isfinite(links), links, -2.0)
    best, plain = known.max(axis=0), known[SHIFTS.index(0)]
    sure = (best >= STRONG[name]) & (best - plain >= MARGIN[name])
    at = np.asarray(SHIFTS)[known.argmax(axis=0)]
    days = np.where(sure, at, np.where(plain >= STRONG[name], 0, SILENT))
    return Lag(links, days.astype(np.float32))


def _culprits(
    row: int, moved: Mapping[str, int], lags: Mapping[str, Lag], block: Block
) -> Iterator[tuple[tuple[str, ...], int, str]]:
    """Which variables are shifted, by how much, and the series that shows it.

    Where the other series agree, be it weakly, it is the radiation that is shifted.
    """
    if not moved:
        return
    witness = next(iter(moved))
    shift = moved[witness]
    others = [lag.links[:, row] for name, lag in lags.items() if name != witness]
    votes = [float(links[SHIFTS.index(shift)] - links[SHIFTS.index(0)]) for links in others]
    votes = [vote for vote in votes if np.isfinite(vote)]
    if len(set(moved.values())) == 1 and sum(votes) >= (0 if not votes else VOTE * len(votes)):
        yield ("SW_IN",), -shift, witness
        return
    if "GPP" in moved or "NEE" in moved:
        witness = "GPP" if "GPP" in moved else "NEE"
        yield block.those(("GPP", "Reco", "NEE")), moved[witness], witness
    if "range" in moved:
        yield block.those(("TA", "TA_MIN", "TA_MAX")), moved["range"], "range"
    for name in ("VPD", "P"):
        if name in moved:
            yield (name,), moved[name], name
