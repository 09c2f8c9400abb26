"""Every setting of training, checked once at the door and frozen afterwards."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any

from xflux.errors import ModelError
from xflux.training.knowledge import Physics, as_physics

METHODS = ("ct-lstm", "ct-lstm-physics", "tam-rl", "metaflux")
"""Methods that can be trained."""

EPOCHS = {"daily": 30, "monthly": 60}
"""Epochs where they are not chosen by spatial validation, by time step."""

FASTER = {"ct-lstm-physics": 3}
"""Methods that need fewer epochs, and how many times fewer: a law is there before the first."""

WINDOW = {"daily": (365, 90), "monthly": (24, 12)}
"""Scored steps and spin-up steps of a training window, by time step."""

SPANS = {"daily": (3.0, 7.0, 30.0, 90.0), "monthly": (2.0, 4.0, 12.0)}
"""Spans of the running means of the drivers, in steps, by time step."""

OF_METHOD: dict[str, dict[str, Any]] = {
    "metaflux": {
        "epochs": 100,
        "hidden": 350,
        "window": 30,
        "spin_up": 0,
        "batch": 256,
        "learning_rate": 1e-3,
        "weight_decay": 0.0,
        "clip": 1e9,
    },
}
"""Settings that a method has of its own: those of MetaFlux are as published."""

OWN = {
    **dict.fromkeys(("code", "features", "support"), "tam-rl"),
    **dict.fromkeys(
        ("tasks", "scaling", "target", "inner_steps", "inner_rate", "second_order"), "metaflux"
    ),
}
"""Settings that one method alone looks at, and which."""

UNUSED = {
    "metaflux": (
        "spin_up",
        "dropout",
        "driver_offset",
        "characteristic_noise",
        "characteristic_dropout",
        "driver_dropout",
        "entity_power",
        "loss_shares",
    ),
}
"""Settings that a method does not look at, of those that others share."""

SUPPORT_WINDOW = {"daily": 30, "monthly": 6}
"""Steps of a support window of TAM-RL, by time step."""

FEW_CLUSTERS = 10
"""With fewer clusters of towers, spatial validation says nothing and the default holds."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of one training.

    Attributes
    ----------
    method : str
        ``"ct-lstm"``, ``"ct-lstm-physics"``, ``"tam-rl"`` or ``"metaflux"``.
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
    code, features, support : int
        Of ``"tam-rl"``: units of the code that an encoder makes of the support, features for each
        flux whose coefficients the fluxes of the support give, and most windows in a support.
    tasks : str
        Of ``"metaflux"``. ``"domains"``, as published: support windows from base towers, query
        windows from target towers. ``"towers"``, as in MAML: a tower is a task, with support and
        query windows of its own.
    scaling : str
        Of ``"metaflux"``. ``"entity"``, as published: drivers in units of the mean and spread of
        their own series. ``"training"``: of those of all training towers, as other methods do.
    target : str
        Of ``"metaflux"`` with domains: the variable that is true at target towers; by default
        those in a tropical climate.
    inner_steps, inner_rate, second_order : int, float, bool
        Of ``"metaflux"``: plain gradient steps on support windows, as many query batches, the size
        of a step, and whether the meta-gradient goes through the steps.
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
    code: int = 8
    features: int = 16
    support: int = 16
    tasks: str = "domains"
    scaling: str = "entity"
    target: str = ""
    inner_steps: int = 2
    inner_rate: float = 1e-4
    second_order: bool = True

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
        problems += [
            f"{name}={getattr(self, name)!r} must be one of {', '.join(map(repr, known))}"
            for name, known in _ONE_OF.items()
            if getattr(self, name) not in known
        ]
        if len(self.loss_shares) != 3 or min(self.loss_shares) < 0 or sum(self.loss_shares) <= 0:
            problems.append(f"loss_shares={self.loss_shares!r} must be three shares, not all zero")
        if self.stop is not None and not 1 <= self.stop <= self.epochs:
            problems.append(f"stop={self.stop!r} must be from 1 to epochs={self.epochs}")
        if problems:
            raise ModelError("; ".join(problems))

    @property
    def by_entity(self) -> bool:
        """Whether drivers are scaled by the mean and spread of the series of their entity."""
        return self.method == "metaflux" and self.scaling == "entity"

    @property
    def last_epoch(self) -> int:
        """Epochs that are run: ``stop`` where it is set."""
        return self.stop or self.epochs


def epochs_of(method: str, time_step: str) -> int:
    """Epochs of a method where they are not chosen by spatial validation.

    Examples
    --------
    >>> [epochs_of(method, "daily") for method in METHODS]
    [30, 10, 30, 100]
    """
    own: int = OF_METHOD.get(method, {}).get("epochs", EPOCHS[time_step])
    return own // FASTER.get(method, 1)


def refuse_unused(method: str, said: Collection[str]) -> None:
    """Refuse settings that a method does not look at; what nobody knows is left to `Settings`.

    Raises
    ------
    ModelError
    """
    problems = []
    for name in said:
        owner = OWN.get(name, method)
        if owner != method:
            problems.append(f'{name!r} is a setting of method="{owner}"')
        elif name in UNUSED.get(method, ()):
            problems.append(f"{name!r} changes nothing in it")
    if problems:
        raise ModelError(f"method={method!r}: {'; '.join(problems)}; leave them out of settings=")


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
    "code": 1,
    "features": 1,
    "support": 1,
    "inner_steps": 1,
    "inner_rate": 0.0,
}

_ONE_OF = {"tasks": ("domains", "towers"), "scaling": ("entity", "training")}

NAMES = tuple(field.name for field in fields(Settings))
"""Names of all settings."""
