"""What is said of drivers far outside of the ranges of training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from xflux.cf.variables import BY_NAME
from xflux.errors import warn
from xflux.features import Mask
from xflux.prediction.blocks import Task, canonical, lay_out

FAR = 0.1
"""Share of the range of training by which a driver that is far outside of it exceeds it."""

MANY = 0.2
"""Share of the steps of an entity that are far outside where it is said."""


def often_outside(arrays: Sequence[npt.NDArray[np.generic]], task: Task) -> Mask:
    """Which drivers are far outside of training at many steps of which entity.

    Parameters
    ----------
    arrays : sequence of numpy.ndarray
        Drivers and characteristics of a block, as `xflux.prediction.blocks.predict_block` takes
        them, over all of time.
    task : Task

    Returns
    -------
    numpy.ndarray
        Shape (drivers of the model, C).
    """
    inputs = task.plan.inputs
    timed, _, _ = lay_out(arrays, task)
    values = canonical(task.plan, timed, task.days)
    found = np.zeros((len(inputs.drivers), len(timed[0])), dtype=bool)
    for j, name in enumerate(inputs.drivers):
        if name in values and task.days.size:
            low, high = inputs.low[j], inputs.high[j]
            room = FAR * (high - low)
            outside = (values[name] < low - room) | (values[name] > high + room)
            found[j] = outside.mean(axis=1) > MANY
    return found


def warn_outside(task: Task, labels: Callable[[], Sequence[str]], found: Mask) -> None:
    """Warn once of the entities that `often_outside` has found.

    Parameters
    ----------
    task : Task
    labels : callable
        Gives a name for each entity.
    found : numpy.ndarray
        Shape (drivers of the model, N).
    """
    if not found.any():
        return
    inputs, names, told = task.plan.inputs, labels(), []
    for j, name in enumerate(inputs.drivers):
        where = np.flatnonzero(found[j])
        if where.size:
            few = ", ".join(names[i] for i in where[:4]) + (", ..." if where.size > 4 else "")
            told.append(
                f"{name} is far outside of the {inputs.low[j]:.4g} to {inputs.high[j]:.4g} "
                f"{BY_NAME[name].units} of training at {where.size} entities ({few})"
            )
    warn(
        f"{'; '.join(told)}: do not trust what is predicted there; "
        "applicability=True tells the steps"
    )
