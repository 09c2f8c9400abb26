"""What an eager prediction says where a driver has no value."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from xflux import features
from xflux.cf.schema import Match
from xflux.errors import warn
from xflux.features import Array, Mask
from xflux.prediction.blocks import Plan, to_layout, unmasked


def warn_absent(
    plan: Plan, labels: Callable[[], Sequence[str]], drivers: list[xr.Variable], flux: Array
) -> None:
    """Say where a driver has no value: no prediction there, or one that does without it.

    A driver is looked at only where it could matter: those seen from space always, the others when
    an entity has no prediction at all; entities are named only when there is something to say.
    """
    first = flux[0] if plan.members else flux
    sizes = dict(zip(plan.layout, first.shape, strict=True))
    predicted = np.isfinite(first).reshape(-1, first.shape[-1])
    nothing = ~predicted.any(axis=-1)
    if not predicted.size:
        return

    def present(k: int) -> Mask:
        values = unmasked(np.asanyarray(drivers[k].values))
        finite = np.isfinite(to_layout(values, plan.dims[k], plan.layout, sizes))
        return finite.reshape(predicted.shape)

    land = np.zeros_like(nothing)
    for k, match in enumerate(plan.drivers):
        if nothing.any() and match.name in plan.inputs.required:
            land |= present(k).any(axis=-1)
    for k, match in enumerate(plan.drivers):
        if match.name in features.CLOUDED:
            _warn_without(plan, match, labels, predicted & ~present(k))
        elif (nothing & land).any():
            gone = np.flatnonzero(nothing & land & ~present(k).any(axis=-1))
            if gone.size:
                warn(
                    f"{match.variable!r} ({match.name}) has no value at {gone.size} entities "
                    f"({_named(labels(), gone)}): there is no prediction for them; give it, or "
                    f'predict them without, ds.drop_vars("{match.variable}")',
                )


def _warn_without(
    plan: Plan, match: Match, labels: Callable[[], Sequence[str]], without: Mask
) -> None:
    """Say where a driver that is seen from space has gaps longer than those that are bridged."""
    if not without.any():
        return
    present = np.where(without, np.float32(np.nan), np.float32(0))
    limit = features.GAP_LIMIT[plan.inputs.time_step]
    left = ~np.isfinite(features.bridge_gaps(present, limit))
    where = np.flatnonzero(left.any(axis=-1))
    if where.size:
        warn(
            f"{match.variable!r} ({match.name}) is missing at {int(left.sum())} steps of "
            f"{where.size} entities ({_named(labels(), where)}): predicted without it there, with "
            "less skill",
        )


def _named(labels: Sequence[str], where: npt.NDArray[np.intp]) -> str:
    return ", ".join(labels[i] for i in where[:8]) + (", ..." if where.size > 8 else "")
