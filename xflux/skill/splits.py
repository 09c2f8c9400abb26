"""Who trains and who tests: whole groups of entities, never single ones.

Two towers a few kilometres apart see the same weather and often the same vegetation. A model
tested on one after training on the other has half seen the answer, so the functions here move
whole clusters of entities together. They take and return one value for each entity.
"""

from __future__ import annotations

import math
import warnings
from fractions import Fraction

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.sparse import coo_array

from xflux.errors import DataError, XfluxWarning

_BINS = 5
_DRAWS = 32


def folds(
    groups: ArrayLike,
    *,
    n: int,
    seed: int = 0,
    strata: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> np.ndarray:
    """Deal whole groups out to folds that weigh the same and hold the same mixture.

    Parameters
    ----------
    groups : array_like, shape (entity,)
        The group of each entity, numbers or names; usually the result of `clusters`.
    n : int
        Number of folds, at least 2 and at most the number of groups.
    seed : int, default 0
        The same seed gives the same folds; another gives another draw.
    strata : array_like, shape (entity,), optional
        Classes to spread evenly over the folds, such as land cover.
    weights : array_like, shape (entity,), optional
        What to balance, such as the number of scored days; 1 for each entity if omitted.

    Returns
    -------
    numpy.ndarray of int, shape (entity,)
        The fold of each entity, 0 to n - 1. No group is split and no fold is empty.

    Raises
    ------
    DataError
        There are fewer groups than folds, `n` is below 2, or lengths or weights are unusable.

    Notes
    -----
    Groups are visited from heavy to light, at random among those of similar weight, and each
    goes to the fold that so far holds least, in all and of the group's own strata.

    Examples
    --------
    >>> part = folds(["a", "a", "b", "c", "d"], n=2)
    >>> bool(part[0] == part[1]), sorted(set(part.tolist()))
    (True, [0, 1])
    """
    names = _groups(groups)
    count = len(set(names.tolist()))
    if n != int(n) or n < 2:
        raise DataError(f"n={n!r} folds; expected a whole number from 2, for example n=5")
    if n > count:
        raise DataError(
            f"n={n} folds were asked for and the entities form {count} group(s): a group is "
            f"never split, so at most {count} folds are possible. "
            + (f"Type n={count}, or bring more towers" if count > 1 else "Bring more towers")
        )
    return _deal(names, int(n), seed=seed, strata=strata, weights=_weights(weights, names))


def holdout(
    groups: ArrayLike,
    *,
    test: float = 0.2,
    seed: int = 0,
    strata: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> np.ndarray:
    """Keep about a share of the entities aside, in whole groups.

    Parameters
    ----------
    groups : array_like, shape (entity,)
        The group of each entity, numbers or names; usually the result of `clusters`.
    test : float, default 0.2
        Share of the entities (of their weight, when `weights` are given) to hold out, between
        0 and 1. Whole groups meet it only about.
    seed : int, default 0
        The same seed gives the same hold-out; another gives another draw.
    strata : array_like, shape (entity,), optional
        Classes of which the hold-out should have its share each, such as land cover.
    weights : array_like, shape (entity,), optional
        What `test` is a share of; 1 for each entity if omitted.

    Returns
    -------
    numpy.ndarray of bool, shape (entity,)
        True for the hold-out. Neither side is ever empty.

    Raises
    ------
    DataError
        `test` is not between 0 and 1, there is only one group, or lengths or weights are
        unusable.

    Notes
    -----
    The groups are dealt to folds as in `folds` (5 of them for a fifth), and as many folds as
    `test` asks for are drawn at random. So a large cluster is as likely to be held out as a
    lone tower, unless it alone is far more than `test`.

    Examples
    --------
    >>> aside = holdout(range(10), test=0.2)
    >>> int(aside.sum())
    2
    """
    names = _groups(groups)
    if not 0 < test < 1:
        raise DataError(
            f"test={test!r}; expected a share between 0 and 1, for example test=0.2 for a fifth"
        )
    count = len(set(names.tolist()))
    if count < 2:
        raise DataError(
            f"all {names.size} entities form one group, and a group is never split: there is "
            "nothing to hold out. Bring towers from elsewhere, or link over shorter distances: "
            "clusters(ds.lat, ds.lon, distance_km=1)"
        )
    weight = _weights(weights, names)
    finest = min(count, max(10, math.ceil(1.0 / min(test, 1.0 - test))))
    slots = Fraction(test).limit_denominator(finest)
    n = max(2, slots.denominator)
    k = min(max(1, slots.numerator * n // slots.denominator), n - 1)
    part = _deal(names, n, seed=seed, strata=strata, weights=weight)
    load = np.bincount(part, weight, minlength=n) / weight.sum()
    rng = np.random.default_rng([seed, n])
    draws = [rng.permutation(n)[:k] for _ in range(_DRAWS)]
    errors = np.array([abs(load[draw].sum() - test) for draw in draws])
    close = np.flatnonzero(errors <= max(errors.min(), 0.25 * min(test, 1.0 - test)))
    return np.isin(part, draws[close[0]])


def leave_groups(
    values: ArrayLike, *, n: int | None = None, seed: int = 0
) -> tuple[np.ndarray, list[str]]:
    """Make folds from a characteristic, to test how a model carries over to another kind.

    Classes (text) become one fold each, or are dealt out whole to `n` folds. Numbers are cut
    into `n` bins (5 if omitted) at their quantiles, so that the folds hold about as many
    entities each; equal numbers stay together, which may leave fewer bins.

    Parameters
    ----------
    values : array_like, shape (entity,)
        A characteristic such as land cover, climate or elevation. Numbers that stand for
        classes should be turned into text first: ``values.astype(str)``.
    n : int, optional
        Number of folds.
    seed : int, default 0
        Which draw, where classes are dealt out to `n` folds.

    Returns
    -------
    labels : numpy.ndarray of int, shape (entity,)
        The fold of each entity; -1 where the characteristic is missing, which is no fold:
        such entities may train and are never tested.
    names : list of str
        What each fold holds: its class or classes, or the range of its numbers.

    Raises
    ------
    DataError
        Fewer than 2 folds come out, or more folds than classes are asked for.

    Warns
    -----
    XfluxWarning
        The characteristic is missing for some entities.

    Notes
    -----
    Neighbouring entities may be of different classes. Pass the clusters to `training_side` so
    that the neighbours of the tested ones do not train.

    Examples
    --------
    >>> leave_groups(["GRA", "ENF", "GRA"])
    (array([1, 0, 1]), ['ENF', 'GRA'])
    >>> leave_groups([10.0, 200.0, 30.0, 900.0], n=2)
    (array([0, 1, 0, 1]), ['10 to 30', '200 to 900'])
    """
    array = _flat(values, "values")
    numeric = array.dtype.kind in "iuf"
    missing = pd.isna(array) | (np.zeros(array.shape, bool) if numeric else array == "")
    if n is not None and (n != int(n) or n < 2):
        raise DataError(f"n={n!r} folds; expected a whole number from 2, for example n=5")
    if missing.any() and not missing.all():
        warnings.warn(
            f"the characteristic is missing for {missing.sum()} of {array.size} entities: they "
            "may train but are never tested. Fill it in to have them scored",
            XfluxWarning,
            stacklevel=2,
        )
    known = array[~missing]
    distinct = np.unique(known if numeric else known.astype(str))
    if distinct.size < 2:
        raise DataError(
            f"the characteristic has {distinct.size} distinct value(s) over {array.size} "
            "entities; folds need at least 2. Cross-validate over clusters instead: by='site'"
        )
    if numeric:
        part, names = _bins(known, _BINS if n is None else int(n))
    else:
        part, names = _classes(known.astype(str), distinct, n, seed)
    labels = np.full(array.shape, -1)
    labels[~missing] = part
    return labels, names


def training_side(labels: ArrayLike, *, fold: int, groups: ArrayLike | None = None) -> np.ndarray:
    """Tell which entities may train when a fold is tested.

    Parameters
    ----------
    labels : array_like of int, shape (entity,)
        The fold of each entity, from `folds` or `leave_groups`.
    fold : int
        The fold that is tested.
    groups : array_like, shape (entity,), optional
        The group of each entity: those that share a group with a tested one do not train.

    Returns
    -------
    numpy.ndarray of bool, shape (entity,)
        True for the entities that may train.

    Raises
    ------
    DataError
        Lengths differ, no entity is in the fold, or none is left to train.

    Examples
    --------
    The second tower stands beside the first, which is tested:

    >>> training_side([0, 1, 1], fold=0, groups=[7, 7, 8]).tolist()
    [False, False, True]
    """
    part = _flat(labels, "labels")
    tested = part == fold
    if not tested.any():
        raise DataError(f"no entity is in fold {fold!r}; there are {np.unique(part).tolist()}")
    held = tested
    if groups is not None:
        names = _groups(groups)
        _same_length(names, part, "groups")
        held = np.isin(names, np.unique(names[tested]))
    if held.all():
        raise DataError(
            f"no entity is left to train when fold {fold!r} is tested: every other one shares a "
            "group with it. Make fewer groups: clusters(ds.lat, ds.lon, distance_km=1)"
        )
    return ~held


def _deal(
    groups: np.ndarray, n: int, *, seed: int, strata: ArrayLike | None, weights: np.ndarray
) -> np.ndarray:
    """Give whole groups to `n` sides of about the same weight; return each entity's side."""
    code = pd.factorize(groups)[0]
    mixture = _mixture(code, weights, strata)
    heavy = mixture[:, -1]
    size = np.floor(np.log2(np.maximum(heavy, np.finfo(float).tiny)))
    order = np.random.default_rng(seed).permutation(heavy.size)
    order = order[np.argsort(-size[order], kind="stable")]

    # A stratum counts by its size, and the total as much as all strata together.
    column = mixture.sum(axis=0)
    scaled = mixture / np.where(column > 0, column, 1.0)
    filled = np.zeros((n, column.size))
    members = np.zeros(n, dtype=int)
    side = np.empty(heavy.size, dtype=int)
    for group in order:
        cost = filled @ scaled[group]
        best = np.flatnonzero(cost <= cost.min() * (1.0 + 1e-9))
        choice = best[np.argmin(members[best])]
        side[group] = choice
        filled[choice] += mixture[group]
        members[choice] += 1
    return side[code]


def _mixture(code: np.ndarray, weight: np.ndarray, strata: ArrayLike | None) -> np.ndarray:
    """Share of all weight by group and stratum, the group's total last: (group, stratum + 1)."""
    shape = code.max() + 1
    total = np.bincount(code, weight, minlength=shape)[:, None]
    if strata is None:
        return total / weight.sum()
    classes = _flat(strata, "strata")
    _same_length(classes, code, "strata")
    kind = pd.factorize(classes, use_na_sentinel=False)[0]
    table = coo_array((weight, (code, kind)), shape=(shape, kind.max() + 1)).toarray()
    return np.concatenate([table, total], axis=1) / weight.sum()


def _bins(values: np.ndarray, n: int) -> tuple[np.ndarray, list[str]]:
    """Cut numbers at their quantiles into at most `n` bins that are not empty."""
    edges = np.unique(np.quantile(values, np.arange(1, n) / n, method="higher"))
    part = np.unique(np.searchsorted(edges, values, side="right"), return_inverse=True)[1]
    if part.max() == 0:
        part = (values > values.min()).astype(int)
    ranges = [values[part == k] for k in range(part.max() + 1)]
    return part, [f"{some.min():g} to {some.max():g}" for some in ranges]


def _classes(
    values: np.ndarray, distinct: np.ndarray, n: int | None, seed: int
) -> tuple[np.ndarray, list[str]]:
    """Give each class a fold, or deal the classes out to `n` folds."""
    if n is None:
        return np.searchsorted(distinct, values), distinct.tolist()
    part = folds(values, n=n, seed=seed)
    return part, [", ".join(np.unique(values[part == k])) for k in range(n)]


def _flat(values: ArrayLike, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0:
        raise DataError(
            f"{name} has shape {array.shape}; expected one value for each entity. Stack several "
            f"entity dims first: ds.stack(entity=('lat', 'lon'))"
        )
    return array


def _groups(groups: ArrayLike) -> np.ndarray:
    array = _flat(list(groups) if isinstance(groups, range) else groups, "groups")
    missing = pd.isna(array)
    if missing.any():
        raise DataError(
            f"the group is missing for {missing.sum()} of {array.size} entities; expected one "
            "for each, for example groups=clusters(ds.lat, ds.lon)"
        )
    return array


def _weights(weights: ArrayLike | None, names: np.ndarray) -> np.ndarray:
    if weights is None:
        return np.ones(names.size)
    weight = _flat(weights, "weights").astype(float)
    _same_length(weight, names, "weights")
    if not np.isfinite(weight).all() or (weight < 0).any() or weight.sum() == 0:
        raise DataError(
            "weights must be finite, not negative and not all zero; found "
            f"{np.nanmin(weight):g} to {np.nanmax(weight):g} with {(~np.isfinite(weight)).sum()} "
            "missing or infinite. Count what there is: weights=ds.NEE.count('time')"
        )
    return weight


def _same_length(values: np.ndarray, entities: np.ndarray, name: str) -> None:
    if values.size != entities.size:
        raise DataError(
            f"{name} has {values.size} values for {entities.size} entities; expected one for each"
        )
