r"""Fine-tuning in closed form: the heads of all members together, by Bayes' rule.

A place departs from the model by a change :math:`\theta` of the heads' weights and biases, or of
one logarithmic factor a flux. Before its first label the change is normal around zero with known
spread (`xflux.training.prior.Prior`), and so is the misfit that does not last, with a covariance C
that is correlated in time. What the labels y then say is the maximum of

.. math:: -\tfrac12 (y - f(\theta))^T C^{-1} (y - f(\theta)) - \tfrac12 |\theta / \sigma|^2 .

The flux f is linear in the heads but for the softplus, so Gauss-Newton steps reach it in a few
solves of ridge regression, with no learning rate, no early stopping and nothing random. Few labels,
labels close in time, or labels from a season without flux say little, and the model stays near what
it was.

References
----------
Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, chapter 2,
doi:10.7551/mitpress/3206.001.0001. Entities of one region as random effects: Laird and Ware 1982,
doi:10.2307/2529876.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg import cholesky, solve, solve_triangular

Numbers = npt.NDArray[np.float64]

STEPS = 10
"""Gauss-Newton steps at most; two or three are usual."""


@dataclass(frozen=True, kw_only=True)
class Heads:
    """The heads of M members, each of two networks, for K outputs.

    Attributes
    ----------
    weights : numpy.ndarray
        Shape (M, K, F): of each member both heads side by side, their biases last in each part.
    spread : numpy.ndarray
        Shape (M, K): units of the outputs.
    split : int
        Where the part of the network over means begins in F.
    log_scale : numpy.ndarray
        Shape (K,): logarithm of a factor on each output.
    """

    weights: Numbers
    spread: Numbers
    split: int
    log_scale: Numbers

    def outputs(self, seen: Numbers) -> tuple[Numbers, Numbers]:
        """Outputs (n, K), and what each weight adds to them for each unit of it, (n, K, M, F).

        Parameters
        ----------
        seen : numpy.ndarray
            Shape (n, M, F): what the heads see, with ones where the biases belong.
        """
        parts = (slice(None, self.split), slice(self.split, None))
        unit = 0.5 * self.spread * np.exp(self.log_scale) / len(self.weights)
        slope = np.empty((len(seen), *self.weights.shape[1::-1], self.weights.shape[2]))
        total = np.zeros((len(seen), self.weights.shape[1]))
        for part in parts:
            logit = np.einsum("nmf,mkf->nkm", seen[..., part], self.weights[..., part])
            total += (np.logaddexp(0.0, logit) * unit.T).sum(axis=-1)
            rise = unit.T / (1.0 + np.exp(-np.clip(logit, -60.0, 60.0)))
            slope[..., part] = rise[..., None] * seen[:, None, :, part]
        return total, slope

    def moved(self, change: Change) -> Heads:
        """Heads that are changed."""
        return Heads(
            weights=self.weights + change.weights,
            spread=self.spread,
            split=self.split,
            log_scale=self.log_scale + change.log_scale,
        )


class Change(NamedTuple):
    """Of the heads: ``log_scale`` (K,) and ``weights`` (M, K, F); or the spread of one."""

    log_scale: Numbers
    weights: Numbers

    def flat(self) -> Numbers:
        """One vector: for each output its factor, then the weights of each member."""
        turned = self.weights.transpose(1, 0, 2).reshape(len(self.log_scale), -1)
        return np.concatenate([self.log_scale[:, None], turned], axis=1).ravel()

    def like(self, vector: Numbers) -> Change:
        """A vector in the form of this change."""
        members, outputs, seen = self.weights.shape
        rows = vector.reshape(outputs, -1)
        weights = rows[:, 1:].reshape(outputs, members, seen).transpose(1, 0, 2)
        return Change(rows[:, 0].copy(), weights.copy())


class Evidence(NamedTuple):
    """The labels of one entity: r numbers, each a sum of outputs at one of n steps.

    ``seen`` (n, M, F); ``step`` (r,) points into n; ``mixed`` (r, K) says of which outputs a label
    is the sum; ``labels`` (r,); ``misfit`` (r, r) is the covariance C.
    """

    seen: Numbers
    step: npt.NDArray[np.intp]
    mixed: Numbers
    labels: Numbers
    misfit: Numbers


def tune_heads(
    heads: Heads, evidence: Sequence[Evidence], *, spread: Change, own: Change | None = None
) -> Heads:
    """The most likely heads after some labels.

    Parameters
    ----------
    heads : Heads
    evidence : sequence of Evidence
        One an entity.
    spread : Change
        Standard deviation of each change before the labels; 0 for what stays.
    own : Change, optional
        That of the changes that each entity has for itself: they explain labels, but are not what
        the entities share, and are left out of the result.

    Returns
    -------
    Heads
    """
    sigma = spread.flat()
    aside = None if own is None else own.flat()
    at = np.zeros_like(sigma)
    for _ in range(STEPS):
        rows = [_linear(heads.moved(spread.like(at)), part) for part in evidence]
        white = [_whiten(slope, error, part, aside) for (slope, error), part in
                 zip(rows, evidence, strict=True)]  # fmt: skip
        design = np.concatenate([slope for slope, _, _ in white]) * sigma
        target = np.concatenate([error for _, error, _ in white])
        scaled = np.divide(at, sigma, out=np.zeros_like(at), where=sigma > 0)
        best = ridge(design, target + design @ scaled) * sigma
        roots = [root for _, _, root in white]
        now = _loss(heads, evidence, roots, spread, at, sigma)
        step = 1.0
        while _loss(heads, evidence, roots, spread, at + step * (best - at), sigma) > now:
            step *= 0.5
            if step < 1e-3:
                return heads.moved(spread.like(at))
        moved = step * (best - at)
        at = at + moved
        if np.abs(moved).max(initial=0.0) < 1e-5:
            break
    return heads.moved(spread.like(at))


def ridge(design: Numbers, target: Numbers) -> Numbers:
    """Ridge regression with a penalty of 1, by whichever of the two forms is the smaller.

    Parameters
    ----------
    design, target : numpy.ndarray
        Shapes (r, P) and (r,).

    Returns
    -------
    numpy.ndarray
        Shape (P,).

    Examples
    --------
    >>> ridge(np.array([[1.0], [1.0]]), np.array([3.0, 3.0]))
    array([2.])
    """
    rows, columns = design.shape
    if rows <= columns:
        gram = design @ design.T + np.eye(rows)
        return np.asarray(design.T @ solve(gram, target, assume_a="pos"))
    gram = design.T @ design + np.eye(columns)
    return np.asarray(solve(gram, design.T @ target, assume_a="pos"))


def misfit_covariance(
    steps: npt.NDArray[np.integer], size: Numbers, *, noise: float, memory: float
) -> Numbers:
    """Covariance of misfit that is remembered for some steps, with noise on top, (n, n).

    ``size_i size_j (exp(-|t_i - t_j| / memory) + noise [i = j])``.

    Examples
    --------
    >>> misfit_covariance(np.array([0, 1]), np.ones(2), noise=0.5, memory=1.0).round(2)
    array([[1.5 , 0.37],
           [0.37, 1.5 ]])
    """
    apart = np.abs(np.subtract.outer(steps, steps)).astype(np.float64)
    kernel = np.exp(-apart / memory) + noise * np.eye(len(steps))
    return np.asarray(kernel * np.multiply.outer(size, size))


def _predicted(heads: Heads, part: Evidence) -> Numbers:
    outputs, _ = heads.outputs(part.seen)
    return np.asarray((part.mixed * outputs[part.step]).sum(axis=1))


def _linear(heads: Heads, part: Evidence) -> tuple[Numbers, Numbers]:
    """Slope of each label along each change, (r, P), and what is left of the labels, (r,)."""
    outputs, slope = heads.outputs(part.seen)
    flat = slope.reshape(*outputs.shape, -1)
    joined = np.concatenate([outputs[..., None], flat], axis=-1)[part.step]
    mixed = part.mixed[..., None] * joined
    left = part.labels - (part.mixed * outputs[part.step]).sum(axis=1)
    return mixed.reshape(len(left), -1), left


def _whiten(
    slope: Numbers, error: Numbers, part: Evidence, own: Numbers | None
) -> tuple[Numbers, Numbers, Numbers]:
    """Slope and error in units in which misfit, and what is the entity's own, is white."""
    covariance = part.misfit
    if own is not None:
        private = slope * own
        covariance = covariance + private @ private.T
    root = cholesky(covariance, lower=True)
    white = solve_triangular(root, np.column_stack([slope, error]), lower=True)
    return white[:, :-1], white[:, -1], root


def _loss(
    heads: Heads,
    evidence: Sequence[Evidence],
    roots: Sequence[Numbers],
    spread: Change,
    at: Numbers,
    sigma: Numbers,
) -> float:
    moved = heads.moved(spread.like(at))
    total = float((np.divide(at, sigma, out=np.zeros_like(at), where=sigma > 0) ** 2).sum())
    for part, root in zip(evidence, roots, strict=True):
        left = part.labels - _predicted(moved, part)
        total += float((solve_triangular(root, left, lower=True) ** 2).sum())
    return total
