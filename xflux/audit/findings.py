"""Findings and the report that holds them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields

import numpy as np
import pandas as pd
import xarray as xr

from xflux.audit.kinds import SEVERITIES, Severity


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is suspicious.

    Attributes
    ----------
    severity : {"error", "warning", "note"}
        Surely wrong, likely wrong, worth knowing.
    kind : str
        A key of `xflux.audit.kinds.KINDS`.
    entity : str
        Name of the tower or cell; empty where it concerns the whole Dataset.
    variable : str
        Names in the Dataset, with commas between; ``quantity`` has xflux's.
    start, end : str
        First and last step.
    evidence : str
        What was found, in numbers with units.
    advice : str
        What to do, the line to type where there is one.
    entities : int
        How many entities show it: 1, or more where a grid's cells are taken together.
    """

    severity: Severity
    kind: str
    entity: str
    variable: str
    quantity: str
    start: str
    end: str
    evidence: str
    advice: str
    entities: int = 1


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What was looked at: sizes, period, variables, and the kinds that could not be."""

    entities: int
    of: int
    steps: int
    step: str
    start: str
    end: str
    variables: tuple[str, ...]
    kinds: int
    not_looked: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, repr=False)
class Report:
    """What `ds.flux.check()` returns: findings sorted by severity, shown as a readable report.

    Attributes
    ----------
    findings : tuple of Finding
        Errors first, then warnings, then notes.
    looked : Looked
        What was looked at.

    Examples
    --------
    >>> towers = xflux.datasets.load("simulated-towers", sites=4, years=2)
    >>> report = towers.flux.check()
    >>> len(report.errors), len(report.warnings)
    (0, 0)
    """

    findings: tuple[Finding, ...]
    looked: Looked

    def __post_init__(self) -> None:
        order = sorted(self.findings, key=_rank)
        object.__setattr__(self, "findings", tuple(order))

    def __len__(self) -> int:
        return len(self.findings)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What is surely wrong."""
        return self._of("error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What is likely wrong."""
        return self._of("warning")

    @property
    def notes(self) -> tuple[Finding, ...]:
        """What is worth knowing."""
        return self._of("note")

    def _of(self, severity: Severity) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == severity)

    def to_dataframe(self) -> pd.DataFrame:
        """One row a finding, sorted by severity; the columns are the attributes of `Finding`."""
        columns = [field.name for field in fields(Finding)]
        return pd.DataFrame([asdict(finding) for finding in self.findings], columns=columns)

    def to_dataset(self) -> xr.Dataset:
        """The same as an xarray Dataset along the dimension ``finding``."""
        table = self.to_dataframe()
        return xr.Dataset(
            {
                name: ("finding", table[name].to_numpy(dtype=int if name == "entities" else object))
                for name in table
            },
            coords={"finding": np.arange(len(table))},
        )

    def __repr__(self) -> str:
        from xflux.audit.display import report_text

        return report_text(self)

    def _repr_html_(self) -> str:
        from xflux.audit.display import report_html

        return report_html(self)


def _rank(finding: Finding) -> tuple[int, str, str, str, str]:
    return (
        SEVERITIES.index(finding.severity),
        finding.kind,
        finding.quantity,
        finding.entity,
        finding.start,
    )
