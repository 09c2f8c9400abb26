"""What a block gives, variable by variable: its own dimensions, its type, what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from xflux.cf.targets import Target
from xflux.features import Array, Assembled, Inputs
from xflux.prediction.calibration import Extra
from xflux.prediction.conformal import quantiles
from xflux.prediction.dissimilarity import applicable, dissimilarity, within_ranges


class Output(NamedTuple):
    """One variable of a prediction.

    ``lead`` has the sizes of its dimensions before those of entities and time, by name.
    """

    name: str
    lead: dict[str, int]
    dtype: np.dtype[Any]
    fill: float | int

    def missing(self, shape: Sequence[int]) -> npt.NDArray[Any]:
        """An array in which every value is missing, with entities and time of this shape."""
        return np.full((*self.lead.values(), *shape), self.fill, dtype=self.dtype)


def outputs(fluxes: Sequence[str], members: int | None, extra: Extra | None) -> tuple[Output, ...]:
    """All variables of a prediction in their order.

    Parameters
    ----------
    fluxes : sequence of str
        Names of the fluxes, and of their spread.
    members : int, optional
        How many members, where each is wanted.
    extra : Extra, optional

    Examples
    --------
    >>> [(o.name, o.lead) for o in outputs(["GPP"], 5, None)]
    [('GPP', {'realization': 5})]
    """
    real, flag = np.dtype(np.float32), np.dtype(np.int8)
    lead = {} if members is None else {"realization": members}
    found = [Output(name, lead, real, np.nan) for name in fluxes]
    if extra is not None and extra.quantiles:
        own = {"quantile": len(extra.quantiles)}
        bands = extra.calibration.bands
        found += [Output(f"{band.target}_quantile", own, real, np.nan) for band in bands]
    if extra is not None and extra.applicability:
        found += [Output("dissimilarity", {}, real, np.nan), Output("applicable", {}, flag, -1)]
    return tuple(found)


def beside(
    extra: Extra | None,
    targets: Sequence[Target],
    found: Sequence[Array],
    block: Assembled,
    inputs: Inputs,
) -> list[npt.NDArray[Any]]:
    """What is wanted beside the fluxes, of some cells; missing where the fluxes are.

    Parameters
    ----------
    extra : Extra, optional
    targets : sequence of Target
    found : sequence of numpy.ndarray
        Shape ([realization,] C, T) each: the fluxes, then their spreads if there are any.
    block : Assembled
        What the network saw of these cells.
    inputs : Inputs

    Returns
    -------
    list of numpy.ndarray
        One for each of `outputs` that follows the fluxes, shape (own dims..., C, T).
    """
    if extra is None:
        return []
    given: list[npt.NDArray[Any]] = []
    names, calibration = [t.name for t in targets], extra.calibration
    if extra.quantiles:
        means = dict(zip(names, found, strict=False))
        spreads = dict(zip(names, found[len(names) :], strict=False))
        given += quantiles(means, spreads, targets, calibration, extra.quantiles)
    if extra.applicability and calibration.reference is not None:
        some = found[0].reshape(-1, *found[0].shape[-2:])[0]
        index = dissimilarity(block.drivers, block.characteristics, calibration.reference)
        index[np.isnan(some)] = np.nan
        inside = within_ranges(block.drivers, inputs)
        given += applicable(index, inside, calibration.reference)
    return given
