"""What one block hands on to the next in time: all that crosses the edge of a chunk.

Inside a run the memory of the network is held for those entities alone that have one, so the sea
takes no room; to be written it becomes whole arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from xflux import features
from xflux.features import Array, Inputs, Mask
from xflux.prediction.engines import Sizes
from xflux.prediction.ensemble import Members, Memory, empty_memory, sizes_of

Dense = dict[str, npt.NDArray[np.generic]]


class Layout(NamedTuple):
    """One variable of the state: dimensions before and after those of entities, and its type."""

    before: tuple[str, ...]
    after: tuple[str, ...]
    dtype: type[np.generic]


VARIABLES = {
    "hidden_state": Layout(("member",), ("unit",), np.float32),
    "cell_state": Layout(("member",), ("unit",), np.float32),
    "driver_sums": Layout((), ("span", "driver"), np.float32),
    "recent_drivers": Layout((), ("driver", "lag"), np.float32),
    "run_length": Layout((), (), np.int32),
    "interrupted": Layout((), (), np.int8),
}
"""The variables of a state."""


class Carried(NamedTuple):
    """The state of N entities between two chunks of time.

    Attributes
    ----------
    memory : Memory
        Of the entities whose ``run`` is not 0, in their order.
    recent : numpy.ndarray
        Shape (N, A, GAP_LIMIT): the last values of each driver, in xflux's units.
    run : numpy.ndarray
        Shape (N,): steps of the unbroken stretch that ends here, 0 where the last step was not
        usable.
    interrupted : numpy.ndarray
        Shape (N,): there was a gap inside the series.
    """

    memory: Memory
    recent: Array
    run: npt.NDArray[np.int32]
    interrupted: Mask

    def before(self, cells: npt.NDArray[np.int64]) -> Memory:
        """The memory of some entities, zeros for those that have none."""
        rank = np.cumsum(self.run > 0) - 1
        has = np.flatnonzero(self.run[cells] > 0)
        taken = rank[cells[has]]
        members, _, hidden = self.memory.hidden.shape
        _, spans, averaged = self.memory.sums.shape
        found = empty_memory(Sizes(members, hidden, spans, averaged), len(cells))
        found.hidden[:, has] = self.memory.hidden[:, taken]
        found.cell[:, has] = self.memory.cell[:, taken]
        found.sums[has] = self.memory.sums[taken]
        return found

    def dense(self, shape: tuple[int, ...]) -> Dense:
        """Whole arrays with the dimensions of `VARIABLES`; NaN where there is no memory."""
        on = self.run > 0
        members, _, hidden = self.memory.hidden.shape
        _, spans, averaged = self.memory.sums.shape
        wide = {
            "hidden_state": np.full((members, len(on), hidden), np.nan, dtype=np.float32),
            "cell_state": np.full((members, len(on), hidden), np.nan, dtype=np.float32),
            "driver_sums": np.full((len(on), spans, averaged), np.nan, dtype=np.float32),
        }
        wide["hidden_state"][:, on] = self.memory.hidden
        wide["cell_state"][:, on] = self.memory.cell
        wide["driver_sums"][on] = self.memory.sums
        return {
            "hidden_state": wide["hidden_state"].reshape(members, *shape, hidden),
            "cell_state": wide["cell_state"].reshape(members, *shape, hidden),
            "driver_sums": wide["driver_sums"].reshape(*shape, spans, averaged),
            "recent_drivers": self.recent.reshape(*shape, *self.recent.shape[1:]),
            "run_length": self.run.reshape(shape),
            "interrupted": self.interrupted.astype(np.int8).reshape(shape),
        }


def beginning(inputs: Inputs, members: Members, count: int) -> Carried:
    """The state of ``count`` entities before their series begin."""
    recent = (count, len(inputs.drivers), features.GAP_LIMIT[inputs.time_step])
    return Carried(
        empty_memory(sizes_of(members), 0),
        np.full(recent, np.nan, dtype=np.float32),
        np.zeros(count, dtype=np.int32),
        np.zeros(count, dtype=bool),
    )


def from_dense(dense: Mapping[str, npt.NDArray[np.generic]]) -> Carried:
    """Take whole arrays, as `Carried.dense` gives them, back to a state."""
    run = np.asarray(dense["run_length"])
    count, on = run.size, run.reshape(-1) > 0

    def flat(name: str) -> Array:
        values = np.asarray(dense[name], dtype=np.float32)
        lead, tail = len(VARIABLES[name].before), len(VARIABLES[name].after)
        shape = values.shape
        return values.reshape(*shape[:lead], count, *shape[len(shape) - tail :])

    return Carried(
        Memory(flat("hidden_state")[:, on], flat("cell_state")[:, on], flat("driver_sums")[on]),
        flat("recent_drivers"),
        run.reshape(-1).astype(np.int32),
        np.asarray(dense["interrupted"]).reshape(-1) > 0,
    )


def to_bytes(state: Carried) -> bytes:
    """A state as bytes, for a file; none at all where it is that of a beginning."""
    from safetensors.numpy import save

    recent = np.isfinite(state.recent).any()
    if not (state.run.any() or state.interrupted.any() or recent):
        return b""
    arrays = {**state.memory._asdict(), **state._asdict()}
    del arrays["memory"]
    return save({name: np.ascontiguousarray(values) for name, values in arrays.items()})


def from_bytes(data: bytes) -> Carried | None:
    """The state that `to_bytes` has written; None for that of a beginning."""
    from safetensors.numpy import load

    if not data:
        return None
    arrays = load(data)
    memory = Memory(*(arrays.pop(name) for name in Memory._fields))
    return Carried(memory=memory, **arrays)
