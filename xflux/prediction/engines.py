"""Which engine predicts, and why: compiled code where it can run, plain torch everywhere else.

Both give the same numbers, to rounding. ``XFLUX_ENGINE=torch`` in the environment asks for plain
torch, ``XFLUX_ENGINE=fused`` for compiled code or an error. The engine of every method is built
here and nowhere else; what an ensemble is, its weights tell.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from xflux.errors import ModelError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from xflux.prediction import fused, kernel
    from xflux.prediction.kernel import Memory

PRECISIONS = ("float32", "bfloat16")
"""Numbers in which the layers of the networks may be computed."""

LAYERED = ("ct-lstm", "ct-lstm-physics")
"""Methods whose networks are those of `xflux.networks.ct_lstm.Member`, with a law around them or
without: for them there is compiled code, and a choice of precision."""

Weights = Mapping[str, npt.NDArray[np.generic]]


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


class Sizes(NamedTuple):
    """Sizes of an ensemble and of its memory.

    Attributes
    ----------
    members, hidden, spans, averaged : int
        Members, hidden units, spans of running means, and drivers of which these are taken.
    outputs : int
        What each member predicts.
    context : int
        Constant columns that the members take beside the characteristics; see
        `xflux.prediction.context`.
    method : str
        With which it was trained.
    """

    members: int
    hidden: int
    spans: int
    averaged: int
    outputs: int = 2
    context: int = 0
    method: str = "ct-lstm"


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


def choose(
    device: str = "cpu",
    precision: str = "float32",
    *,
    method: str = "ct-lstm",
    outputs: int = 2,
) -> Choice:
    """Which engine predicts on a device, and why.

    Compiled code runs the CT-LSTM with its two outputs, in float32, on a processor with AVX2 or
    AVX-512, where llvmlite is installed.

    Parameters
    ----------
    device : str
        ``"cpu"`` or ``"cuda"``.
    precision : str
        ``"float32"`` or ``"bfloat16"``.
    method : str
        With which the model was trained.
    outputs : int
        What it predicts: two, GPP and Reco, unless it was tuned to new targets.

    Returns
    -------
    Choice

    Raises
    ------
    ModelError
        The precision is unknown, or not for this method, or ``XFLUX_ENGINE`` asks for what there is
        not.

    Examples
    --------
    >>> from xflux.prediction import engines
    >>> engines.choose("cuda")
    Choice(name='torch', reason='the device is cuda', lanes=0)
    >>> engines.choose(method="tam-rl").reason
    'compiled code knows no tam-rl'
    """
    if precision not in PRECISIONS:
        raise ModelError(
            f'precision={precision!r} is not known: give "float32", or "bfloat16" for speed on a '
            "processor or GPU that is made for it"
        )
    if precision != "float32" and method not in LAYERED:
        raise ModelError(
            f"precision={precision!r} is for models of {' and '.join(LAYERED)}, and this one is of "
            f"{method}: leave precision out"
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
    elif method not in LAYERED:
        lanes, reason = 0, f"compiled code knows no {method}"
    elif outputs != 2:
        lanes, reason = 0, f"compiled code has two outputs, the model has {outputs}"
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


def sizes(members: Sequence[Weights]) -> Sizes:
    """Read the sizes of an ensemble from the shapes of its weights."""
    from xflux.networks.building import method_of

    first, method = members[0], method_of(members[0])
    if method == "metaflux":
        drivers, hidden = first["flagged"].shape[1], 2 * first["gpp.inner.weight"].shape[0]
        context = 2 * drivers * int(first["by_entity"][0])
        return Sizes(len(members), hidden, 0, drivers, 2, context, method)
    spans = len(first["running.spans"])
    joined = first["recurrent.lstm.weight_ih_l0"].shape[1]
    averaged = (first["direct.first.weight"].shape[1] - joined) // spans
    outputs, hidden = first["recurrent.heads.weight"].shape
    context = 0
    if method == "tam-rl":
        one = len(first["encoder.code.bias"]) + len(first["features_recurrent.weight"])
        context = len(members) * one
    return Sizes(len(members), hidden, spans, averaged, outputs, context, method)


def build(
    members: Sequence[Weights], width: int, *, device: str, precision: str = "float32"
) -> Engine:
    """Members ready to predict.

    Parameters
    ----------
    members : sequence of mapping of str to numpy.ndarray
        Weights of each member.
    width : int
        Columns of the drivers.
    device : str
    precision : str

    Raises
    ------
    ModelError
        Members are of different methods, take running means over different spans, or as `choose`.
    """
    from xflux.networks.building import method_of

    method = method_of(members[0])
    if any(method_of(weights) != method for weights in members):
        raise ModelError(
            "the members are of different methods, so they are of more than one training: train "
            "anew"
        )
    spans = [weights.get("running.spans", np.zeros(0)) for weights in members]
    if any(not np.array_equal(other, spans[0]) for other in spans):
        raise ModelError(
            "the members take running means over different spans, so they are of more than one "
            "training: train anew"
        )
    choice = choose(device, precision, method=method, outputs=sizes(members).outputs)
    if method == "metaflux":
        from xflux.prediction.engine_metaflux import MetaFluxEngine

        return MetaFluxEngine(_networks(members, device))
    if method == "tam-rl":
        from xflux.prediction.engine_tam_rl import TamRlEngine

        return TamRlEngine(_networks(members, device))
    if method == "ct-lstm-physics":
        from xflux import physics
        from xflux.prediction.engine_physics import PhysicsEngine

        parts = [physics.split(weights) for weights in members]
        inside = _ct_lstm([plain for plain, _ in parts], width, device, precision, choice)
        return PhysicsEngine(inside, [law for _, law in parts])
    return _ct_lstm(members, width, device, precision, choice)


def _ct_lstm(
    members: Sequence[Weights], width: int, device: str, precision: str, choice: Choice
) -> kernel.Engine | fused.Engine:
    if choice.name == "fused":
        from xflux.prediction import fused

        return fused.Engine(members, drivers=width, lanes=choice.lanes)
    import torch

    from xflux.prediction import kernel

    built = _networks(members, device)
    return kernel.Engine(built, drivers=width, dtype=getattr(torch, precision))


def _networks(members: Sequence[Weights], device: str) -> list[Any]:
    """The networks of all members on a device."""
    import torch

    from xflux.networks.building import from_weights
    from xflux.prediction.transfer import usable

    place, built = usable(device), []
    for weights in members:
        network = from_weights({n: torch.from_numpy(v.copy()) for n, v in weights.items()})
        built.append(network.to(place).eval().requires_grad_(False))
    return built
