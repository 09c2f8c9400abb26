"""Which network a method trains, and which network weights belong to: chosen here and nowhere else.

A method is known by the settings before training, and by the names of its weights afterwards, so
that weights travel without their settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from xflux import networks, networks_metaflux, networks_tam_rl
from xflux.features import Inputs
from xflux.networks import Member
from xflux.networks_metaflux import MetaFluxMember
from xflux.networks_tam_rl import ModulatedMember
from xflux.training.settings import SPANS, Settings


def untrained(inputs: Inputs, settings: Settings) -> nn.Module:
    """An untrained member of the method of the settings."""
    if settings.method == "metaflux":
        flags = tuple(inputs.drivers.index(name) for name in inputs.optional)
        return MetaFluxMember(
            len(inputs.drivers), flags, settings.hidden, by_entity=settings.scaling == "entity"
        )
    columns = (inputs.width, len(inputs.drivers), inputs.characteristic_width)
    spans, dropout = SPANS[inputs.time_step], settings.dropout
    if settings.method == "tam-rl":
        return ModulatedMember(
            *columns, settings.hidden, spans=spans, dropout=dropout,
            code=settings.code, features=settings.features,
        )  # fmt: skip
    return Member(*columns, settings.hidden, spans=spans, dropout=dropout)


def method_of(names: Iterable[str]) -> str:
    """The method to which weights of these names belong."""
    if "gpp.inner.weight" in names:
        return "metaflux"
    return "tam-rl" if "log_ridge" in names else "ct-lstm"


def from_weights(weights: Mapping[str, Tensor]) -> nn.Module:
    """A member with given weights; its sizes follow from their shapes."""
    of_method = {
        "metaflux": networks_metaflux.from_weights,
        "tam-rl": networks_tam_rl.from_weights,
        "ct-lstm": networks.from_weights,
    }
    return of_method[method_of(weights)](weights)
