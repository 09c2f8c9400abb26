"""Either engine of the CT-LSTM with a law around it: what ``ct-lstm-physics`` predicts with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from xflux.physics import Law
from xflux.prediction import kernel
from xflux.prediction.kernel import Memory

if TYPE_CHECKING:
    from xflux.prediction import fused


class PhysicsEngine:
    """An engine whose fluxes are multiplied by the law of each member.

    Parameters
    ----------
    engine : Engine
        Of the members without their laws.
    laws : sequence of Law

    Attributes
    ----------
    device : torch.device
    stride : int
        Steps that `advance` takes at most.
    """

    def __init__(self, engine: kernel.Engine | fused.Engine, laws: Sequence[Law]) -> None:
        self.engine = engine
        self.laws = [law.to(engine.device).eval().requires_grad_(False) for law in laws]
        self.device, self.stride = engine.device, engine.stride

    def at_once(self, steps: int) -> int:
        """As of the engine inside."""
        return self.engine.at_once(steps)

    def advance(
        self, drivers: Tensor, characteristics: Tensor, memory: Memory, run: Tensor
    ) -> tuple[Tensor, Memory]:
        """As `xflux.prediction.kernel.Engine.advance`."""
        fluxes, memory = self.engine.advance(drivers, characteristics, memory, run)
        for learned, law in zip(fluxes, self.laws, strict=True):
            learned *= law(drivers)
        return fluxes, memory
