"""What is known of a model's errors: measured on entities that were held out, kept in its file."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xflux.errors import ModelError, ModelFileError
from xflux.features import Array, Inputs

LEVELS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99)
"""Levels at which scores are kept; quantiles between them are interpolated."""

LARGEST = 4096
"""Points of a reference at most; a file that names more is not one of xflux."""


@dataclass(frozen=True, kw_only=True)
class Band:
    """How far measured values of one target lie from its prediction.

    The typical error of a step is ``constant + size * S + spread * s``: S is how large the fluxes
    are, s the standard deviation of the members. A score is (measured - predicted) / typical error.

    Attributes
    ----------
    target : str
    constant, size, spread : float
        Not negative; ``constant`` is positive, in the units of the target.
    positive : bool
        The target is never below 0.
    scores : tuple of float
        Quantiles of the scores at `LEVELS`.
    """

    target: str
    constant: float
    size: float
    spread: float
    positive: bool
    scores: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """The drivers and characteristics of the towers of training, as some hundred points.

    Attributes
    ----------
    weights : numpy.ndarray
        Shape (D,): weight of each normalised driver, derived driver and column of characteristics.
    points : numpy.ndarray
        Shape (R, D), normalised and weighted.
    scale : float
        Mean distance between two of the points.
    threshold : float
        Dissimilarity up to which a step is like those of training.
    """

    weights: Array
    points: Array
    scale: float
    threshold: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """What held-out entities have taught about the errors of a model.

    Attributes
    ----------
    bands : tuple of Band
        One for each target.
    reference : Reference, optional
        Known where the calibration has seen the towers of training.
    entities, clusters, steps : int
        How many were held out.
    """

    bands: tuple[Band, ...]
    reference: Reference | None
    entities: int
    clusters: int
    steps: int

    def __repr__(self) -> str:
        return (
            f"<calibration on {self.steps} steps of {self.entities} entities in {self.clusters} "
            "clusters, held out>"
        )


@dataclass(frozen=True, kw_only=True)
class Extra:
    """What a prediction gives beside its fluxes.

    Attributes
    ----------
    calibration : Calibration
    quantiles : tuple of float
    applicability : bool
    """

    calibration: Calibration
    quantiles: tuple[float, ...] = ()
    applicability: bool = False

    def told(self) -> str:
        """What makes it what it is, for a run that goes on: one with another text is another."""
        about = (to_json(self.calibration), self.quantiles, self.applicability)
        return hashlib.sha256(repr(about).encode()).hexdigest()


def extra_of(
    calibration: Calibration | None,
    *,
    quantiles: Sequence[float] | None,
    applicability: bool,
    members: bool,
) -> Extra | None:
    """Check what is wanted beside the fluxes against what the model knows.

    Parameters
    ----------
    calibration : Calibration, optional
        Of the model.
    quantiles : sequence of float, optional
    applicability, members : bool

    Returns
    -------
    Extra or None

    Raises
    ------
    ModelError
        The model was not calibrated, or these are no quantiles that it knows.
    """
    if quantiles is None and not applicability:
        return None
    if calibration is None:
        wanted = "applicability=True needs" if quantiles is None else "quantiles= needs"
        raise ModelError(
            f"{wanted} a model that was calibrated on entities held out: "
            "model = towers.flux.calibrate(model); members=True gives the members as they are"
        )
    if applicability and calibration.reference is None:
        raise ModelError(
            "applicability=True compares drivers with those of training, which the calibration has "
            "not seen: model = train.flux.calibrate(model) on the towers of training"
        )
    return Extra(
        calibration=calibration,
        quantiles=() if quantiles is None else _quantiles(quantiles, members),
        applicability=applicability,
    )


def _quantiles(quantiles: Sequence[float], members: bool) -> tuple[float, ...]:
    if members:
        raise ModelError(
            "quantiles= are of the ensemble, members=True gives each member: leave one of them out"
        )
    try:
        found = tuple(float(q) for q in quantiles)
    except (TypeError, ValueError):
        found = ()
    rising = all(a < b for a, b in itertools.pairwise(found))
    if not found or not rising or not LEVELS[0] <= found[0] <= found[-1] <= LEVELS[-1]:
        raise ModelError(
            f"quantiles={quantiles!r}: give rising numbers from {LEVELS[0]} to {LEVELS[-1]}, "
            "quantiles=[0.05, 0.5, 0.95]"
        )
    return found


def to_json(calibration: Calibration) -> dict[str, Any]:
    """A calibration as the model file keeps it."""
    about: dict[str, Any] = {
        "bands": [asdict(band) for band in calibration.bands],
        "levels": LEVELS,
        "entities": calibration.entities,
        "clusters": calibration.clusters,
        "steps": calibration.steps,
    }
    if calibration.reference is not None:
        reference = calibration.reference
        about["reference"] = {
            "weights": _short(reference.weights),
            "points": [_short(point) for point in reference.points],
            "scale": reference.scale,
            "threshold": reference.threshold,
        }
    return about


def _short(values: Array) -> list[float]:
    """Numbers of as many digits as bring back the same float32."""
    return [float(str(value)) for value in values]


def from_json(about: Mapping[str, Any], inputs: Inputs, names: Sequence[str]) -> Calibration:
    """Read a calibration, and refuse one that cannot be of this model.

    Parameters
    ----------
    about : mapping
        What `to_json` made.
    inputs : Inputs
        Of the model.
    names : sequence of str
        Its targets.

    Raises
    ------
    ModelFileError
        Numbers are not finite, of the wrong sign, too many, or do not fit the model.
    """
    bands = tuple(_band(**band) for band in about["bands"])
    counts = [about[name] for name in ("entities", "clusters", "steps")]
    if (
        tuple(about["levels"]) != LEVELS
        or [band.target for band in bands] != list(names)
        or not all(_sound(band) for band in bands)
        or not all(type(count) is int and count > 0 for count in counts)
    ):
        raise ModelFileError("the model's calibration does not fit its targets")
    entities, held, steps = counts
    reference = _reference(about["reference"], inputs) if "reference" in about else None
    return Calibration(
        bands=bands, reference=reference, entities=entities, clusters=held, steps=steps
    )


def _band(
    target: str, constant: float, size: float, spread: float, positive: bool, scores: list[float]
) -> Band:
    return Band(
        target=target,
        constant=float(constant),
        size=float(size),
        spread=float(spread),
        positive=positive,
        scores=tuple(map(float, scores)),
    )


def _reference(about: Mapping[str, Any], inputs: Inputs) -> Reference:
    width = len(inputs.drivers) + len(inputs.derived) + inputs.characteristic_width
    points = about["points"]
    if not 0 < len(points) <= LARGEST or any(len(point) != width for point in points):
        raise ModelFileError(f"the model's reference has no points of {width} numbers")
    reference = Reference(
        weights=np.asarray(about["weights"], dtype=np.float32),
        points=np.asarray(points, dtype=np.float32),
        scale=float(about["scale"]),
        threshold=float(about["threshold"]),
    )
    if (
        reference.weights.shape != (width,)
        or not _finite(reference.weights, reference.points)
        or not (reference.weights >= 0).all()
        or not 0 < reference.scale < np.inf
        or not 0 < reference.threshold < np.inf
    ):
        raise ModelFileError("the model's reference does not fit its inputs")
    return reference


def _sound(band: Band) -> bool:
    scores = np.asarray(band.scores, dtype=np.float64)
    parts = np.asarray([band.constant, band.size, band.spread], dtype=np.float64)
    return (
        scores.shape == (len(LEVELS),)
        and type(band.positive) is bool
        and _finite(scores, parts)
        and bool((np.diff(scores) >= 0).all() and (parts >= 0).all() and parts[0] > 0)
    )


def _finite(*arrays: npt.NDArray[np.floating[Any]]) -> bool:
    return all(bool(np.isfinite(array).all()) for array in arrays)
