"""What is known about a new place before its first label: how far towers differ from a model.

A few numbers, the same for every model of a time step: they are learned by cross-validation over
clusters of towers (``benchmarks/few_shot_prior.py``), each tower predicted by a model that had not
seen it, so that what a model gets wrong at new towers is what they hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from xflux.errors import ModelError


@dataclass(frozen=True, kw_only=True)
class Prior:
    """Spread of what may change in a fine-tuning, and of what must not be learned from.

    Attributes
    ----------
    scale : float
        Standard deviation of the logarithm of a place's own factor on a flux.
    recurrent, direct : float
        Of the change of a weight in the heads of the CT-LSTM and of the network over means, in a
        member of an ensemble of one. In one of M members it is the root of M times as wide, since
        their changes average: the ensemble's own change is as wide for any M.
    recurrent_bias, direct_bias : float
        Of the change of their biases.
    adapter, inner : float
        Of the change of the biases that all characteristics enter through, and of any weight below
        the heads, in the same sense.
    floor, share : float
        Misfit that does not last: its standard deviation is ``floor`` times the spread of the flux
        in training plus ``share`` times the flux.
    noise, memory : float
        Misfit is remembered for some ``memory`` steps (exponentially); noise of ``noise`` times its
        variance comes on top at every step.
    fresh : float
        Heads of a new target, which begin with no weights at all, may go this many times as far.
    shared : float
        Share of a place's departure from the model that it has in common with others of its region.
    """

    scale: float = 0.35
    recurrent: float = 0.9
    direct: float = 0.12
    recurrent_bias: float = 0.37
    direct_bias: float = 0.75
    adapter: float = 0.5
    inner: float = 0.1
    floor: float = 0.48
    share: float = 0.13
    noise: float = 1.9
    memory: float = 7.3
    fresh: float = 3.0
    shared: float = 0.3

    def __post_init__(self) -> None:
        wrong = [
            f"{name}={getattr(self, name)!r} must be {words}"
            for name, (low, high, words) in _RANGES.items()
            if not low <= getattr(self, name) <= high
        ]
        if wrong:
            raise ModelError("; ".join(wrong))

    def changed(self, settings: Mapping[str, float] | None) -> Prior:
        """The same with some fields replaced, by name."""
        given = dict(settings or {})
        unknown = [name for name in given if name not in _RANGES]
        if unknown:
            raise ModelError(
                f"unknown settings {unknown}: a fine-tuning takes {', '.join(_RANGES)}"
            )
        return replace(self, **given)


_POSITIVE = (1e-9, float("inf"), "above 0")
_NOT_NEGATIVE = (0.0, float("inf"), "at least 0")
_RANGES = {
    field.name: {
        "floor": _POSITIVE,
        "memory": _POSITIVE,
        "noise": _POSITIVE,
        "shared": (1e-9, 1.0, "above 0 and at most 1"),
    }.get(field.name, _NOT_NEGATIVE)
    for field in fields(Prior)
}

PRIORS = {"daily": Prior(), "monthly": Prior(memory=1.0, noise=1.0)}
"""By time step."""
