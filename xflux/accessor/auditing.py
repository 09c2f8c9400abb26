"""Auditing a Dataset: what is suspicious in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from xflux.accessor.understanding import Understanding

if TYPE_CHECKING:
    from xflux.audit.findings import Report


class Auditing(Understanding):
    """The part of ``ds.flux`` that looks for faults."""

    def check(
        self,
        *,
        variables: Mapping[str, str] | None = None,
        units: Mapping[str, str] | None = None,
        assume_units: bool = False,
        sample: int | None = None,
        ignore: Collection[str] = (),
    ) -> Report:
        """Look for what is suspicious, so that nothing wrong passes in silence.

        Wrong units, fill values, stuck sensors, copied years, shifted clocks, leaves out of season,
        fluxes that do not close, towers that are there twice: docs/check.md lists all kinds. The
        Dataset is not changed, and lazy data are read block by block of entities.

        Parameters
        ----------
        variables, units : mapping of str to str, optional
            What is what, where names and attributes do not tell: ``{"GPP": "GPP_DT"}``,
            ``{"TA": "K"}``.
        assume_units : bool
            Take missing ``units`` for xflux's own.
        sample : int, optional
            Look at so many entities only, drawn by a fixed seed; a large grid need not be read
            whole.
        ignore : collection of str, optional
            Kinds of findings to leave out, such as ``["few labels"]``.

        Returns
        -------
        Report
            Shown, it is a readable report; ``findings``, ``errors``, ``warnings`` and ``notes``
            hold the findings, ``to_dataframe()`` and ``to_dataset()`` give them as a table. An
            error is surely wrong, a warning likely, a note worth knowing.

        Raises
        ------
        SchemaError
            ``variables`` names something that the Dataset does not have.
        DataError
            ``sample`` or ``ignore`` cannot be.

        Examples
        --------
        >>> towers = xflux.datasets.load("simulated-towers", sites=4, years=2)
        >>> towers["TA"] = towers.TA.where(towers.site != "SIM-002", towers.TA + 273.15)
        >>> finding = towers.flux.check().errors[0]
        >>> finding.kind, finding.entity, finding.variable
        ('wrong unit', 'SIM-002', 'TA')
        >>> print(finding.advice)
        ds["TA"] = ds["TA"].where(ds.site != "SIM-002", ds["TA"] - 273.15)
        """
        from xflux.audit.auditing import audit

        return audit(
            self._ds,
            variables=variables,
            units=units,
            assume_units=assume_units,
            sample=sample,
            ignore=ignore,
        )
