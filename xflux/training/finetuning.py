"""From a trained model and few labels to a model of its own for a place or a region."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from xflux.cf.schema import Schema
from xflux.cf.variables import TARGETS
from xflux.errors import DataError, ModelError
from xflux.model import FluxModel
from xflux.prediction import ensemble
from xflux.training.headwise import Change, Evidence, Heads, Numbers, tune_heads
from xflux.training.labels import build_members, gather, read_heads, write_heads
from xflux.training.prior import PRIORS, Prior
from xflux.training.towers import Towers, read_towers

WHAT = ("auto", "scale", "head")
"""What can be tuned."""

MIX: Numbers = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 1.0]])
"""GPP, Reco and NEE as sums of the two outputs."""


def finetune_model(
    ds: xr.Dataset,
    schema: Schema,
    model: FluxModel,
    *,
    what: str = "auto",
    qc: float = 0.5,
    name: str | None = None,
    settings: Mapping[str, float] | None = None,
) -> FluxModel:
    """Tune a model to the labels of a Dataset.

    Parameters
    ----------
    ds : xr.Dataset
        Drivers, characteristics and at least one of GPP, Reco, NEE; labels may be few.
    schema : Schema
        What was understood of it.
    model : FluxModel
        Stays as it is.
    what : str
        ``"auto"``, ``"scale"`` or ``"head"``.
    qc : float
        Steps whose NEE_QC is below this are not used.
    name : str, optional
        Name of the new model on its card.
    settings : mapping, optional
        Fields of `xflux.training.prior.Prior`.

    Returns
    -------
    FluxModel
        Of the same form, with the inputs and the normalisation of the model.

    Raises
    ------
    SchemaError, DataError, ModelError
    """
    if what not in WHAT:
        raise ModelError(f"what={what!r} is unknown; it is one of {', '.join(map(repr, WHAT))}")
    chosen = "head" if what == "auto" else what
    prior = PRIORS[model.time_step].changed(settings)
    towers = _read(ds, schema, model, qc)
    members, heads = build_members(model.weights), read_heads(model.weights)
    evidence = list(gather(members, heads, towers, model.inputs, MIX, prior))
    if not evidence:
        raise DataError(
            "no label is at a step that the model can predict: drivers are missing there, or a gap "
            "of them ends less than "
            f"{ {'daily': '30 days', 'monthly': '3 months'}[model.time_step] } before it"
        )
    tuned = tune_heads(heads, evidence, **_spreads(heads, prior, chosen, len(evidence)))
    return replace(
        model,
        members=ensemble.pack(write_heads(model.weights, tuned)),
        card=_card(model, towers, evidence, chosen, name, _period(ds, schema, towers)),
    )


def _read(ds: xr.Dataset, schema: Schema, model: FluxModel, qc: float) -> Towers:
    """The towers as the model takes them; what it needs and does not get is an error."""
    inputs = model.inputs
    if schema.time_step is not None and schema.time_step != model.time_step:
        raise ModelError(
            f"the model is {model.time_step}, the Dataset is {schema.time_step}: give "
            f"{model.time_step} data, or tune another model"
        )
    given = [n for n in inputs.drivers if n in (*schema.drivers, *schema.problems)]
    needed = dict.fromkeys((*inputs.required, *given))
    known = [
        c.name
        for c in inputs.characteristics
        if not c.classes or c.name in schema.matches or c.name in schema.problems
    ]
    return read_towers(ds, schema, drivers=tuple(needed), characteristics=known, qc=qc, few=True)


def _spreads(heads: Heads, prior: Prior, what: str, entities: int) -> dict[str, Any]:
    """Spread of what entities share, and of what each has for itself.

    One entity keeps all that its labels say; of several, what they do not share is put aside.
    """
    whole = head_spread(heads, prior) if what == "head" else scale_spread(heads, prior)
    if entities == 1:
        return {"spread": whole, "own": None}
    return {
        "spread": Change(*(np.sqrt(prior.shared) * part for part in whole)),
        "own": Change(*(np.sqrt(1.0 - prior.shared) * part for part in whole)),
    }


def head_spread(heads: Heads, prior: Prior) -> Change:
    """How far the weights and biases of the heads may go."""
    one = np.full(heads.weights.shape[2], prior.direct)
    one[: heads.split] = prior.recurrent
    one[heads.split - 1], one[-1] = prior.recurrent_bias, prior.direct_bias
    wide = np.sqrt(len(heads.weights)) * one
    return Change(np.zeros_like(heads.log_scale), np.broadcast_to(wide, heads.weights.shape).copy())


def scale_spread(heads: Heads, prior: Prior) -> Change:
    """How far the factor on each output may go."""
    return Change(np.full_like(heads.log_scale, prior.scale), np.zeros_like(heads.weights))


def _card(
    model: FluxModel,
    towers: Towers,
    evidence: list[Evidence],
    what: str,
    name: str | None,
    period: list[str],
) -> dict[str, Any]:
    from xflux import __version__

    before = str(model.card.get("name", "own training"))
    places = towers.labels[0] if len(towers.labels) == 1 else f"{len(towers.labels)} entities"
    kept = {k: v for k, v in model.card.items() if k not in ("scores", "validation_loss")}
    return kept | {
        "name": name or f"{before}, tuned to {places}",
        "finetuned": {
            "from": before,
            "from_sha256": model.sha256,
            "what": what,
            "entities": list(towers.labels[:2000]),
            "entities_count": len(towers.labels),
            "labels": {
                target: int(np.isfinite(towers.targets[..., j]).sum())
                for j, target in enumerate(TARGETS)
            },
            "steps_used": sum(len(part.seen) for part in evidence),
            "period": period,
            "created": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
            "xflux": __version__,
        },
    }


def _period(ds: xr.Dataset, schema: Schema, towers: Towers) -> list[str]:
    """First and last step with a label."""
    times = ds[schema.time].values[towers.labelled.any(axis=0)]
    return [str(times[0])[:10], str(times[-1])[:10]]
