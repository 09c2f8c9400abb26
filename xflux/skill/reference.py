"""The towers of training as some hundred points, with which the drivers of a step are compared.

After Meyer and Pebesma 2021 (doi:10.1111/2041-210X.13650), with centres of clusters of steps in
place of all steps, so that a global grid is affordable.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xflux.features import Array, Assembled
from xflux.model import FluxModel
from xflux.prediction import ensemble
from xflux.prediction.calibration import Reference
from xflux.prediction.dissimilarity import dissimilarity
from xflux.training.labels import assembled
from xflux.training.towers import Towers

POINTS = 512
"""Points of a reference."""

STEPS_EACH = 100
"""Steps of each tower from which the points are found: towers count alike."""

SHUFFLED = 30
"""Towers at which drivers are shuffled to see how much they matter."""

ROUNDS = 10
"""Rounds of k-means."""


def make_reference(
    model: FluxModel,
    towers: Towers,
    fold: npt.NDArray[np.int64],
    *,
    drivers_alone: bool = True,
    seed: int = 0,
) -> Reference:
    """Describe the towers of training, and how far apart towers that do not know each other are.

    Parameters
    ----------
    model : FluxModel
    towers : Towers
        Those of its training: N entities.
    fold : numpy.ndarray
        Shape (N,): folds of whole clusters. The threshold is the upper whisker of the
        dissimilarity of the steps of each fold to the points of all others: the third quartile
        and one and a half times the distance between the quartiles.
    drivers_alone : bool
        False compares the season and the characteristics too. The distance then says less about
        errors (``benchmarks/applicability.py``): every day of the year was in training.
    seed : int

    Returns
    -------
    Reference
    """
    rng = np.random.default_rng(seed)
    rows, of = _sample(model, towers, rng)
    weights = importance(model, towers, rows, rng)
    if drivers_alone:
        weights[len(model.inputs.drivers) :] = 0
    rows = rows * weights
    points = centres(rows, POINTS, rng)
    scale = _mean_distance(rows[rng.permutation(len(rows))[:1000]])
    found = []
    for k in sorted(set(fold[of].tolist())):
        here = fold[of] == k
        if here.all():
            continue
        others = Reference(
            weights=np.ones_like(weights),
            points=centres(rows[~here], POINTS, rng),
            scale=scale,
            threshold=1.0,
        )
        none = np.zeros((1, 0), dtype=np.float32)
        found.append(dissimilarity(rows[here][None], none, others)[0])
    low, high = np.quantile(np.concatenate(found), [0.25, 0.75])
    threshold = float(high + 1.5 * (high - low))
    return Reference(weights=weights, points=points, scale=scale, threshold=threshold)


def _columns(model: FluxModel, block: Assembled) -> Array:
    """Drivers, derived drivers and characteristics of one entity, shape (T, D)."""
    width = len(model.inputs.drivers) + len(model.inputs.derived)
    timed = block.drivers[0, :, :width]
    fixed = np.broadcast_to(block.characteristics, (len(timed), block.characteristics.shape[1]))
    return np.concatenate([timed, fixed], axis=1)


def _sample(
    model: FluxModel, towers: Towers, rng: np.random.Generator
) -> tuple[Array, npt.NDArray[np.int64]]:
    """Some labelled steps of every tower, shape (S, D), and the tower of each."""
    rows, of = [], []
    for entity in range(len(towers.labels)):
        block, predicted = assembled(towers, model.inputs, entity)
        steps = np.flatnonzero(predicted & towers.labelled[entity])
        steps = rng.permutation(steps)[:STEPS_EACH]
        rows.append(_columns(model, block)[steps])
        of.append(np.full(len(steps), entity))
    return np.concatenate(rows), np.concatenate(of)


def importance(
    model: FluxModel, towers: Towers, rows: Array, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """How much each column moves the prediction when its values are drawn anew; at most 1.

    Parameters
    ----------
    model : FluxModel
    towers : Towers
    rows : numpy.ndarray
        Shape (S, D): steps from which values are drawn, of all towers.
    rng : numpy.random.Generator

    Returns
    -------
    numpy.ndarray
        Shape (D,): root mean square change, divided by the largest. The columns of a category
        share one, divided by sqrt(2): two classes then lie as far apart as it says.
    """
    inputs = model.inputs
    groups = [[j] for j in range(len(inputs.drivers) + len(inputs.derived))]
    timed = len(groups)
    for item in inputs.characteristics:
        first = groups[-1][-1] + 1
        groups.append(list(range(first, first + item.width)))
    change = np.zeros(len(groups))
    for entity in rng.permutation(len(towers.labels))[:SHUFFLED]:
        block, predicted = assembled(towers, inputs, int(entity))
        drivers = np.repeat(block.drivers, len(groups) + 1, axis=0)
        fixed = np.repeat(block.characteristics, len(groups) + 1, axis=0)
        for number, columns in enumerate(groups):
            if number < timed:
                drawn = rng.integers(len(rows), size=drivers.shape[1])
                drivers[number + 1, :, columns[0]] = rows[drawn, columns[0]]
            else:
                own = np.asarray(columns) - timed
                fixed[number + 1, own] = rows[rng.integers(len(rows)), columns]
        usable = np.repeat(block.usable, len(groups) + 1, axis=0)
        several = Assembled(drivers, fixed, usable, usable)
        fluxes = ensemble.run(model.members, several)[0].mean(axis=0)[:, predicted]
        if fluxes.size:
            change += ((fluxes[1:] - fluxes[0]) ** 2).mean(axis=(1, 2))
    change = np.sqrt(change / max(change.max(), np.finfo(float).tiny))
    weights = np.zeros(groups[-1][-1] + 1, dtype=np.float32)
    for columns, value in zip(groups, change, strict=True):
        weights[columns] = value / np.sqrt(min(len(columns), 2))
    return weights


def centres(rows: Array, count: int, rng: np.random.Generator) -> Array:
    """Centres of groups of rows by k-means, shape (count, D), or all rows if there are fewer.

    Examples
    --------
    >>> rows = np.array([[0.0], [0.2], [5.0], [5.2]], dtype=np.float32)
    >>> sorted(centres(rows, 2, np.random.default_rng(0)).ravel().round(1).tolist())
    [0.1, 5.1]
    """
    found = rows[rng.permutation(len(rows))[:count]].copy()
    for _ in range(ROUNDS if len(rows) > count else 0):
        own = (found**2).sum(axis=1)
        nearest = np.concatenate(
            [(own - 2 * part @ found.T).argmin(axis=1) for part in _parts(rows)]
        )
        size = np.bincount(nearest, minlength=count)
        sums = [np.bincount(nearest, column, minlength=count) for column in rows.T]
        some = size > 0
        found[some] = (np.stack(sums, axis=1)[some] / size[some, None]).astype(np.float32)
    return found


def _parts(rows: Array) -> list[Array]:
    return [rows[first : first + 4096] for first in range(0, len(rows), 4096)]


def _mean_distance(rows: Array) -> float:
    squares = (rows**2).sum(axis=1)
    square = squares[:, None] + squares - 2 * rows @ rows.T
    return float(np.sqrt(np.maximum(square, 0)).mean())
