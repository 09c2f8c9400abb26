"""Members as bytes, so that they travel to any worker, and as networks, once a process.

An ``nn.LSTM`` cannot be sent between dask workers; bytes can. A process turns them into networks
the first time it meets them and keeps them under their hash.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xflux.features import Array, Assembled, stretches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xflux.networks import Member

TILE = 64
"""Series that go through the network together: small enough to stay in the cache."""

_LOCK = threading.Lock()
_NETWORKS: dict[tuple[str, str], list[Member]] = {}


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


def networks(members: Members, device: str) -> list[Member]:
    """The members as networks on a device, built once a process."""
    import torch

    from xflux.networks import from_weights

    key = (members.sha256, device)
    with _LOCK:
        if key not in _NETWORKS:
            built = []
            for weights in unpack(members):
                network = from_weights({n: torch.from_numpy(v.copy()) for n, v in weights.items()})
                built.append(network.to(device).eval().requires_grad_(False))
            _NETWORKS[key] = built
        return _NETWORKS[key]


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


def run(members: Members, block: Assembled, *, device: str = "cpu") -> Array:
    """Predict a block: every member over every unbroken stretch of every series.

    A stretch begins with a state of zeros, as in training. Stretches of about the same length go
    through the network together, padded at the end, where nothing is read.

    Parameters
    ----------
    members : Members
    block : Assembled
        C series of T steps.
    device : str
        ``"cpu"`` or ``"cuda"``.

    Returns
    -------
    numpy.ndarray
        Shape (M, C, T, 2): GPP and Reco, g m-2 d-1; NaN where ``block.usable`` is false.
    """
    import torch

    built = networks(members, device)
    count, steps = block.usable.shape
    fluxes = np.full((len(built), count, steps, 2), np.nan, dtype=np.float32)
    found = stretches(block.usable)
    found = found[np.argsort(found[:, 2] - found[:, 1], kind="stable")]
    with one_thread(), torch.inference_mode():
        for first in range(0, len(found), TILE):
            tile = found[first : first + TILE]
            longest = int((tile[:, 2] - tile[:, 1]).max())
            drivers = np.zeros((len(tile), longest, block.drivers.shape[2]), dtype=np.float32)
            for i, (row, start, end) in enumerate(tile):
                drivers[i, : end - start] = block.drivers[row, start:end]
            x = torch.from_numpy(drivers).to(device)
            c = torch.from_numpy(block.characteristics[tile[:, 0]]).to(device)
            for m, network in enumerate(built):
                predicted = network(x, c)[0].mean(dim=0).cpu().numpy()
                for i, (row, start, end) in enumerate(tile):
                    fluxes[m, row, start:end] = predicted[i, : end - start]
    return fluxes
