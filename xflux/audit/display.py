"""How a report is shown: findings of one kind and variable stand together."""

from __future__ import annotations

import html
import textwrap

from xflux.audit.findings import Finding, Report
from xflux.audit.kinds import SEVERITIES

SHOWN = {"error": 4, "warning": 4, "note": 1}
"""Entities of one kind that are shown each with its evidence; the table has them all."""

NAMED = 8
"""Further entities that are named."""

WIDTH = 100


def _groups(report: Report, severity: str) -> list[list[Finding]]:
    """Findings of one severity by kind and variable, in the report's order."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in report.findings:
        if finding.severity == severity:
            groups.setdefault((finding.kind, finding.variable), []).append(finding)
    return list(groups.values())


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _headline(report: Report) -> str:
    looked = report.looked
    where = _plural(looked.entities, "entit").replace("entit", "entity", 1)
    where = where.replace("entitys", "entities")
    if looked.of > looked.entities:
        where += f" of {looked.of}"
    if not report.findings:
        return f"nothing suspicious in {where}"
    counts = [
        _plural(len(found), severity)
        for severity in SEVERITIES
        if (found := [f for f in report.findings if f.severity == severity])
    ]
    serious = report.errors or report.warnings
    return f"{', '.join(counts)} in {where}" + ("" if serious else ": nothing suspicious")


def _looked(report: Report) -> list[str]:
    looked = report.looked
    time = "no time axis"
    if looked.steps:
        time = f"{looked.steps} {looked.step} steps, {looked.start} to {looked.end}"
    lines = [
        f"{time}; {', '.join(looked.variables) or 'no variables'}; {looked.kinds} kinds of faults"
    ]
    if looked.not_looked:
        lines.append(f"not looked for: {'; '.join(looked.not_looked)}")
    return lines


def _title(group: list[Finding]) -> str:
    first = group[0]
    total = sum(finding.entities for finding in group)
    name = f": {first.variable}" if first.variable else ""
    count = f" ({total} entities)" if total > 1 else ""
    return f"{first.kind}{name}{count}"


def _line(finding: Finding) -> str:
    period = f"{finding.start} to {finding.end}" if finding.start else ""
    place = ", ".join(part for part in (finding.entity, period) if part)
    return f"{place}: {finding.evidence}" if place else finding.evidence


def _rest(group: list[Finding]) -> str:
    names = [finding.entity for finding in group[SHOWN[group[0].severity] :]]
    if not names:
        return ""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"also {', '.join(names[:NAMED])}{more}"


def report_text(report: Report) -> str:
    """Plain text for a terminal."""
    lines = [f"<xflux check: {_headline(report)}>"]
    for text in _looked(report):
        lines += _wrapped(text, "  ")
    for severity in SEVERITIES:
        groups = _groups(report, severity)
        if groups:
            lines.append(f"  {severity}s")
        for group in groups:
            lines.append(f"    {_title(group)}")
            for finding in group[: SHOWN[severity]]:
                lines += _wrapped(_line(finding), "      ")
            if rest := _rest(group):
                lines += _wrapped(rest, "      ")
            if group[0].advice:
                lines.append(f"      -> {group[0].advice}")
    return "\n".join(lines)


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def report_html(report: Report) -> str:
    """A table for a notebook."""
    cell = "style='text-align:left;vertical-align:top'"
    rows = []
    for severity in SEVERITIES:
        for group in _groups(report, severity):
            shown = "<br>".join(html.escape(_line(finding)) for finding in group[: SHOWN[severity]])
            if rest := _rest(group):
                shown += f"<br><em>{html.escape(rest)}</em>"
            rows.append(
                f"<tr><td {cell}>{severity}</td><td {cell}>{html.escape(_title(group))}</td>"
                f"<td {cell}>{shown}</td>"
                f"<td {cell}><code>{html.escape(group[0].advice)}</code></td>"
                "</tr>"
            )
    looked = "".join(f"<div>{html.escape(text)}</div>" for text in _looked(report))
    table = ""
    if rows:
        head = "".join(f"<th {cell}>{name}</th>" for name in ("", "what", "where", "what to do"))
        table = f"<table><tr>{head}</tr>{''.join(rows)}</table>"
    return (
        f"<div><strong>xflux check: {html.escape(_headline(report))}</strong>{looked}{table}</div>"
    )
