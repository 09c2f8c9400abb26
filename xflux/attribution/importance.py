"""How much worse a model predicts when an input no longer belongs to its place and time.

Permutation importance after Breiman (2001, doi:10.1023/A:1010933404324), model-free in the sense of
Fisher et al. (2019, arXiv:1801.01489).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import xarray as xr

from xflux import features
from xflux.attribution.contributions import refuse_other_methods
from xflux.cf.schema import Schema
from xflux.cf.targets import CARBON
from xflux.errors import DataError, ModelError
from xflux.features import Array, Inputs, Mask
from xflux.model import FluxModel
from xflux.prediction import blocks, ensemble
from xflux.prediction.run import Run, prepare
from xflux.skill.evaluation import observations, other_labels

BLOCK = {"daily": 30, "monthly": 3}
"""Steps that are moved together where nothing else is asked for."""

LIMIT = 2**27
"""Numbers of the network's input that are in memory: 512 MiB."""

Values = Mapping[str, Array]
Statics = Mapping[str, npt.NDArray[np.generic]]


def importance(
    ds: xr.Dataset,
    schema: Schema,
    model: FluxModel,
    *,
    version: str,
    repeats: int = 5,
    block: int | None = None,
    seed: int = 0,
    qc: float = 0.5,
) -> xr.Dataset:
    """Permute each input and score again; `ds.flux.importance` is the door to this.

    Raises
    ------
    SchemaError, DataError, ModelError
    """
    length = BLOCK[model.inputs.time_step] if block is None else block
    refuse_other_methods(model.members, "importance")
    if repeats < 1 or length < 1:
        raise ModelError(f"repeats={repeats} and block={length}: each at least 1")
    run = prepare(
        ds,
        schema,
        model.inputs,
        model.members,
        source=model.source,
        version=version,
        targets=model.targets,
    )
    if model.targets == CARBON:
        observed = observations(ds, schema, qc=qc)
    else:
        observed = other_labels(ds, {t.name: t.units for t in model.targets})
    walk = _Walk(run, observed)
    base = walk.rmse(walk.values, walk.statics)
    kinds = {name: "driver" for name in model.inputs.drivers if name in walk.values}
    kinds |= {c.name: "characteristic" for c in model.inputs.characteristics}
    kinds = {name: kind for name, kind in kinds.items() if name in {**walk.values, **walk.statics}}
    increase = np.empty((len(kinds), len(base), repeats))
    for k, (name, kind) in enumerate(kinds.items()):
        for repeat in range(repeats):
            rng = np.random.default_rng([seed, repeat, k])
            if kind == "driver":
                moved = blocks_permuted(walk.values[name], length, rng)
                again = walk.rmse({**walk.values, name: moved}, walk.statics)
            else:
                other = rng.permutation(len(walk.statics[name]))
                again = walk.rmse(walk.values, {**walk.statics, name: walk.statics[name][other]})
            increase[k, :, repeat] = again - base
    return _dress(walk, kinds, base, increase)


def blocks_permuted(values: Array, length: int, rng: np.random.Generator) -> Array:
    """A driver (C, T) whose blocks of ``length`` steps are dealt out anew over series and time.

    A block with a gap stays where it is, and so does what is left at the end of the series.

    Raises
    ------
    DataError
        There are no two blocks to change places.

    Examples
    --------
    >>> moved = blocks_permuted(np.arange(8.0).reshape(2, 4), 2, np.random.default_rng(0))
    >>> sorted(moved[:, ::2].ravel().tolist()), (moved[:, 1::2] - moved[:, ::2]).ravel().tolist()
    ([0.0, 2.0, 4.0, 6.0], [1.0, 1.0, 1.0, 1.0])
    """
    count, steps = values.shape
    pieces = steps // length
    moved = values.copy()
    cut = moved[:, : pieces * length].reshape(count * pieces, length)
    whole = np.flatnonzero(np.isfinite(cut).all(axis=1))
    if len(whole) < 2:
        raise DataError(
            f"a driver has {len(whole)} blocks of {length} steps without a gap, two at least can "
            "change places: give a longer Dataset, or a shorter block=..."
        )
    cut[whole] = cut[rng.permutation(whole)]
    moved[:, : pieces * length] = cut.reshape(count, pieces * length)
    return moved


class _Walk:
    """The inputs of a Dataset in xflux's units, and the way from there to scores."""

    def __init__(self, run: Run, observed: xr.Dataset) -> None:
        self.run, plan = run, run.task.plan
        self.inputs: Inputs = plan.inputs
        sizes = run.ds.sizes
        entities = int(np.prod([sizes[dim] for dim in plan.layout[:-1]], dtype=np.int64))
        _check_size(entities, sizes[plan.layout[-1]], self.inputs)
        arrays = [np.asanyarray(v.values) for v in (*run.drivers, *run.statics)]
        timed, fixed, _ = blocks.lay_out(arrays, run.task)
        values, self.statics = blocks.physical(plan, timed, fixed, run.task.days)
        self.values = {name: values[name] for name in self.inputs.drivers if name in values}
        self.latitude = np.asarray(self.statics["lat"], dtype=np.float32)
        self.targets = [t for t in run.task.targets if t.name in observed]
        order = plan.layout
        self.observed = [
            observed[t.name].transpose(*order).values.reshape(entities, -1) for t in self.targets
        ]

    def rmse(self, values: Values, statics: Statics) -> npt.NDArray[np.float64]:
        """Over all labels of all entities, one for each target."""
        block = features.assemble(
            self.inputs, values, statics, self.latitude, self.run.task.fraction
        )
        outputs, _ = ensemble.run(self.run.task.weights, block)
        settling = features.SETTLING[self.inputs.time_step]
        scored: Mask = block.usable & ~features.settle(features.course(block.usable), settling)
        mean = outputs.mean(axis=0, dtype=np.float64)
        found = []
        for target, observed in zip(self.targets, self.observed, strict=True):
            flux = mean[..., target.plus]
            flux = flux if target.minus is None else flux - mean[..., target.minus]
            here = scored & np.isfinite(observed)
            if not here.any():
                raise DataError(f"no step has both a label and a prediction of {target.name}")
            found.append(np.sqrt(np.mean((flux[here] - observed[here]) ** 2)))
        return np.array(found)


def _check_size(entities: int, steps: int, inputs: Inputs) -> None:
    if entities < 2:
        raise DataError(
            "importance permutes inputs over entities: give a Dataset of two at least, of many "
            "for figures that mean something"
        )
    if entities * steps * inputs.width > LIMIT:
        raise DataError(
            f"{entities} entities of {steps} steps are more than fit in memory "
            f"({LIMIT:,} numbers): choose some, ds.isel(...)"
        )


def _dress(
    walk: _Walk,
    kinds: Mapping[str, str],
    base: npt.NDArray[np.float64],
    increase: npt.NDArray[np.float64],
) -> xr.Dataset:
    units = {t.units for t in walk.targets}
    attrs = {"units": units.pop()} if len(units) == 1 else {}
    first = {"long_name": "root mean square error of the model", **attrs}
    more = {"long_name": "increase of the error when an input is permuted", **attrs}
    return xr.Dataset(
        {
            "rmse": ("target", base, first),
            "increase": (("variable", "target", "repeat"), increase, more),
        },
        {
            "variable": list(kinds),
            "kind": ("variable", list(kinds.values())),
            "target": [t.name for t in walk.targets],
            "repeat": np.arange(increase.shape[2]),
        },
        {"title": "Permutation importance", "source": walk.run.source},
    )
