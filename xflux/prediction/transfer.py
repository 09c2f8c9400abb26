"""Arrays to a device and back. With a GPU both happen while it computes something else.

On a GPU nothing here waits: `Transfer.send` copies from pinned memory on a stream of its own,
`Transfer.fetch` begins a copy back and gives a function that waits for it. `one_behind` puts that
off until the next piece of work is under way.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xflux.errors import ModelError

Item = TypeVar("Item")

_GPU = threading.Lock()


def usable(device: str) -> torch.device:
    """The device of this name, tried.

    Raises
    ------
    ModelError
        There is no such device here.
    """
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(
            f"device={device!r} cannot be used here ({str(error).splitlines()[0]}): leave it out, "
            'or device="cpu"'
        ) from error
    return torch.device(device)


class Transfer:
    """The way to a device and back.

    Parameters
    ----------
    device : torch.device
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def send(self, array: npt.NDArray[Any]) -> Tensor:
        """An array on the device; what is computed with it there waits until it has come."""
        host = torch.from_numpy(array)
        if self.stream is None:
            return host.to(self.device)
        with torch.cuda.stream(self.stream):
            sent = host.pin_memory().to(self.device, non_blocking=True)
        computing = torch.cuda.current_stream(self.device)
        computing.wait_stream(self.stream)
        sent.record_stream(computing)
        return sent

    def fetch(self, tensor: Tensor) -> Callable[[], npt.NDArray[np.float32]]:
        """Begin to copy a tensor back; the function that is returned waits for the numbers."""
        if self.stream is None:
            return tensor.cpu().numpy
        here = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        here.copy_(tensor, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record(torch.cuda.current_stream(self.device))

        def wait() -> npt.NDArray[np.float32]:
            arrived.synchronize()
            return here.numpy()

        return wait


def one_behind(items: Iterable[Item]) -> Iterator[Item]:
    """The same items, each handed out only when the next one has been made."""
    held: list[Item] = []
    for item in items:
        yield from held
        held = [item]
    yield from held


@contextlib.contextmanager
def alone(device: torch.device) -> Iterator[None]:
    """Have a GPU for one block at a time, and its LSTMs in float32, not in TF32 as by default."""
    if device.type != "cuda":
        yield
        return
    with _GPU, torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield
