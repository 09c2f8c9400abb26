"""From a trained model and few labels to a model of its own for a place or a region."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from xflux.cf.schema import Schema
from xflux.cf.targets import CARBON, Target, mixing
from xflux.errors import DataError, ModelError
from xflux.model import FluxModel
from xflux.networks.ct_lstm import Member
from xflux.prediction import ensemble
from xflux.training.gradual import courses, tune_weights
from xflux.training.headwise import Change, Evidence, Heads, covariances, tune_heads
from xflux.training.labels import build_members, gather, read_heads, write_heads
from xflux.training.newtargets import check_names, describe_targets, fresh_heads
from xflux.training.prior import PRIORS, Prior
from xflux.training.towers import Towers, read_towers

WHAT = ("auto", "scale", "head", "adapter", "all")
"""What can be tuned."""

NOT = {
    "ct-lstm-physics": "whose fluxes are bound to a law",
    "tam-rl": "which takes few labels as they are, ds.flux.predict(model, support=few)",
    "metaflux": "which is here as published, for comparison",
}
"""Methods whose models are not tuned, and why."""


def finetune_model(
    ds: xr.Dataset,
    schema: Schema,
    model: FluxModel,
    *,
    what: str = "auto",
    targets: Sequence[str] | None = None,
    qc: float = 0.5,
    name: str | None = None,
    settings: Mapping[str, float] | None = None,
) -> FluxModel:
    """Tune a model to the labels of a Dataset.

    Parameters
    ----------
    ds : xr.Dataset
        Drivers, characteristics and labels, which may be few.
    schema : Schema
        What was understood of it, with ``targets`` among its variables.
    model : FluxModel
        Stays as it is.
    what : str
        ``"auto"`` (the heads), ``"scale"``, ``"head"``, ``"adapter"`` or ``"all"``.
    targets : sequence of str, optional
        Variables that get heads of their own, in place of GPP, Reco and NEE.
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
    chosen = "head" if what == "auto" else what
    _check(model, what, targets)
    if targets is not None:
        check_names(ds, schema, targets)
    prior = PRIORS[model.time_step].changed(settings)
    towers = _read(ds, schema, model, qc, targets)
    to = _beginning(ds, model, towers, targets)
    mix = mixing(to.targets)
    evidence = list(gather(to.members, to.heads, towers, model.inputs, mix, prior))
    if not evidence:
        raise DataError(
            "no label is at a step that the model can predict: drivers are missing there, or a gap "
            "of them ended less than "
            f"{ {'daily': '30 days', 'monthly': '3 months'}[model.time_step] } before it"
        )
    spread, own = _spreads(to, prior, chosen, len(evidence))
    tuned = tune_heads(to.heads, evidence, spread=spread, own=own)
    weights = write_heads(model.weights, tuned)
    if chosen in ("adapter", "all"):
        members = build_members(weights)
        given = courses(towers, model.inputs, evidence, covariances(tuned, evidence, own))
        tune_weights(members, to.heads, given, what=chosen, spread=spread, prior=prior)
        weights = [
            {key: tensor.numpy() for key, tensor in member.state_dict().items()}
            for member in members
        ]
    return replace(
        model,
        members=ensemble.pack(weights),
        card=_card(model, towers, to.targets, evidence, chosen, name, _period(ds, schema, towers)),
        targets=to.targets,
        calibration=None,  # its errors were those of the model before
    )


@dataclass(frozen=True, kw_only=True)
class _Beginning:
    """What is tuned: networks, heads, and whether these are new."""

    members: list[Member]
    heads: Heads
    targets: tuple[Target, ...]
    fresh: bool


def _beginning(
    ds: xr.Dataset, model: FluxModel, towers: Towers, targets: Sequence[str] | None
) -> _Beginning:
    members, heads = build_members(model.weights), read_heads(model.weights)
    if targets is None:
        return _Beginning(members=members, heads=heads, targets=model.targets, fresh=False)
    described = describe_targets(ds, towers, targets)
    new = fresh_heads(heads, towers, described)
    return _Beginning(members=members, heads=new, targets=described, fresh=True)


def _check(model: FluxModel, what: str, targets: Sequence[str] | None) -> None:
    if what not in WHAT:
        raise ModelError(f"what={what!r} is unknown; it is one of {', '.join(map(repr, WHAT))}")
    if model.settings.method in NOT:
        raise ModelError(
            f"the model is of method {model.settings.method!r}, {NOT[model.settings.method]}; "
            'fine-tuning takes those of method "ct-lstm": ds.flux.train(), or '
            f'xflux.load_model("{model.time_step}")'
        )
    if targets is None and model.targets != CARBON:
        raise ModelError(
            f"the model predicts {', '.join(t.name for t in model.targets)}: name what the labels "
            f"are, targets={[t.name for t in model.targets]}"
        )
    if targets is not None and what == "scale":
        raise ModelError(
            'new targets have no scale yet: what="head", or leave what out, for targets='
            f"{list(targets)}"
        )


def _read(
    ds: xr.Dataset, schema: Schema, model: FluxModel, qc: float, targets: Sequence[str] | None
) -> Towers:
    """The towers as the model takes them; what it needs and does not get is an error."""
    inputs = model.inputs
    if schema.time_step is not None and schema.time_step != model.time_step:
        raise ModelError(
            f"the model is {model.time_step}, the Dataset is {schema.time_step}: give "
            f"{model.time_step} data, or tune another model"
        )
    given = [n for n in inputs.drivers if n in (*schema.drivers, *schema.problems)]
    known = [
        c.name
        for c in inputs.characteristics
        if not c.classes or c.name in schema.matches or c.name in schema.problems
    ]
    return read_towers(
        ds,
        schema,
        drivers=tuple(dict.fromkeys((*inputs.required, *given))),
        characteristics=known,
        qc=qc,
        few=True,
        targets=targets,
    )


def _spreads(
    to: _Beginning, prior: Prior, what: str, entities: int
) -> tuple[Change, Change | None]:
    """Spread of what entities share, and of what each has for itself.

    One entity keeps all that its labels say; of several, what they do not share is put aside.
    """
    whole = scale_spread(to.heads, prior) if what == "scale" else head_spread(to.heads, prior)
    wide = prior.fresh**2 if to.fresh else 1.0
    if entities == 1:
        return whole.times(np.sqrt(wide)), None
    own = whole.times(np.sqrt(1.0 - prior.shared))
    return whole.times(np.sqrt(wide if to.fresh else prior.shared)), own


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
    targets: Sequence[Target],
    evidence: Sequence[Evidence],
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
                target.name: int(np.isfinite(towers.targets[..., j]).sum())
                for j, target in enumerate(targets)
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
