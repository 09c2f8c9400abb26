"""What is known of carbon fluxes before any is measured: the settings of ``ct-lstm-physics``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from xflux.errors import ModelError

RESPONSES = ("lloyd-taylor", "q10", "none")
"""How respiration may grow with temperature; the position is what a model file holds."""

_SWITCHES = ("light", "warmth", "leaf_respiration", "cool_base_rate")
_AT_LEAST = {
    "light_cap": 0.0,
    "zero": 0.0,
    "temperature": 0.0,
    "law": 0.0,
    "eps_max": 1e-3,
    "world_batch": 1,
}


@dataclass(frozen=True, kw_only=True)
class Physics:
    """Domain knowledge in a training, each piece with a switch of its own.

    The first group is structure, in `xflux.physics`; the second are weights of terms in the loss,
    in `xflux.training.terms`, 0 to leave one out.

    Attributes
    ----------
    light : bool
        GPP is a learned efficiency [g MJ-1] times the light that leaves absorb.
    warmth : bool
        Leaves use little light in the cold.
    respiration : str
        Reco is a learned base rate times a response to temperature: ``"lloyd-taylor"``, ``"q10"``
        or ``"none"``.
    leaf_respiration : bool
        The base rate is larger where there are more leaves.
    cool_base_rate : bool
        GPP and Reco have networks of their own, and that of Reco does not see temperature.
    light_cap, zero, temperature, law : float
        Weights of the terms: GPP below ``eps_max`` times absorbed light; no GPP in the dark, frozen
        or leafless; a response of Reco to one more kelvin between none and a factor of 4 in 10 K;
        fluxes near the law that the structure begins with.
    eps_max : float
        Largest light use efficiency [g MJ-1].
    world_batch : int
        Windows without labels in each update, of the towers and of ``world``.
    ramp : float
        Share of the updates over which the weights of the terms rise from 0.
    """

    light: bool = True
    warmth: bool = True
    respiration: str = "lloyd-taylor"
    leaf_respiration: bool = True
    cool_base_rate: bool = False
    light_cap: float = 0.1
    zero: float = 0.1
    temperature: float = 0.1
    law: float = 1.0
    eps_max: float = 3.0
    world_batch: int = 8
    ramp: float = 0.25

    def __post_init__(self) -> None:
        problems = [
            f"{name}={getattr(self, name)!r} must be True or False"
            for name in _SWITCHES
            if not isinstance(getattr(self, name), bool)
        ]
        problems += [
            f"{name}={getattr(self, name)!r} must be at least {low:g}"
            for name, low in _AT_LEAST.items()
            if not low <= getattr(self, name) < float("inf")
        ]
        if self.respiration not in RESPONSES:
            known = ", ".join(map(repr, RESPONSES))
            problems.append(f"respiration={self.respiration!r} must be one of {known}")
        if not 0.0 <= self.ramp <= 1.0:
            problems.append(f"ramp={self.ramp!r} must be from 0 to 1")
        if problems:
            raise ModelError("; ".join(problems))

    @property
    def terms(self) -> dict[str, float]:
        """Weights of the terms that are in use."""
        weights = {name: getattr(self, name) for name in TERMS}
        return {name: weight for name, weight in weights.items() if weight > 0}


TERMS = ("light_cap", "zero", "temperature", "law")
"""Names of the terms of the loss."""


def as_physics(said: Physics | Mapping[str, Any] | None) -> Physics:
    """The settings from what was said at the door: a mapping of fields, or nothing.

    Raises
    ------
    ModelError
        There is no such field, or a value is out of range.

    Examples
    --------
    >>> as_physics({"respiration": "q10"}).respiration
    'q10'
    """
    if isinstance(said, Physics):
        return said
    names = [field.name for field in fields(Physics)]
    given = dict(said or {})
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise ModelError(
            f"there is no physics setting {', '.join(map(repr, unknown))}; there are "
            f"{', '.join(names)}"
        )
    return Physics(**given)
