"""What a model predicts: each target as one output of the network, or the difference of two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xflux.cf.variables import BY_NAME


@dataclass(frozen=True, kw_only=True)
class Target:
    """A variable that a model predicts.

    Outputs of a network are positive. A target that may be negative is the difference of two, as
    NEE is of Reco and GPP.

    Attributes
    ----------
    name, units, long_name : str
    plus : int
        Number of its output.
    minus : int or None
        Number of the output that is taken off.
    standard_name, comment : str or None
    """

    name: str
    units: str
    long_name: str
    plus: int
    minus: int | None = None
    standard_name: str | None = None
    comment: str | None = None


COMMENT = {
    "GPP": "mass of carbon; positive is uptake by the ecosystem",
    "Reco": "mass of carbon; positive is release to the atmosphere; autotrophic and heterotrophic",
    "NEE": "mass of carbon; Reco - GPP, positive is release to the atmosphere",
}


def _carbon(name: str, plus: int, minus: int | None = None) -> Target:
    row = BY_NAME[name]
    return Target(
        name=name,
        units=row.units,
        long_name=row.long_name,
        plus=plus,
        minus=minus,
        standard_name=row.standard_name,
        comment=COMMENT[name],
    )


CARBON = (_carbon("GPP", 0), _carbon("Reco", 1), _carbon("NEE", 1, 0))
"""The targets of every model that was not tuned to others."""


def outputs_of(targets: Sequence[Target]) -> int:
    """How many outputs a network needs for some targets.

    Examples
    --------
    >>> outputs_of(CARBON)
    2
    """
    return 1 + max(max(t.plus, -1 if t.minus is None else t.minus) for t in targets)


def mixing(targets: Sequence[Target]) -> npt.NDArray[np.float64]:
    """Each target as a sum of outputs, shape (targets, outputs).

    Examples
    --------
    >>> mixing(CARBON)
    array([[ 1.,  0.],
           [ 0.,  1.],
           [-1.,  1.]])
    """
    mix = np.zeros((len(targets), outputs_of(targets)))
    for row, target in zip(mix, targets, strict=True):
        row[target.plus] += 1.0
        if target.minus is not None:
            row[target.minus] -= 1.0
    return mix


def sound(targets: Sequence[Target]) -> bool:
    """Whether targets that come from a file can be those of a model."""
    names = [target.name for target in targets]
    numbers = [n for t in targets for n in (t.plus, t.minus) if n is not None]
    texts = [text for t in targets for text in (t.name, t.units, t.long_name)]
    return (
        0 < len(set(names)) == len(names)
        and all(isinstance(text, str) and bool(text) for text in texts)
        and all(type(n) is int and 0 <= n < 2 * len(names) for n in numbers)
    )
