"""Which engine predicts, and why: compiled code where it can run, plain torch everywhere else.

Both give the same numbers, to rounding. ``XFLUX_ENGINE=torch`` in the environment asks for plain
torch, ``XFLUX_ENGINE=fused`` for compiled code or an error.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from xflux.errors import ModelError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from xflux.prediction.kernel import Memory

PRECISIONS = ("float32", "bfloat16")
"""Numbers in which the layers of the networks may be computed."""


class Choice(NamedTuple):
    """An engine and the reason for it.

    Attributes
    ----------
    name : str
        ``"fused"`` or ``"torch"``.
    reason : str
    lanes : int
        Numbers in a vector, of compiled code.
    """

    name: str
    reason: str
    lanes: int = 0


class Engine(Protocol):
    """What an engine does; see `xflux.prediction.kernel.Engine`."""

    device: torch.device
    stride: int

    def at_once(self, steps: int) -> int:
        """Series that go together where there are so many steps."""

    def advance(
        self, drivers: Tensor, characteristics: Tensor, memory: Memory, run: Tensor
    ) -> tuple[Tensor, Memory]:
        """Go on by some steps."""


def choose(device: str = "cpu", precision: str = "float32") -> Choice:
    """Which engine predicts on a device, and why.

    Compiled code runs in float32 on a processor with AVX2 or AVX-512, where llvmlite is installed.

    Parameters
    ----------
    device : str
        ``"cpu"`` or ``"cuda"``.
    precision : str
        ``"float32"`` or ``"bfloat16"``.

    Returns
    -------
    Choice

    Raises
    ------
    ModelError
        The precision is unknown, or ``XFLUX_ENGINE`` asks for what there is not.

    Examples
    --------
    >>> from xflux.prediction import engines
    >>> engines.choose("cuda")
    Choice(name='torch', reason='the device is cuda', lanes=0)
    """
    if precision not in PRECISIONS:
        raise ModelError(
            f'precision={precision!r} is not known: give "float32", or "bfloat16" for speed on a '
            "processor or GPU that is made for it"
        )
    wanted = os.environ.get("XFLUX_ENGINE", "")
    if wanted not in ("", "fused", "torch"):
        raise ModelError(f"XFLUX_ENGINE={wanted!r} is no engine: set it to fused, torch or nothing")
    if wanted == "torch":
        return Choice("torch", "XFLUX_ENGINE=torch")
    lanes, reason = _lanes()
    if device != "cpu":
        lanes, reason = 0, f"the device is {device}"
    elif precision != "float32":
        lanes, reason = 0, f"the precision is {precision}"
    if lanes:
        return Choice("fused", reason, lanes)
    if wanted == "fused":
        raise ModelError(f"XFLUX_ENGINE=fused cannot be: {reason}; unset it for plain torch")
    return Choice("torch", reason)


@functools.cache
def _lanes() -> tuple[int, str]:
    """Numbers in a vector of this processor, 0 where compiled code does not run, and why."""
    if importlib.util.find_spec("llvmlite") is None:
        return 0, "llvmlite is not installed: pip install 'xflux[fast]'"
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return 0, f"compiled code is written for x86-64, not for {platform.machine()}"
    from llvmlite import binding

    has = binding.get_host_cpu_features()
    if has.get("avx512f"):
        return 16, "AVX-512"
    if has.get("avx2") and has.get("fma"):
        return 8, "AVX2"
    return 0, f"the processor ({binding.get_host_cpu_name()}) has no AVX2"


def build(
    weights: Sequence[Mapping[str, npt.NDArray[np.generic]]],
    width: int,
    *,
    device: str,
    precision: str = "float32",
) -> Engine:
    """Members ready to predict.

    Parameters
    ----------
    weights : sequence of mapping of str to numpy.ndarray
        Weights of each member, by the names of `xflux.networks.Member`.
    width : int
        Columns of the drivers.
    device : str
    precision : str

    Raises
    ------
    ModelError
        Members take running means over different spans, or as `choose`.
    """
    spans = weights[0]["running.spans"]
    if any(not np.array_equal(member["running.spans"], spans) for member in weights):
        raise ModelError("the members take running means over different spans: train anew")
    choice = choose(device, precision)
    outputs = len(weights[0]["recurrent.heads.bias"])
    if choice.name == "fused" and outputs == 2:  # compiled code has two heads a network
        from xflux.prediction import fused

        return fused.Engine(weights, drivers=width, lanes=choice.lanes)
    import torch

    from xflux.networks import from_weights
    from xflux.prediction import kernel

    built = []
    for member in weights:
        network = from_weights({n: torch.from_numpy(v.copy()) for n, v in member.items()})
        built.append(network.to(device).eval().requires_grad_(False))
    return kernel.Engine(built, drivers=width, dtype=getattr(torch, precision))
