"""How each method is trained: chosen here and nowhere else.

Its networks are chosen in `xflux.networks.building`, its engine in `xflux.prediction.engines`.
"""

from __future__ import annotations

from xflux.training.informed import PHYSICS
from xflux.training.meta import METAFLUX
from xflux.training.recipe import CT_LSTM, Recipe
from xflux.training.task_aware import TAM_RL

RECIPES: dict[str, Recipe] = {
    "ct-lstm": CT_LSTM,
    "ct-lstm-physics": PHYSICS,
    "tam-rl": TAM_RL,
    "metaflux": METAFLUX,
}
"""By the method of the settings."""
