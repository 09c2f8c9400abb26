"""Quantiles of a step from mean and spread of the members: a band as wide as errors were.

A prediction is taken as wrong by as much as predictions for held-out entities were. The typical
error of a step is a sum of a constant, a share of the flux and a share of the spread; the errors of
held-out entities divided by it, the scores, have quantiles, and these give the band: conformal
prediction with a local scale (Lei et al. 2018, doi:10.1080/01621459.2017.1307116).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from xflux.cf.targets import Target
from xflux.features import Array
from xflux.prediction.calibration import LEVELS, Band, Calibration

Values = npt.NDArray[np.floating[Any]]
"""Of any precision."""


def sizes(means: Mapping[str, Values], targets: Sequence[Target]) -> dict[str, Values]:
    """How large the fluxes behind each target are, by name.

    Of a target that is the difference of two others it is their sum: NEE may be 0 in full summer,
    with large fluxes of both signs.

    Parameters
    ----------
    means : mapping of str to numpy.ndarray
        The mean over members of each target, any shape.
    targets : sequence of Target

    Examples
    --------
    >>> from xflux.cf.targets import CARBON
    >>> means = {"GPP": np.array([8.0]), "Reco": np.array([7.0]), "NEE": np.array([-1.0])}
    >>> sizes(means, CARBON)["NEE"]
    array([15.])
    """
    outputs = {t.plus: means[t.name] for t in targets if t.minus is None}
    found = {}
    for target in targets:
        taken = target.minus
        if taken is not None and taken in outputs and target.plus in outputs:
            found[target.name] = np.abs(outputs[target.plus] + outputs[taken])
        else:
            found[target.name] = np.abs(means[target.name])
    return found


def typical_error(band: Band, size: Values, spread: Values) -> Values:
    """The typical error of each step, in the units of the target, shape of ``size``."""
    return np.asarray(band.constant + band.size * size + band.spread * spread)


def quantiles(
    means: Mapping[str, Values],
    spreads: Mapping[str, Values],
    targets: Sequence[Target],
    calibration: Calibration,
    levels: Sequence[float],
) -> list[Array]:
    """Quantiles of what would be measured at each step.

    Parameters
    ----------
    means, spreads : mapping of str to numpy.ndarray
        Mean and standard deviation over members of each target, any one shape S; no spread is 0.
    targets : sequence of Target
    calibration : Calibration
    levels : sequence of float
        From `xflux.prediction.calibration.LEVELS` or between.

    Returns
    -------
    list of numpy.ndarray
        Shape (levels, *S) for each target, in its units; at least 0 where the target is.
    """
    size = sizes(means, targets)
    found = []
    for band in calibration.bands:
        mean = means[band.target]
        spread = spreads.get(band.target, np.zeros_like(mean))
        error = typical_error(band, size[band.target], spread)
        scores = np.interp(levels, LEVELS, band.scores).astype(np.float32)
        both = np.stack([mean + score * error for score in scores]).astype(np.float32)
        found.append(np.maximum(both, np.float32(0)) if band.positive else both)
    return found
