"""The method of the settings, and what it asks of training: the one place where this is chosen."""

from __future__ import annotations

from xflux.features import Inputs
from xflux.training import meta, supervised, task_aware
from xflux.training.settings import Settings
from xflux.training.supervised import AfterEpoch, Recipe, Weights
from xflux.training.windows import Tensors

RECIPES: dict[str, Recipe] = {
    "ct-lstm": supervised.CT_LSTM,
    "tam-rl": task_aware.TAM_RL,
    "metaflux": meta.METAFLUX,
}


def train_member(
    tensors: Tensors,
    inputs: Inputs,
    settings: Settings,
    member: int,
    *,
    start: int = 0,
    kept: Weights | None = None,
    after_epoch: AfterEpoch | None = None,
) -> Weights:
    """Train one member by the method of the settings; see `xflux.training.supervised`."""
    return supervised.train_member(
        tensors,
        inputs,
        settings,
        member,
        start=start,
        kept=kept,
        after_epoch=after_epoch,
        recipe=RECIPES[settings.method],
    )
