"""A run whose model knows something of each entity before it begins: found out, and put in place.

What is known (`xflux.prediction.context`) comes from the support that was given, else from the
state that the run goes on from, else from the drivers themselves.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import xarray as xr

from xflux.cf.schema import Schema
from xflux.errors import ModelError
from xflux.prediction import context, state, streaming
from xflux.prediction.blocks import Task
from xflux.prediction.ensemble import sizes_of
from xflux.prediction.run import Run, arrays_of, plan_of, task_of


def with_context(run: Run, support: xr.Dataset | str | None = None) -> Run:
    """The run with what its model knows of each entity, beside the characteristics.

    In memory it is computed here; lazy drivers stay lazy.

    Parameters
    ----------
    run : Run
    support : xr.Dataset, "drivers" or "none", optional
        For models of TAM-RL; see `ds.flux.predict`.

    Raises
    ------
    ModelError
        The model takes no support, the support is none, or time is in chunks that have to be whole.
    SchemaError, DataError
        Of the support.
    """
    sizes = sizes_of(run.task.weights)
    if support is not None and sizes.method != "tam-rl":
        raise ModelError(
            "only models of TAM-RL take support=: leave it out, or train one, "
            'model = ds.flux.train(method="tam-rl")'
        )
    if not sizes.context:
        return run
    known = _known(run, sizes.method, support)
    column = context.as_variable(run.task, known)
    dims = (*run.task.dims, tuple(map(str, column.dims)))
    return replace(
        run,
        statics=[*run.statics, column],
        task=replace(run.task, dims=dims),
        context=known,
    )


def _known(run: Run, method: str, support: xr.Dataset | str | None) -> Any:
    """What is known, (entity dims..., Q), as an array of numpy or dask."""
    if run.initial is not None and support is None:
        return run.initial[state.CONTEXT]
    task, drivers, statics = run.task, run.drivers, run.statics
    if method == "tam-rl":
        task, drivers, statics = _encoding(run.ds, run.schema, run.task, support)
    else:
        context.check_whole_series(task, drivers)
    if any(array.chunks is not None for array in drivers):
        return streaming.context(task, drivers, statics)
    return context.eager(task, drivers, statics)


def _encoding(
    ds: xr.Dataset, schema: Schema, task: Task, support: xr.Dataset | str | None
) -> tuple[Task, list[xr.Variable], list[xr.Variable]]:
    """The task that encodes a support, and its arrays."""
    from xflux.prediction import support as supports

    plan = task.plan
    given = isinstance(support, xr.Dataset)
    if support is None or isinstance(support, str):
        ds, segments = supports.of_drivers(ds, schema, plan.inputs, support)
    else:
        ds = supports.beside(support, ds, schema, plan.inputs)
        schema = supports.understood(ds, plan.inputs)
        segments = supports.whole(ds.sizes[schema.time_dim])
    own = plan_of(ds, schema, plan.inputs, False, plan.device, plan.precision)
    if given:
        own = supports.with_fluxes(own, ds, schema)
    own = replace(own, layout=(*plan.layout[:-1], str(schema.time_dim)))
    drivers, statics = arrays_of(ds, schema, own)
    encoding = task_of(ds, schema, own, task.weights, statics)
    return replace(encoding, segments=segments), drivers, statics
