"""Which network a method trains, and which network weights belong to: chosen here and nowhere else.

A method is known by the settings before training, and by the names of its weights afterwards, so
that weights travel without their settings.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor, nn

from xflux import physics
from xflux.errors import ModelError
from xflux.features import Inputs
from xflux.networks import ct_lstm, metaflux, tam_rl
from xflux.networks.ct_lstm import Member
from xflux.networks.metaflux import MetaFluxMember
from xflux.networks.tam_rl import ModulatedMember
from xflux.training.settings import SPANS, Settings


def build_network(inputs: Inputs, settings: Settings, *, outputs: int = 2) -> nn.Module:
    """An untrained member of the method of the settings.

    Parameters
    ----------
    inputs : Inputs
    settings : Settings
    outputs : int
        What it predicts; other than two only of ``"ct-lstm"``, which can be tuned to new targets.

    Raises
    ------
    ModelError
    """
    if outputs != 2 and settings.method != "ct-lstm":
        raise ModelError(
            f"networks of method={settings.method!r} predict GPP and Reco: other targets need "
            'method="ct-lstm"'
        )
    if settings.method == "metaflux":
        flags = tuple(inputs.drivers.index(name) for name in inputs.optional)
        return MetaFluxMember(
            len(inputs.drivers), flags, settings.hidden, by_entity=settings.by_entity
        )
    spans, dropout = SPANS[inputs.time_step], settings.dropout
    if settings.physics is not None:
        return physics.build(
            inputs, settings.physics, hidden=settings.hidden, spans=spans, dropout=dropout
        )
    columns = (inputs.width, len(inputs.drivers), inputs.characteristic_width)
    if settings.method == "tam-rl":
        return ModulatedMember(
            *columns, settings.hidden, spans=spans, dropout=dropout,
            code=settings.code, features=settings.features,
        )  # fmt: skip
    return Member(*columns, settings.hidden, spans=spans, outputs=outputs, dropout=dropout)


def method_of(names: Collection[str]) -> str:
    """The method to which weights of these names belong.

    Examples
    --------
    >>> method_of(["log_ridge", "spread"])
    'tam-rl'
    """
    if "gpp.inner.weight" in names:
        return "metaflux"
    if "log_ridge" in names:
        return "tam-rl"
    return "ct-lstm-physics" if any(name.startswith("law.") for name in names) else "ct-lstm"


def from_weights(weights: Mapping[str, Tensor]) -> nn.Module:
    """A member with given weights, its law left out; its sizes follow from their shapes."""
    of_method = {
        "metaflux": metaflux.from_weights,
        "tam-rl": tam_rl.from_weights,
        "ct-lstm": ct_lstm.from_weights,
    }
    return of_method[method_of(weights)](weights)
