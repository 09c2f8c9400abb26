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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg import cholesky, solve, solve_triangular

Numbers = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

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

    def outputs(self, seen: Numbers) -> Numbers:
        """Outputs, (n, K), from what the heads see, (n, M, F), with ones for the biases."""
        total = np.zeros((len(seen), self.weights.shape[1]))
        for logit, _ in self._logits(seen):
            total += (np.logaddexp(0.0, logit) * self._unit()).sum(axis=-1)
        return total

    def slopes(self, seen: Numbers) -> Numbers:
        """What each weight adds to each output for each unit of it, (n, K, M, F)."""
        slope = np.empty((len(seen), *self.weights.shape[1::-1], self.weights.shape[2]))
        for logit, part in self._logits(seen):
            rise = self._unit() / (1.0 + np.exp(-np.clip(logit, -60.0, 60.0)))
            slope[..., part] = rise[..., None] * seen[:, None, :, part]
        return slope

    def _unit(self) -> Numbers:
        """What each network adds to an output for each unit of its softplus, (K, M)."""
        return np.asarray(0.5 * (self.spread * np.exp(self.log_scale)).T / len(self.weights))

    def _logits(self, seen: Numbers) -> Iterator[tuple[Numbers, slice]]:
        """Of both networks, (n, K, M), each with its part of F."""
        for part in (slice(None, self.split), slice(self.split, None)):
            turned = seen[..., part].transpose(1, 0, 2)
            logit = turned @ self.weights[..., part].transpose(0, 2, 1)
            yield logit.transpose(1, 2, 0), part

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

    def times(self, factor: float) -> Change:
        """A change that is some times as large."""
        return Change(factor * self.log_scale, factor * self.weights)

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
    tuned = spread.flat() > 0
    sigma = spread.flat()[tuned]
    aside = None if own is None else own.flat()[tuned]
    whole = np.zeros(len(tuned))

    def at(scaled: Numbers) -> Heads:
        whole[tuned] = scaled * sigma
        return heads.moved(spread.like(whole))

    found = np.zeros_like(sigma)
    for _ in range(STEPS):
        here = at(found)
        white = [_whiten(*_linear(here, part, tuned), part, aside) for part in evidence]
        design = np.concatenate([slope for slope, _, _ in white]) * sigma
        target = np.concatenate([error for _, error, _ in white])
        roots = [root for _, _, root in white]
        move = ridge(design, target + design @ found) - found
        now = float(found @ found + target @ target)
        while _loss(at(found + move), evidence, roots, found + move) > now:
            move *= 0.5
            if np.abs(move).max() < 1e-9:
                break
        found = found + move
        if np.abs(move).max(initial=0.0) < 1e-4:
            break
    return at(found)


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


def covariances(heads: Heads, evidence: Sequence[Evidence], own: Change | None) -> list[Numbers]:
    """Covariance of each entity's labels (r, r): misfit, and what the entity has for itself."""
    if own is None:
        return [part.misfit for part in evidence]
    tuned = own.flat() > 0
    private = [_linear(heads, part, tuned)[0] * own.flat()[tuned] for part in evidence]
    return [part.misfit + p @ p.T for part, p in zip(evidence, private, strict=True)]


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
    return np.asarray((part.mixed * heads.outputs(part.seen)[part.step]).sum(axis=1))


def _linear(heads: Heads, part: Evidence, tuned: Mask) -> tuple[Numbers, Numbers]:
    """Slope of each label along each change that is tuned, (r, P), and what is left, (r,)."""
    outputs = heads.outputs(part.seen)
    flat = heads.slopes(part.seen).reshape(*outputs.shape, -1)
    joined = np.concatenate([outputs[..., None], flat], axis=-1)[part.step]
    mixed = (part.mixed[..., None] * joined).reshape(len(part.labels), -1)
    return mixed[:, tuned], part.labels - (part.mixed * outputs[part.step]).sum(axis=1)


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
    heads: Heads, evidence: Sequence[Evidence], roots: Sequence[Numbers], change: Numbers
) -> float:
    """Twice the negative logarithm of the posterior, with a given covariance of misfit."""
    total = float(change @ change)
    for part, root in zip(evidence, roots, strict=True):
        left = solve_triangular(root, part.labels - _predicted(heads, part), lower=True)
        total += float(left @ left)
    return total
