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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from xflux.features import Array, Assembled, stretches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xflux.prediction.kernel import Engine
    from xflux.prediction.kernel import Memory as TorchMemory

TILE = 64
"""Series that go through the network together: few enough to stay in the cache. Up to eight times
as many where there are few steps."""

_LOCK = threading.Lock()
_ENGINES: dict[tuple[str, int, str], Engine] = {}


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


class Sizes(NamedTuple):
    """Sizes of an ensemble: members, hidden units, spans, drivers that are averaged, outputs."""

    members: int
    hidden: int
    spans: int
    averaged: int
    outputs: int = 2


@functools.lru_cache(maxsize=8)
def sizes_of(members: Members) -> Sizes:
    """Read the sizes of an ensemble from the shapes of its weights."""
    found = unpack(members)
    first = found[0]
    spans = len(first["running.spans"])
    joined = first["recurrent.lstm.weight_ih_l0"].shape[1]
    averaged = (first["direct.first.weight"].shape[1] - joined) // spans
    outputs, hidden = first["recurrent.heads.weight"].shape
    return Sizes(len(found), hidden, spans, averaged, outputs)


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


def engine(members: Members, width: int, device: str) -> Engine:
    """The members ready to predict on a device, built once a process.

    Parameters
    ----------
    members : Members
    width : int
        Columns of the drivers.
    device : str
    """
    import torch

    from xflux.networks import from_weights
    from xflux.prediction.kernel import Engine

    key = (members.sha256, width, device)
    with _LOCK:
        if key not in _ENGINES:
            built = []
            for weights in unpack(members):
                network = from_weights({n: torch.from_numpy(v.copy()) for n, v in weights.items()})
                built.append(network.to(device).eval().requires_grad_(False))
            _ENGINES[key] = Engine(built, drivers=width)
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

    count, steps, width = block.drivers.shape
    sizes = sizes_of(members)
    shape = (sizes.members, count, steps, sizes.outputs)
    fluxes = np.full(shape, np.nan, dtype=np.float32)
    kept = empty_memory(sizes, count) if keep else None
    found = stretches(block.usable)
    if not len(found):
        return fluxes, kept
    built = engine(members, width, device)
    found = found[np.argsort(found[:, 2] - found[:, 1], kind="stable")]
    size = TILE * max(1, min(8, built.stride // steps)) if device == "cpu" else len(found)
    with one_thread(), torch.inference_mode():
        for first in range(0, len(found), size):
            tile = found[first : first + size]
            _tile(built, block, tile, fluxes, _start(sizes, tile, memory, run), kept)
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


def _tile(
    built: Engine,
    block: Assembled,
    tile: npt.NDArray[np.int64],
    fluxes: Array,
    begin: tuple[Memory, npt.NDArray[np.float64]],
    kept: Memory | None,
) -> None:
    """Run stretches, ordered by length, into ``fluxes``; those that have ended drop out.

    Steps are cut at every `STRIDE`, and where a stretch ends whose memory is to be kept.
    """
    import torch

    from xflux.prediction.kernel import Memory as TorchMemory

    row, start, end = tile.T
    length = end - start
    steps, device = block.usable.shape[1], built.device
    edges = {*range(0, int(length[-1]), built.stride), int(length[-1])}
    if kept is not None:
        edges |= {int(n) for n in length[end == steps]}
    state = TorchMemory(*(torch.from_numpy(part).to(device) for part in begin[0]))
    seen = torch.from_numpy(begin[1]).to(device)
    fixed = torch.from_numpy(block.characteristics[row]).to(device)
    gone = 0
    for first, last in itertools.pairwise(sorted(edges)):
        ended = int(np.searchsorted(length, first, side="right")) - gone
        if ended:
            gone += ended
            state = TorchMemory(state.hidden[:, ended:], state.cell[:, ended:], state.sums[ended:])
            seen, fixed = seen[ended:], fixed[ended:]
        here = row[gone:]
        step = start[gone:, None] + np.arange(first, last)
        valid = step < end[gone:, None]
        drivers = torch.from_numpy(block.drivers[here[:, None], np.minimum(step, steps - 1)])
        predicted, state = built.advance(
            drivers.to(device).transpose(0, 1), fixed, state, seen + first
        )
        values = predicted.transpose(1, 2).cpu().numpy()
        if valid.all():
            fluxes[:, here[:, None], step] = values
        else:
            fluxes[:, np.broadcast_to(here[:, None], step.shape)[valid], step[valid]] = values[
                :, valid
            ]
        if kept is not None:
            done = np.flatnonzero((length[gone:] == last) & (end[gone:] == steps))
            _keep(kept, here[done], state, done)


def _keep(
    kept: Memory, row: npt.NDArray[np.int64], state: TorchMemory, done: npt.NDArray[np.int64]
) -> None:
    """Copy the memory of the series at ``done`` of a tile to their rows in the block."""
    if len(done):
        kept.hidden[:, row] = state.hidden[:, done].cpu().numpy()
        kept.cell[:, row] = state.cell[:, done].cpu().numpy()
        kept.sums[row] = state.sums[done].cpu().numpy()
