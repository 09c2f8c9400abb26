"""Contributions to fluxes by every member of a model, averaged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from xflux import physics
from xflux.attribution import gradients, windows
from xflux.attribution.windows import Asked, Series
from xflux.errors import ModelError
from xflux.networks import building
from xflux.networks.ct_lstm import Member
from xflux.physics import Law
from xflux.prediction import ensemble
from xflux.prediction.ensemble import Members

ROWS = 2**14
"""Steps of windows that go through a member together."""

METHODS = ("ct-lstm", "ct-lstm-physics")

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked: how the outputs of a member make the target, against what, how far back."""

    mix: torch.Tensor
    lags: int
    tolerance: float


class Answer(NamedTuple):
    """Means over members, of J fluxes: flux and flux at the baseline (J,), and what made them.

    ``drivers`` (J, lags, W) and ``fixed`` (J, K) by column, ``earlier`` (J,).
    """

    flux: Array
    baseline: Array
    drivers: Array
    fixed: Array
    earlier: Array

    @property
    def residual(self) -> Array:
        """What the contributions leave out of the difference of the fluxes, (J,)."""
        told = self.drivers.sum((1, 2)) + self.fixed.sum(1) + self.earlier
        return np.asarray(self.flux - self.baseline - told)


def refuse_other_methods(members: Members, what: str) -> None:
    """Say so where the method of a model is not one of `METHODS`.

    Raises
    ------
    ModelError
    """
    method = ensemble.sizes_of(members).method
    if method not in METHODS:
        raise ModelError(
            f"{what} knows the networks of {' and '.join(METHODS)}, this model is of {method}, "
            "which looks at a whole series before it begins: "
            'model = ds.flux.train(method="ct-lstm")'
        )


def networks(members: Members) -> list[tuple[Member, Law | None]]:
    """Each member as it is trained, with its law if it has one."""
    found: list[tuple[Member, Law | None]] = []
    for weights in ensemble.unpack(members):
        law: Law | None = None
        if building.method_of(weights) == "ct-lstm-physics":
            weights, law = physics.split(weights)
            law = law.eval().requires_grad_(False)
        tensors = {name: torch.from_numpy(np.array(values)) for name, values in weights.items()}
        member = building.from_weights(tensors).eval().requires_grad_(False)
        assert isinstance(member, Member)
        found.append((member, law))
    return found


def contributions(
    members: list[tuple[Member, Law | None]],
    own: Series,
    usual: Series,
    asked: Asked,
    question: Question,
) -> Answer:
    """What made each flux, averaged over members.

    Parameters
    ----------
    members : list of (Member, Law or None)
    own, usual : Series
        The input and the baseline.
    asked : Asked
        J fluxes.
    question : Question
    """
    count, lags, share = len(asked.row), question.lags, 1.0 / len(members)
    width, fixed = own.drivers.shape[2], own.fixed.shape[1]
    answer = Answer(
        np.zeros(count),
        np.zeros(count),
        np.zeros((count, lags, width)),
        np.zeros((count, fixed)),
        np.zeros(count),
    )
    for member, law in members:
        before = windows.begin(member, own, asked, lags)
        usually = windows.begin(member, usual, asked, lags)
        for index in windows.groups(asked, lags, ROWS):
            found = gradients.explain(
                member,
                law,
                windows.point(usual, usually, asked, index, lags),
                windows.point(own, before, asked, index, lags),
                seen=torch.from_numpy(asked.run[index].astype(np.float64)),
                mix=question.mix,
                tolerance=question.tolerance,
            )
            parts = found.parts
            answer.flux[index] += share * found.flux.numpy()
            answer.baseline[index] += share * found.baseline.numpy()
            length = parts.drivers.shape[1]
            answer.drivers[index, :length] += share * parts.drivers.flip(1).numpy()
            answer.fixed[index] += share * parts.fixed.numpy()
            for part in (parts.hidden, parts.cell, parts.sums):
                answer.earlier[index] += share * part.flatten(1).sum(1).numpy()
    return answer
