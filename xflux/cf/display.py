"""How ``ds.flux`` shows what was understood of a Dataset."""

from __future__ import annotations

import html

import xarray as xr

from xflux.cf.schema import Match, Schema
from xflux.cf.variables import VARIABLES


def _rows(schema: Schema, ds: xr.Dataset) -> list[tuple[str, str]]:
    sizes = ", ".join(f"{dim}: {ds.sizes[dim]}" for dim in schema.entity_dims)
    rows = [
        ("entities", sizes or "one series"),
        ("time", _time(schema, ds)),
        ("drivers", _found(schema, ("driver",))),
        ("derivable", ", ".join(
            f"{name} from {' and '.join(needs)}" for name, needs in schema.derivable.items()
        )),
        ("characteristics", _found(schema, ("characteristic",))),
        ("targets", _found(schema, ("target",))),
        ("quality", _found(schema, ("quality",))),
        ("not there", ", ".join(_absent(schema))),
    ]  # fmt: skip
    return [(name, text) for name, text in rows if text]


def _time(schema: Schema, ds: xr.Dataset) -> str:
    if schema.time is None or schema.time_step is None:
        return "not understood"
    values = ds[schema.time].values
    return (
        f"{schema.time_step}, {len(values)} steps, {str(values[0])[:10]} to "
        f"{str(values[-1])[:10]} ({schema.calendar})"
    )


def _found(schema: Schema, roles: tuple[str, ...]) -> str:
    return ", ".join(_shown(m) for m in schema.matches.values() if m.role in roles)


def _shown(match: Match) -> str:
    name = match.name if match.name == match.variable else f"{match.name} = {match.variable}"
    return f"{name} [{match.units}]" if match.units else name


def _absent(schema: Schema) -> list[str]:
    return [
        row.name
        for row in VARIABLES
        if row.role in ("driver", "target") or row.name in ("lat", "lon", "igbp")
        if row.name not in schema.matches and row.name not in schema.derivable
    ]


def schema_text(schema: Schema, ds: xr.Dataset) -> str:
    """Plain text for a terminal."""
    lines = ["<xflux: what is understood of this Dataset>"]
    lines += [f"  {name:<16} {text}" for name, text in _rows(schema, ds)]
    if schema.problems:
        lines.append("  problems")
        lines += [f"    - {text}" for text in schema.problems.values()]
    return "\n".join(lines)


def schema_html(schema: Schema, ds: xr.Dataset) -> str:
    """A table for a notebook."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
        for name, text in _rows(schema, ds)
    )
    problems = "".join(f"<li>{html.escape(text)}</li>" for text in schema.problems.values())
    more = f"<p>problems:</p><ul>{problems}</ul>" if problems else ""
    return f"<div><strong>xflux: what is understood</strong><table>{rows}</table>{more}</div>"
