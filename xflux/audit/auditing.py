"""The audit of a Dataset: understood, walked block by block, and told as a report."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

import numpy as np
import xarray as xr

from xflux.audit.blocks import Found, read_blocks
from xflux.audit.findings import Finding, Looked, Report
from xflux.audit.kinds import KINDS
from xflux.audit.looking import look
from xflux.audit.telling import Teller
from xflux.audit.timeline import Timeline, timeline
from xflux.audit.twins import Prints, prints_of, twins
from xflux.cf import timestep
from xflux.cf.schema import Schema, resolve
from xflux.cf.variables import TARGETS
from xflux.errors import DataError

EVERY = 0.9
"""Share of the entities that must show the same fault for it to be one of the whole variable; the
rest may have no values, as the sea on a grid."""


def audit(
    ds: xr.Dataset,
    *,
    variables: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    assume_units: bool = False,
    sample: int | None = None,
    ignore: Collection[str] = (),
) -> Report:
    """Look for what is suspicious in a Dataset; see `ds.flux.check`.

    Raises
    ------
    SchemaError
        ``variables`` names something that the Dataset does not have.
    DataError
        ``sample`` is no positive number, or ``ignore`` names no kind of finding.
    """
    _check_arguments(sample, ignore)
    schema = resolve(ds, variables=variables, units=units, assume_units=assume_units)
    findings = list(_said(schema))
    line, axis = _axis(ds, schema)
    findings += axis
    total = int(np.prod([ds.sizes[dim] for dim in schema.entity_dims], dtype=np.int64))
    chosen = None
    if sample is not None and sample < total:
        chosen = np.sort(np.random.default_rng(0).choice(total, sample, replace=False))
    timed = [m for m in schema.matches.values() if m.role != "characteristic"]
    if line is not None and timed and total:
        teller = Teller(ds=ds, schema=schema, entities=total, hours=line.hours)
        findings += _walk(ds, schema, line, teller, chosen)
    kept = [finding for finding in findings if finding.kind not in set(ignore)]
    return Report(
        findings=tuple(kept),
        looked=_looked(ds, schema, line, total if chosen is None else chosen.size, total),
    )


def _check_arguments(sample: int | None, ignore: Collection[str]) -> None:
    if sample is not None and sample < 1:
        raise DataError(f"sample={sample}; expected how many entities to look at, sample=1000")
    unknown = sorted(set(ignore) - set(KINDS))
    if unknown or isinstance(ignore, str):
        raise DataError(
            f"ignore={ignore!r} names no kind of finding; known are {', '.join(KINDS)}: "
            'ignore=["few labels"]'
        )


def _plain(
    kind: str, evidence: str, *, variable: str = "", start: str = "", end: str = ""
) -> Finding:
    """A finding of the Dataset as a whole."""
    return Finding(
        severity=KINDS[kind].severity,
        kind=kind,
        entity="",
        variable=variable,
        quantity=variable,
        start=start,
        end=end,
        evidence=evidence,
        advice=KINDS[kind].advice.format(time="time", freq="1D"),
    )


def _said(schema: Schema) -> Iterator[Finding]:
    """What the schema could not understand, and what it took for granted."""
    for key, text in schema.problems.items():
        if key != "*time":
            found, _, line = text.partition(": ")
            yield replace(
                _plain("not understood", found, variable=key.lstrip("*")), advice=line or text
            )
    for key, text in schema.notes.items():
        found, _, line = text.partition(": ")
        yield replace(_plain("taken for granted", found, variable=key), advice=line)


def _axis(ds: xr.Dataset, schema: Schema) -> tuple[Timeline | None, list[Finding]]:
    """The complete time axis, and what is wrong with that of the Dataset."""
    if schema.time is None:
        return None, [_plain("no time", schema.problems.get("*time", "no time coordinate"))]
    line, faults = timeline(ds[schema.time])
    freq = {"daily": "1D", "monthly": "MS"}.get(line.step if line else "", "30min")
    found = [
        replace(
            _plain(
                fault.kind, fault.evidence, variable=schema.time, start=fault.first, end=fault.last
            ),
            advice=KINDS[fault.kind].advice.format(time=schema.time_dim, freq=freq),
        )
        for fault in faults
    ]
    if not found and line is not None and line.step == "other":
        return line, found
    if not found and "*time" in schema.problems:
        text, _, advice = schema.problems["*time"].partition(": ")
        kind = "no time" if line is None else "irregular times"
        if line is not None and line.times.size < timestep.MINIMUM_STEPS:
            kind = "short record"
        found.append(replace(_plain(kind, text, variable=schema.time), advice=advice))
    return line, found


def _walk(
    ds: xr.Dataset,
    schema: Schema,
    line: Timeline,
    teller: Teller,
    chosen: np.ndarray | None,
) -> list[Finding]:
    """Every finding of every entity, and of pairs of towers."""
    towers = len(schema.entity_dims) == 1
    many = len([dim for dim in schema.entity_dims if ds.sizes[dim] > 1]) > 1
    findings: dict[tuple[str, str, str, str], Finding] = {}
    wholes: dict[tuple[str, str], set[str]] = {}
    prints: list[Prints] = []
    for block in read_blocks(ds, schema, line, chosen=chosen):
        if towers:
            prints.append(prints_of(block))
        for axis, found in look(block):
            finding = teller.finding(int(block.rows[found.row]), found, axis)
            _add(findings, finding, together=many)
            wholes.setdefault((finding.kind, finding.variable), set()).add(found.whole)
    if towers and prints:
        for pair in twins(prints, line.hours):
            found = Found(pair.kind, 0, pair.names, 0, line.times.size - 1, "")
            finding = teller.finding(pair.other, found, line)
            words = f"{teller.label(pair.one)} is the same: {pair.words}"
            if pair.kind != "same tower twice":
                words = f"{pair.words}, with {teller.label(pair.one)}"
            finding = replace(finding, evidence=words)
            if pair.kind == "same tower twice":
                dim = schema.entity_dims[0]
                finding = replace(finding, advice=f'ds = ds.drop_sel({dim}=["{finding.entity}"])')
            key = (pair.kind, str(pair.one), str(pair.other), "")
            findings.setdefault(key, finding)
    looked = teller.entities if chosen is None else chosen.size
    return _for_all(list(findings.values()), wholes, looked)


def _for_all(
    findings: list[Finding], wholes: Mapping[tuple[str, str], set[str]], entities: int
) -> list[Finding]:
    """Where every entity shows the same, the line to type is that of the whole variable."""
    count: dict[tuple[str, str], int] = {}
    for finding in findings:
        key = (finding.kind, finding.variable)
        count[key] = count.get(key, 0) + finding.entities
    told = []
    for finding in findings:
        key = (finding.kind, finding.variable)
        lines = wholes.get(key, set())
        common = next(iter(lines)) if len(lines) == 1 else ""
        everywhere = common and count[key] >= EVERY * entities
        told.append(replace(finding, advice=common) if everywhere else finding)
    return told


def _add(
    findings: dict[tuple[str, str, str, str], Finding], finding: Finding, *, together: bool
) -> None:
    """Keep a finding; on a grid cells with the same kind and variable are one finding."""
    entity = "" if together else finding.entity
    start = "" if together else finding.start
    key = (finding.kind, finding.variable, entity, start)
    if key in findings and together:
        held = findings[key]
        findings[key] = replace(
            held,
            entities=held.entities + 1,
            entity=f"{held.entity.partition(' and ')[0]} and {held.entities} more",
            start=min(held.start, finding.start),
            end=max(held.end, finding.end),
        )
    else:
        findings.setdefault(key, finding)


def _looked(
    ds: xr.Dataset, schema: Schema, line: Timeline | None, entities: int, total: int
) -> Looked:
    """What was looked at, and what could not be."""
    names = [name for name, match in schema.matches.items() if match.role != "characteristic"]
    missing = []
    if "lat" not in schema.matches:
        missing.append("the sun (no latitude)")
    if "SW_IN" not in names:
        missing.append("clock and place (no SW_IN)")
    if not set(names) & set(TARGETS):
        missing.append("fluxes (no GPP, Reco or NEE)")
    if not set(names) & {"LAI", "EVI", "NDVI", "FAPAR"}:
        missing.append("leaves (none)")
    if len(schema.entity_dims) != 1:
        missing.append("the same tower twice (no dimension of towers)")
    if line is not None and line.step == "other":
        missing.append("all that needs sub-daily, daily or monthly steps")
    return Looked(
        entities=entities,
        of=total,
        steps=line.times.size if line else 0,
        step=line.step if line else "",
        start=line.stamp(0) if line else "",
        end=line.stamp(line.times.size - 1) if line else "",
        variables=tuple(schema.matches[name].variable for name in names),
        kinds=len(KINDS),
        not_looked=tuple(missing),
    )
