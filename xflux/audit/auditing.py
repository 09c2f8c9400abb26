"""The audit of a Dataset: understood, walked block by block, and told as a report."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from xflux.audit.blocks import Found, read_blocks
from xflux.audit.findings import Finding, Looked, Report
from xflux.audit.kinds import KINDS, Severity
from xflux.audit.looking import look
from xflux.audit.timeline import Timeline, timeline
from xflux.audit.twins import Prints, prints_of, twins
from xflux.cf import timestep
from xflux.cf.schema import Schema, resolve
from xflux.cf.variables import TARGETS
from xflux.errors import DataError

CUT = KINDS["stuck"].advice
"""The advice that becomes a line which leaves out some steps of one entity."""


@dataclass(frozen=True, kw_only=True)
class Teller:
    """Turns what was found at a position into a finding with names, dates and a line to type."""

    ds: xr.Dataset
    schema: Schema

    def label(self, position: int) -> str:
        """Name of an entity by its position in C order of the entity dimensions."""
        dims = self.schema.entity_dims
        if not dims:
            return self._scalar()
        where = np.unravel_index(position, tuple(self.ds.sizes[dim] for dim in dims))
        parts = [
            str(self.ds[dim].values[i]) if dim in self.ds.coords else str(i)
            for dim, i in zip(dims, where, strict=True)
        ]
        if len(dims) == 1:
            return parts[0]
        return ", ".join(f"{dim}={part}" for dim, part in zip(dims, parts, strict=True))

    def _scalar(self) -> str:
        """The name of a Dataset of one series, where a coordinate has it."""
        for name, coord in self.ds.coords.items():
            if coord.ndim == 0 and (name == "site" or "cf_role" in coord.attrs):
                return str(coord.values)
        return "the series"

    def called(self, names: Sequence[str]) -> str:
        """Names in the Dataset."""
        matches = self.schema.matches
        return ", ".join(matches[n].variable if n in matches else n for n in names)

    def finding(self, position: int, found: Found, line: Timeline) -> Finding:
        """What a check found, as a finding."""
        kind = KINDS[found.kind]
        start, end = line.stamp(found.first), line.stamp(found.last)
        severity: Severity = found.severity or kind.severity  # type: ignore[assignment]
        return Finding(
            severity=severity,
            kind=found.kind,
            entity=self.label(position),
            variable=self.called(found.names),
            quantity=", ".join(found.names),
            start=start,
            end=end,
            evidence=found.evidence,
            advice=found.line or found.whole or self._advice(position, found, start, end),
        )

    def _advice(self, position: int, found: Found, start: str, end: str) -> str:
        """The advice of the kind, as a line to type where it is to leave steps out."""
        advice = KINDS[found.kind].advice
        where = self._where(position)
        if advice != CUT or where is None:
            return advice.format(time=self.schema.time or "time", freq="1D")
        name = self.called(found.names[:1])
        time = f"ds.{self.schema.time}"
        inside = " & ".join([*where, f'{time}.isin({time}.loc["{start}":"{end}"])'])
        return f'ds["{name}"] = ds["{name}"].where(~({inside}))'

    def _where(self, position: int) -> list[str] | None:
        """Conditions that select an entity, or None where a dimension has no coordinate."""
        dims = self.schema.entity_dims
        if not all(dim in self.ds.coords for dim in dims):
            return None
        if not dims:
            return []
        index = np.unravel_index(position, tuple(self.ds.sizes[dim] for dim in dims))
        values = [self.ds[dim].values[i] for dim, i in zip(dims, index, strict=True)]
        return [
            f"(ds.{dim} == {value.item()!r})".replace("'", '"')
            if isinstance(value, np.generic)
            else f'(ds.{dim} == "{value}")'
            for dim, value in zip(dims, values, strict=True)
        ]


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
    teller = Teller(ds=ds, schema=schema)
    findings = list(_said(schema))
    line, axis = _axis(ds, schema)
    findings += axis
    total = int(np.prod([ds.sizes[dim] for dim in schema.entity_dims], dtype=np.int64))
    chosen = None
    if sample is not None and sample < total:
        chosen = np.sort(np.random.default_rng(0).choice(total, sample, replace=False))
    timed = [m for m in schema.matches.values() if m.role != "characteristic"]
    if line is not None and timed and total:
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
    prints: list[Prints] = []
    for block in read_blocks(ds, schema, line, chosen=chosen):
        if towers:
            prints.append(prints_of(block))
        for axis, found in look(block):
            finding = teller.finding(int(block.rows[found.row]), found, axis)
            _add(findings, finding, together=many)
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
    return list(findings.values())


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
