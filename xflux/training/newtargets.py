"""Heads for targets that a model has not been trained on, such as latent heat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from xflux.cf.schema import Schema
from xflux.cf.targets import Target, outputs_of
from xflux.cf.variables import BY_NAME
from xflux.errors import ModelError, SchemaError
from xflux.training.headwise import Heads
from xflux.training.towers import Towers

NEGATIVE = 0.05
"""A target of which more labels than this share are negative is the difference of two outputs."""


def check_names(ds: xr.Dataset, schema: Schema, names: Sequence[str]) -> None:
    """Targets must be there, with a time and units, and be no drivers.

    Raises
    ------
    ModelError, SchemaError
    """
    known = [name for name in names if name in BY_NAME]
    if known or not names or len(set(names)) < len(names):
        raise ModelError(
            f"targets={list(names)!r}: give names of other variables than xflux's own, each once; "
            "GPP, Reco and NEE are tuned together where targets is left out"
        )
    problems = []
    for name in names:
        if name not in ds or schema.time_dim not in ds[name].dims:
            problems.append(
                f"target {name!r} is not a variable along time; found "
                f"{', '.join(str(v) for v in ds.data_vars)}"
            )
        elif not str(ds[name].attrs.get("units", "")).strip():
            problems.append(f'target {name!r} has no units: ds["{name}"].attrs["units"] = "W m-2"')
    if problems:
        raise SchemaError(problems, where="the Dataset for fine-tuning")


def describe_targets(ds: xr.Dataset, towers: Towers, names: Sequence[str]) -> tuple[Target, ...]:
    """Name, units and attributes from the Dataset; one output each, two if it can be negative."""
    found: list[Target] = []
    for j, name in enumerate(names):
        values = towers.targets[..., j]
        first = outputs_of(found) if found else 0
        signed = float((values[np.isfinite(values)] < 0).mean()) > NEGATIVE
        attrs = ds[name].attrs
        found.append(
            Target(
                name=name,
                units=str(attrs["units"]),
                long_name=str(attrs.get("long_name", name)),
                plus=first,
                minus=first + 1 if signed else None,
                standard_name=str(attrs["standard_name"]) if "standard_name" in attrs else None,
                comment=str(attrs["comment"]) if "comment" in attrs else None,
            )
        )
    return tuple(found)


def fresh_heads(heads: Heads, towers: Towers, targets: Sequence[Target]) -> Heads:
    """Heads that see what those of a model see, and give the mean of each target everywhere."""
    members, _, seen = heads.weights.shape
    outputs = outputs_of(targets)
    weights = np.zeros((members, outputs, seen))
    spread = np.ones(outputs)
    for j, target in enumerate(targets):
        values = towers.targets[..., j]
        values = values[np.isfinite(values)].astype(np.float64)
        size = float(values.std()) or float(np.abs(values).max()) or 1.0
        mean = float(values.mean()) / size
        level = {target.plus: max(mean, 0.1)}
        if target.minus is not None:
            level = {target.plus: 0.7 + max(mean, 0.0), target.minus: 0.7 + max(-mean, 0.0)}
        for number, value in level.items():
            spread[number] = size
            weights[:, number, [heads.split - 1, -1]] = np.log(np.expm1(value))
    return Heads(
        weights=weights,
        spread=np.tile(spread, (members, 1)),
        split=heads.split,
        log_scale=np.zeros(outputs),
    )
