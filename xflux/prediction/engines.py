"""The engine for an ensemble, and the sizes of its memory, both told by its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from xflux.errors import ModelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xflux.prediction.engine_metaflux import MetaFluxEngine
    from xflux.prediction.engine_tam_rl import TamRlEngine
    from xflux.prediction.kernel import Engine

    AnyEngine = Engine | MetaFluxEngine | TamRlEngine

Weights = Mapping[str, npt.NDArray[np.generic]]


class Sizes(NamedTuple):
    """Sizes of a memory: members, hidden units, spans, drivers that are averaged, and context.

    ``context`` counts the constant columns that the members take beside the characteristics; see
    `xflux.prediction.context`. ``support`` says that it comes from a support.
    """

    members: int
    hidden: int
    spans: int
    averaged: int
    context: int = 0
    support: bool = False


def sizes(members: Sequence[Weights]) -> Sizes:
    """Read the sizes of an ensemble from the shapes of its weights."""
    first = members[0]
    if "by_entity" in first:
        drivers = first["flagged"].shape[1]
        hidden = 2 * first["gpp.inner.weight"].shape[0]
        return Sizes(len(members), hidden, 0, drivers, 2 * drivers * int(first["by_entity"][0]))
    spans = len(first["running.spans"])
    joined = first["recurrent.lstm.weight_ih_l0"].shape[1]
    averaged = (first["direct.first.weight"].shape[1] - joined) // spans
    context = 0
    if "log_ridge" in first:
        one = len(first["encoder.code.bias"]) + len(first["features_recurrent.weight"])
        context = len(members) * one
    return Sizes(
        len(members),
        first["recurrent.heads.weight"].shape[1],
        spans,
        averaged,
        context,
        context > 0,
    )


def build(members: Sequence[Weights], width: int, device: str) -> AnyEngine:
    """The members ready to predict on a device; ``width`` counts the columns of the drivers."""
    import torch

    from xflux.architectures import from_weights
    from xflux.networks import Member
    from xflux.networks_metaflux import MetaFluxMember
    from xflux.networks_tam_rl import ModulatedMember
    from xflux.prediction.engine_metaflux import MetaFluxEngine
    from xflux.prediction.engine_tam_rl import TamRlEngine
    from xflux.prediction.kernel import Engine

    built = []
    for weights in members:
        network = from_weights({n: torch.from_numpy(v.copy()) for n, v in weights.items()})
        built.append(network.to(device).eval().requires_grad_(False))
    plain = [network for network in built if isinstance(network, Member)]
    meta = [network for network in built if isinstance(network, MetaFluxMember)]
    modulated = [network for network in built if isinstance(network, ModulatedMember)]
    if len(plain) == len(built):
        return Engine(plain, drivers=width)
    if len(meta) == len(built):
        return MetaFluxEngine(meta)
    if len(modulated) == len(built):
        return TamRlEngine(modulated)
    raise ModelError("the members of the ensemble are of different methods: train anew")
