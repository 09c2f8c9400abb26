"""The card of a model: what it needs, what it learned from, how good it is, where not to use it."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from xflux.cf.targets import Target
from xflux.cf.variables import BY_NAME
from xflux.features import Inputs
from xflux.training.settings import Settings

_STYLE = """
.xflux-model{font-size:.95em;line-height:1.4;color:inherit}
.xflux-model table{border-collapse:collapse;margin:.4em 0;background:transparent}
.xflux-model tr{background:transparent!important}
.xflux-model th,.xflux-model td{text-align:left!important;vertical-align:top;
padding:.1em .8em .1em 0;border:0;max-width:46em;white-space:normal;color:inherit}
.xflux-model th,.xflux-model .xflux-soft{font-weight:normal;opacity:.65}
.xflux-model header{border-bottom:1px solid rgba(127,127,127,.4);padding-bottom:.3em}
.xflux-model summary{cursor:pointer;padding:.15em 0}
.xflux-model ul{margin:.2em 0 .4em;padding-left:2.2em}
"""


class Described(Protocol):
    """What a card is about; a FluxModel."""

    @property
    def inputs(self) -> Inputs:
        """Drivers and characteristics."""

    @property
    def settings(self) -> Settings:
        """Of the training."""

    @property
    def card(self) -> dict[str, Any]:
        """What is known about it."""

    @property
    def targets(self) -> tuple[Target, ...]:
        """What it predicts."""

    @property
    def sha256(self) -> str:
        """Hash of the weights."""


def name_of(model: Described) -> str:
    """The name on the card."""
    return str(model.card.get("name", "own training"))


def summary(model: Described) -> list[tuple[str, str]]:
    """The rows that every display begins with."""
    inputs, card = model.inputs, model.card
    towers = card.get("towers", ())
    return [
        ("name", name_of(model)),
        ("method", f"{model.settings.method}, {model.settings.members} members of "
                   f"{model.settings.hidden} hidden units"),
        ("time step", inputs.time_step),
        ("predicts", ", ".join(f"{t.name} [{t.units}]" for t in model.targets)),
        ("needs", ", ".join(map(_with_unit, inputs.required))),
        ("uses", ", ".join(map(_with_unit, inputs.optional)) or "nothing more"),
        ("characteristics", ", ".join(c.label for c in inputs.characteristics) or "none"),
        ("trained on", f"{len(towers)} entities, {card.get('labelled_steps', '?')} labelled steps, "
                       f"{' to '.join(card.get('period', ()))}"),
        *_tuned(card),
        ("epochs", f"{model.settings.last_epoch} of a schedule of {model.settings.epochs}"),
        ("validation", _validation(card)),
        ("sha256", model.sha256[:16]),
    ]  # fmt: skip


def _with_unit(name: str) -> str:
    return f"{name} [{BY_NAME[name].units}]" if name in BY_NAME else name


def _tuned(card: Mapping[str, Any]) -> list[tuple[str, str]]:
    about = card.get("finetuned")
    if not about:
        return []
    return [
        ("tuned", f"{about['what']} of {about['from']!r}, on {about['entities_count']} entities, "
                  f"{about['steps_used']} labelled steps"),
    ]  # fmt: skip


def _validation(card: Mapping[str, Any]) -> str:
    curve = card.get("validation_loss") or ()
    if curve:
        return (
            f"loss {min(curve):.3f} on clusters of entities kept out (epoch "
            f"{int(np.argmin(curve)) + 1} of {len(curve)})"
        )
    scores = card.get("scores", {})
    if scores:
        return ", ".join(f"{name} RMSE {value:.2f}" for name, value in scores.items())
    return "none: too few clusters, or epochs given"


def as_text(model: Described) -> str:
    """Plain text for a terminal."""
    rows = "\n".join(f"  {name:<16} {text}" for name, text in summary(model))
    return f"<xflux.FluxModel>\n{rows}"


def as_html(model: Described) -> str:
    """For a notebook, light or dark: the summary, and what is long folded away."""
    card, inputs = model.card, model.inputs
    head = (
        "<header><strong>xflux.FluxModel</strong> "
        f"<span class='xflux-soft'>{html.escape(name_of(model))}</span></header>"
    )
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>"
        for name, text in summary(model)
    )
    folded = (
        ("drivers and their range in training", [" ".join(row) for row in _drivers(inputs)]),
        ("where not to use it", _texts(card.get("where_not_to_use"))),
        ("entities it has learned from", [", ".join(_texts(card.get("towers")))]),
        ("data and licence", [*_texts(card.get("data")), *_texts(card.get("licence"))]),
        ("settings", [f"{k}: {v}" for k, v in vars(model.settings).items()]),
    )
    more = "".join(_fold(title, lines) for title, lines in folded)
    return (
        f"<div class='xflux-model'><style>{_STYLE}</style>{head}<table>{rows}</table>{more}</div>"
    )


def _fold(title: str, lines: Sequence[str]) -> str:
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines if line)
    if not items:
        return ""
    return f"<details><summary>{html.escape(title)}</summary><ul>{items}</ul></details>"


def as_page(model: Described, *, load: str | None = None) -> str:
    """The card as a page of Markdown.

    Parameters
    ----------
    model : FluxModel
    load : str, optional
        The line of Python that loads it.

    Returns
    -------
    str
    """
    card, inputs = model.card, model.inputs
    targets = ", ".join(f"{t.name} [{t.units}]" for t in model.targets)
    load = load or f'xflux.load_model("{name_of(model)}.safetensors")'
    parts = [
        f"# {_plain(name_of(model))}",
        f"A model of [xflux](https://pypi.org/project/xflux/) that predicts {_plain(targets)} at "
        f"{inputs.time_step} steps: {_plain(model.settings.method)}, an ensemble of "
        f"{model.settings.members} members.",
        f"```python\nimport xflux\n\nmodel = {_one_line(load)}\n"
        "fluxes = drivers.flux.predict(model)\n```",
        "## What it needs",
        _table(("driver", "unit", "range in training", ""), _drivers(inputs)),
        _characteristics(inputs),
        *_bullets("Where not to use it", _texts(card.get("where_not_to_use"))),
        *_scores(card),
        "## What it has learned from",
        _table(("", ""), [row for row in summary(model) if row[0] in _LEARNED]),
        _plain(", ".join(_texts(card.get("towers")))),
        *_bullets("Data", [*_texts(card.get("data")), *_texts(card.get("data_source"))]),
        *_bullets("Licence", _texts(card.get("licence")) or ["not given: ask who made it"]),
        *_bullets("Made with", _made(model)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


_LEARNED = ("trained on", "tuned", "epochs", "validation")


def _drivers(inputs: Inputs) -> list[tuple[str, str, str, str]]:
    """Name, unit, range and need of each driver."""
    ranges: list[tuple[float, float] | None] = [*zip(inputs.low, inputs.high, strict=True)]
    ranges += [None] * (len(inputs.drivers) - len(ranges))
    return [
        (
            name,
            BY_NAME[name].units if name in BY_NAME else "",
            "" if span is None else f"{float(span[0]):.4g} to {float(span[1]):.4g}",
            "needed" if name in inputs.required else "may be absent",
        )
        for name, span in zip(inputs.drivers, ranges, strict=True)
    ]


def _characteristics(inputs: Inputs) -> str:
    if not inputs.characteristics:
        return "No characteristics."
    words = [
        f"{item.label} ({', '.join(map(str, item.classes))})" if item.classes else item.label
        for item in inputs.characteristics
    ]
    return f"Characteristics: {_plain('; '.join(words))}."


def _scores(card: Mapping[str, Any]) -> list[str]:
    """Scores on entities kept out: overall, by class, by set of drivers."""
    held = card.get("cross_validation")
    held = held if isinstance(held, Mapping) else {}
    parts = []
    overall = card.get("scores")
    if isinstance(overall, Mapping) and overall:
        header = ("", *map(str, overall))
        parts.append(_table(header, [("all", *map(_number, overall.values()))]))
    for key, rows in held.items():
        table = _by_class(str(key).removeprefix("by_").replace("_", " "), rows)
        if table:
            parts.append(table)
    if not parts:
        return []
    words = "RMSE on entities that were kept out, mean over entities, in the units of the targets."
    return ["## How good it is", words, *parts]


def _by_class(what: str, rows: object) -> str:
    if not isinstance(rows, Mapping) or not all(isinstance(row, Mapping) for row in rows.values()):
        return ""
    scores = {str(name): row.get("rmse", row) for name, row in rows.items()}
    if not scores or not all(isinstance(row, Mapping) for row in scores.values()):
        return ""
    targets = list(dict.fromkeys(str(t) for row in scores.values() for t in row))
    counts = [row.get("towers", "") for row in rows.values()]
    body = [
        (name, *(_number(row.get(target, "")) for target in targets), str(count))
        for (name, row), count in zip(scores.items(), counts, strict=True)
    ]
    return _table((what, *targets, "entities" if any(counts) else ""), body)


def _made(model: Described) -> list[str]:
    versions = model.card.get("versions")
    versions = versions if isinstance(versions, Mapping) else {}
    return [
        f"created {model.card['created']}" if model.card.get("created") else "",
        ", ".join(f"{name} {version}" for name, version in versions.items()),
        f"sha256 of the weights {model.sha256}",
    ]


def _bullets(title: str, lines: Iterable[str]) -> list[str]:
    items = [f"- {_plain(line)}" for line in lines if line]
    return [f"## {title}", "\n".join(items)] if items else []


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_plain(cell) for cell in line) + " |" for line in lines)


def _number(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, int | float) else str(value)


def _texts(found: object) -> list[str]:
    """One text or several, of what a card holds under a word."""
    if found is None:
        return []
    return list(map(str, found)) if isinstance(found, list | tuple) else [str(found)]


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("```", "")


def _plain(text: str) -> str:
    """Text that stays text in Markdown: on one line, without tags, columns and code."""
    return _one_line(text).replace("<", "&lt;").replace("|", "\\|").replace("`", "'")
