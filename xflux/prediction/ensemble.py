"""Members as bytes, so that they travel to any worker, and as networks, once a process.

An ``nn.LSTM`` cannot be sent between dask workers; bytes can. A process turns them into networks
the first time it meets them and keeps them under their hash.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from xflux.features import Array, Assembled, Mask, stretches
from xflux.prediction import engines
from xflux.prediction.engines import Choice, Sizes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xflux.prediction.engines import Engine
    from xflux.prediction.transfer import Transfer

_LOCK = threading.Lock()
_ENGINES: dict[tuple[Hashable, ...], Engine] = {}


@dataclass(frozen=True, kw_only=True)
class Members:
    """Weights of all members in one piece, with their hash.

    Attributes
    ----------
    data : bytes
        A safetensors buffer: ``"<member>.<parameter>"`` to tensor.
    sha256 : str
        Hash of ``data``.
    """

    data: bytes
    sha256: str

    def __repr__(self) -> str:
        return f"Members({len(self.data)} bytes, sha256={self.sha256[:12]})"

    def __dask_tokenize__(self) -> str:
        return self.sha256


def pack(members: Sequence[Mapping[str, npt.NDArray[np.generic]]]) -> Members:
    """Put the weights of all members into one buffer; the same weights give the same bytes."""
    from safetensors.numpy import save

    named = {
        f"{number}.{name}": np.ascontiguousarray(values)
        for number, weights in enumerate(members)
        for name, values in sorted(weights.items())
    }
    data = save(named)
    return Members(data=data, sha256=hashlib.sha256(data).hexdigest())


def unpack(members: Members) -> list[dict[str, npt.NDArray[np.generic]]]:
    """The weights of each member by name."""
    from safetensors.numpy import load

    found: dict[int, dict[str, npt.NDArray[np.generic]]] = {}
    for name, values in load(members.data).items():
        number, parameter = name.split(".", 1)
        found.setdefault(int(number), {})[parameter] = values
    return [found[number] for number in sorted(found)]


@functools.lru_cache(maxsize=8)
def sizes_of(members: Members) -> Sizes:
    """Read the sizes of an ensemble from the shapes of its weights."""
    return engines.sizes(unpack(members))


class Memory(NamedTuple):
    """What the members remember of C series, as arrays.

    ``hidden`` and ``cell`` (M, C, H) of the LSTMs, ``sums`` (C, S, A) behind the running means.
    """

    hidden: Array
    cell: Array
    sums: Array


def empty_memory(sizes: Sizes, count: int) -> Memory:
    """The memory of ``count`` series before they begin: zeros."""
    state = (sizes.members, count, sizes.hidden)
    sums = np.zeros((count, sizes.spans, sizes.averaged), dtype=np.float32)
    return Memory(np.zeros(state, dtype=np.float32), np.zeros(state, dtype=np.float32), sums)


def choice_of(members: Members, device: str = "cpu", precision: str = "float32") -> Choice:
    """Which engine predicts with these members, and why; see `xflux.prediction.engines.choose`."""
    sizes = sizes_of(members)
    return engines.choose(device, precision, method=sizes.method, outputs=sizes.outputs)


def engine(members: Members, width: int, device: str, precision: str = "float32") -> Engine:
    """The members ready to predict, built once a process for each device, precision and engine.

    Parameters
    ----------
    members : Members
    width : int
        Columns of the drivers.
    device, precision : str
        As `xflux.prediction.engines.choose` takes them.
    """
    key = (members.sha256, width, device, precision, choice_of(members, device, precision))
    with _LOCK:
        if key not in _ENGINES:
            _ENGINES[key] = engines.build(
                unpack(members), width, device=device, precision=precision
            )
        return _ENGINES[key]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread: blocks run side by side, threads inside them would fight for the cores."""
    import torch

    with _LOCK:
        threads = torch.get_num_threads()
        if threads != 1:
            torch.set_num_threads(1)
    try:
        yield
    finally:
        if threads != 1:
            torch.set_num_threads(threads)


def run(
    members: Members,
    block: Assembled,
    *,
    device: str = "cpu",
    precision: str = "float32",
    memory: Memory | None = None,
    run: npt.NDArray[np.int32] | None = None,
    keep: bool = False,
) -> tuple[Array, Memory | None]:
    """Predict a block: every member over every unbroken stretch of every series.

    A stretch begins with a state of zeros, as in training, unless it goes on from the step before
    the block. Stretches of about the same length go through the network together.

    Parameters
    ----------
    members : Members
    block : Assembled
        C series of T steps.
    device : str
        ``"cpu"`` or ``"cuda"``.
    precision : str
        ``"float32"`` or ``"bfloat16"``.
    memory : Memory, optional
        What is remembered of each series, where this is not the start.
    run : numpy.ndarray, optional
        Shape (C,): steps of the stretch that the memory has seen; 0 for a series whose last step
        was not usable.
    keep : bool
        Give the memory at the end of the block.

    Returns
    -------
    fluxes : numpy.ndarray
        Shape (M, C, T, outputs): GPP and Reco, g m-2 d-1; NaN where ``block.usable`` is false.
    memory : Memory or None
        Zero for a series whose last step is not usable.
    """
    import torch

    from xflux.prediction.transfer import Transfer, alone, one_behind

    count, steps, width = block.drivers.shape
    sizes = sizes_of(members)
    shape = (sizes.members, count, steps, sizes.outputs)
    fluxes = np.full(shape, np.nan, dtype=np.float32)
    kept = empty_memory(sizes, count) if keep else None
    found = stretches(block.usable)
    if not len(found):
        return fluxes, kept
    built = engine(members, width, device, precision)
    found = found[np.argsort(found[:, 2] - found[:, 1], kind="stable")]
    with one_thread(), torch.inference_mode(), alone(built.device):
        transfer, size = Transfer(built.device), built.at_once(steps)
        tiles = (found[first : first + size] for first in range(0, len(found), size))
        pieces = (
            piece
            for tile in tiles
            for piece in _pieces(
                built, transfer, block, tile, _start(sizes, tile, memory, run), keep
            )
        )
        for piece in one_behind(pieces):
            piece.write(fluxes, kept)
    return fluxes, kept


def _start(
    sizes: Sizes,
    tile: npt.NDArray[np.int64],
    memory: Memory | None,
    run: npt.NDArray[np.int32] | None,
) -> tuple[Memory, npt.NDArray[np.float64]]:
    """The memory with which each stretch begins, and how many steps it has seen."""
    row, start, _ = tile.T
    if memory is None or run is None:
        return empty_memory(sizes, len(tile)), np.zeros(len(tile))
    seen = np.where(start == 0, run[row], 0)
    goes_on = (seen > 0).astype(np.float32)[:, None]
    taken = Memory(
        memory.hidden[:, row] * goes_on,
        memory.cell[:, row] * goes_on,
        memory.sums[row] * goes_on[..., None],
    )
    return taken, seen.astype(np.float64)


class _Piece(NamedTuple):
    """Some steps of a tile: what is computed of them, perhaps still on its way from the device.

    Series and step of each flux (B, 1) and (B, L), which of them are there, the fluxes
    (M, B, L, 2), and of the series that end here with the block their rows and their memory.
    """

    row: npt.NDArray[np.int64]
    step: npt.NDArray[np.int64]
    valid: Mask
    fluxes: Callable[[], Array]
    ended: npt.NDArray[np.int64]
    memory: tuple[Callable[[], Array], ...]

    def write(self, fluxes: Array, kept: Memory | None) -> None:
        """Put everything in its place in the block."""
        values = self.fluxes()
        if self.valid.all():
            fluxes[:, self.row, self.step] = values
        else:
            row = np.broadcast_to(self.row, self.step.shape)
            fluxes[:, row[self.valid], self.step[self.valid]] = values[:, self.valid]
        if kept is not None and self.memory:
            hidden, cell, sums = (part() for part in self.memory)
            kept.hidden[:, self.ended], kept.cell[:, self.ended] = hidden, cell
            kept.sums[self.ended] = sums


def _pieces(
    built: Engine,
    transfer: Transfer,
    block: Assembled,
    tile: npt.NDArray[np.int64],
    begin: tuple[Memory, npt.NDArray[np.float64]],
    keep: bool,
) -> Iterator[_Piece]:
    """Run stretches, ordered by length, piece by piece; those that have ended drop out.

    Steps are cut where the engine's stride ends, and where a stretch ends whose memory is kept.
    """
    from xflux.prediction.kernel import Memory as TorchMemory

    row, start, end = tile.T
    length, steps = end - start, block.usable.shape[1]
    edges = {*range(0, int(length[-1]), built.stride), int(length[-1])}
    if keep:
        edges |= {int(n) for n in length[end == steps]}
    state = TorchMemory(*(transfer.send(part) for part in begin[0]))
    seen, fixed = transfer.send(begin[1]), transfer.send(block.characteristics[row])
    gone = 0
    for first, last in itertools.pairwise(sorted(edges)):
        ended = int(np.searchsorted(length, first, side="right")) - gone
        if ended:
            gone += ended
            state = TorchMemory(state.hidden[:, ended:], state.cell[:, ended:], state.sums[ended:])
            seen, fixed = seen[ended:], fixed[ended:]
        here, step = row[gone:, None], start[gone:, None] + np.arange(first, last)
        drivers = transfer.send(block.drivers[here, np.minimum(step, steps - 1)])
        fluxes, state = built.advance(drivers, fixed, state, seen + first)
        done = np.flatnonzero((length[gone:] == last) & (end[gone:] == steps) & keep)
        parts = (state.hidden[:, done], state.cell[:, done], state.sums[done])
        yield _Piece(
            row=here,
            step=step,
            valid=step < end[gone:, None],
            fluxes=transfer.fetch(fluxes),
            ended=row[gone:][done],
            memory=tuple(transfer.fetch(part) for part in parts) if len(done) else (),
        )
