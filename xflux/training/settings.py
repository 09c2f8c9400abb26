"""Every setting of training, checked once at the door and frozen afterwards."""

from __future__ import annotations

from dataclasses import dataclass, fields

from xflux.errors import ModelError
from xflux.training.knowledge import Physics, as_physics

EPOCHS = {"daily": 30, "monthly": 60}
"""Epochs where they are not chosen by spatial validation, by time step."""

FASTER = {"ct-lstm-physics": 3}
"""Methods that need fewer epochs, and how many times fewer: a law is there before the first."""

WINDOW = {"daily": (365, 90), "monthly": (24, 12)}
"""Scored steps and spin-up steps of a training window, by time step."""

SPANS = {"daily": (3.0, 7.0, 30.0, 90.0), "monthly": (2.0, 4.0, 12.0)}
"""Spans of the running means of the drivers, in steps, by time step."""

FEW_CLUSTERS = 10
"""With fewer clusters of towers, spatial validation says nothing and the default holds."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of one training.

    Attributes
    ----------
    method : str
        ``"ct-lstm"`` or ``"ct-lstm-physics"``.
    members, seed, hidden : int
        Members of the ensemble, seed of everything random, hidden units of each member.
    epochs : int
        Passes over all windows; ``stop`` ends earlier on the same learning-rate schedule.
    window, spin_up : int
        Steps of a window that are scored, and steps before them that only build up the state.
    batch : int
        Windows in a batch.
    learning_rate, weight_decay, clip : float
        Peak of the one-cycle schedule of AdamW, its weight decay, and the largest gradient norm.
    dropout : float
        Share of hidden units dropped before the heads.
    driver_offset : float
        Standard deviation of the constant added to each driver of a window, in normalised units.
    characteristic_noise, characteristic_dropout : float
        Noise on numeric characteristics; share of windows whose categories are hidden.
    driver_dropout : float
        Share of windows from which each group of optional drivers is taken away.
    entity_power : float
        An entity with n scored steps weighs n to this power in the loss (1: each step alike).
    loss_shares : tuple of float
        Shares of GPP, Reco and NEE in the loss.
    physics : Physics or mapping, optional
        Domain knowledge of ``"ct-lstm-physics"``; None for other methods.
    """

    method: str = "ct-lstm"
    members: int = 5
    seed: int = 0
    hidden: int = 64
    epochs: int = 30
    stop: int | None = None
    window: int = 365
    spin_up: int = 90
    batch: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    clip: float = 1.0
    dropout: float = 0.2
    driver_offset: float = 0.3
    characteristic_noise: float = 0.3
    characteristic_dropout: float = 0.3
    driver_dropout: float = 0.05
    entity_power: float = 0.5
    loss_shares: tuple[float, float, float] = (1.0, 1.0, 1.0)
    physics: Physics | None = None

    def __post_init__(self) -> None:
        if self.method == "ct-lstm-physics":
            object.__setattr__(self, "physics", as_physics(self.physics))
        elif self.physics is not None:
            raise ModelError(
                f'method={self.method!r} takes no physics: method="ct-lstm-physics" does'
            )
        problems = [
            f"{name}={getattr(self, name)!r} must be at least {low}"
            for name, low in _AT_LEAST.items()
            if not getattr(self, name) >= low
        ]
        problems += [
            f"{name}={getattr(self, name)!r} must be from 0 to below 1"
            for name in ("dropout", "characteristic_dropout", "driver_dropout")
            if not 0.0 <= getattr(self, name) < 1.0
        ]
        if len(self.loss_shares) != 3 or min(self.loss_shares) < 0 or sum(self.loss_shares) <= 0:
            problems.append(f"loss_shares={self.loss_shares!r} must be three shares, not all zero")
        if self.stop is not None and not 1 <= self.stop <= self.epochs:
            problems.append(f"stop={self.stop!r} must be from 1 to epochs={self.epochs}")
        if problems:
            raise ModelError("; ".join(problems))

    @property
    def last_epoch(self) -> int:
        """Epochs that are run: ``stop`` where it is set."""
        return self.stop or self.epochs


def epochs_of(method: str, time_step: str) -> int:
    """Epochs of a method where they are not chosen by spatial validation.

    Examples
    --------
    >>> epochs_of("ct-lstm", "daily"), epochs_of("ct-lstm-physics", "daily")
    (30, 10)
    """
    return EPOCHS[time_step] // FASTER.get(method, 1)


_AT_LEAST = {
    "members": 1,
    "seed": 0,
    "hidden": 1,
    "epochs": 1,
    "window": 1,
    "spin_up": 0,
    "batch": 1,
    "learning_rate": 1e-9,
    "weight_decay": 0.0,
    "clip": 1e-9,
    "driver_offset": 0.0,
    "characteristic_noise": 0.0,
    "entity_power": 0.0,
}

NAMES = tuple(field.name for field in fields(Settings))
"""Names of all settings."""
