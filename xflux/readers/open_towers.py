"""One call for tower files as the networks publish them: many formats, one CF Dataset."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeVar

from xflux.errors import DataError, SchemaError, XfluxError, warn

if TYPE_CHECKING:
    import xarray as xr

    from xflux.readers.merge import Tower
    from xflux.readers.recognise import Found
    from xflux.readers.records import Choices, Record
    from xflux.readers.sources import Source

_LOG = logging.getLogger(__name__)
_FACTS = ("lat", "lon", "elevation", "igbp", "climate", "utc_offset")
_LARGE = 8 * 2**20  # bytes; the mean size of files from which on threads pay
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def open_towers(
    paths: str | PathLike[str] | Iterable[str | PathLike[str]],
    *,
    time_step: str | None = None,
    partitioning: str = "NT",
    ustar: str = "VUT",
    completeness: float = 0.9,
    sites: Sequence[str] | None = None,
    site_info: Mapping[str, Mapping[str, Any]] | None = None,
    errors: str = "raise",
    progress: bool | None = None,
    workers: int | None = None,
) -> xr.Dataset:
    r"""Open tower files of any supported format as one CF Dataset (site, time).

    Parameters
    ----------
    paths : path, glob, folder, or several of them
        FLUXNET2015, AmeriFlux FLUXNET, ICOS ETC L2 and newer ONEFlux files (CSV, spreadsheets,
        or the zip archives as downloaded) with their reanalysis companions (ERAI, ERA5);
        AmeriFlux BASE; PLUMBER2 and FluxDataKit netCDF; the monthly files of MetaFlux; BADM site
        information; plain tables with a column of time. Formats may be mixed.
    time_step : {"daily", "monthly"}, optional
        By default the finest of the two that every tower can give; weekly files alone stay weekly.
    partitioning : {"NT", "DT"}
        GPP and Reco from night-time or from day-time data.
    ustar : {"VUT", "CUT"}
        The u* threshold of each year, or one for all years; always the reference (``_REF``).
    completeness : float
        Share of half-hours a day, and of days a month, that a mean needs (0 to 1).
    sites : sequence of str, optional
        Read these towers only.
    site_info : mapping, optional
        Characteristics by tower, ``{"DE-Hai": {"lat": 51.08, "lon": 10.45, "igbp": "DBF"}}``;
        they come before what the files say.
    errors : {"raise", "warn"}
        What to do about files that cannot be read: name all of them in one error, or name them
        in a warning and go on without them.
    progress : bool, optional
        Whether a progress bar is shown; by default where there is a terminal.
    workers : int, optional
        How many files are read at once; by default up to 4 where files are large (8 MB and more
        on average), else 1.

    Returns
    -------
    xarray.Dataset
        float32 variables (site, time): drivers TA, TA_MIN, TA_MAX [degC], SW_IN [W m-2],
        VPD [hPa], P [mm d-1], LAI, EVI [1]; targets GPP, Reco, NEE [g m-2 d-1 of carbon];
        NEE_QC and the like [1], the share of measured or well-filled half-hours; ``driver_fill``,
        flags of drivers that come from reanalysis. Those that the files have. Coordinates along
        site: lat, lon, elevation, igbp, climate, utc_offset. Time is local standard time, the
        first day of each step.

    Raises
    ------
    SchemaError
        Files cannot be read, or do not hold what was asked for; every problem is listed.
    DataError
        An option is not known.
    ImportError
        There is a spreadsheet, and openpyxl is not installed.

    Notes
    -----
    What is decided on the way stands in the attributes of the Dataset and its variables. Reco is
    taken where it is published, else it is NEE + GPP; closure is not forced. See
    `docs/towers.md`.

    References
    ----------
    Pastorello et al. (2020), doi:10.1038/s41597-020-0534-3.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import xflux
    >>> text = "TIMESTAMP,TA_F,SW_IN_F,NEE_VUT_REF,NEE_VUT_REF_QC,GPP_NT_VUT_REF,RECO_NT_VUT_REF\n"
    >>> text += "20050101,1.5,40,0.6,1,0.4,1.0\n20050102,2.5,-9999,0.5,0.8,0.6,1.1\n"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "FLX_XX-One_FLUXNET2015_FULLSET_DD_2005-2005_1-4.csv")
    ...     _ = path.write_text(text)
    ...     ds = xflux.open_towers(path, site_info={"XX-One": {"lat": 50.0, "lon": 7.0}})
    >>> dict(ds.sizes), ds.TA.values.tolist()
    ({'site': 1, 'time': 2}, [[1.5, 2.5]])
    """
    choices = _choices(time_step, partitioning, ustar, completeness, errors, workers)
    facts = _given(site_info)
    run = _Run(choices, frozenset(sites) if sites is not None else None, progress, workers)
    from xflux.readers.sources import find_sources

    ds = run.read(find_sources(paths, run.problems.append), facts)
    if run.problems:
        if ds is None or errors == "raise":
            raise SchemaError(run.problems, where="the tower files") from None
        lines = "".join(f"\n  - {problem}" for problem in run.problems)
        warn(f"{len(run.problems)} problems; what they concern is left out:{lines}")
    if ds is None:
        raise SchemaError(["no file of towers was found"], where="the tower files")
    for note in run.remarks:
        warn(note)
    _LOG.info("read %d towers from %d files", ds.sizes["site"], run.files)
    return ds


@dataclass
class _Run:
    """One call of `open_towers`: its problems and remarks on the way."""

    choices: Choices
    sites: frozenset[str] | None
    progress: bool | None
    workers: int | None
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    files: int = 0

    def read(
        self, sources: Sequence[Source], facts: dict[str, dict[str, Any]]
    ) -> xr.Dataset | None:
        """Recognise, choose, read and join; None where nothing could be read."""
        from xflux import __version__
        from xflux.readers.merge import common_step
        from xflux.readers.recognise import recognise
        from xflux.readers.towers_dataset import lay_out

        self.files = len(sources)
        found = [f for f in self._each(recognise, sources, "looking") if f is not None]
        known = self._site_information(found)
        tables: list[Record] = []
        for records in self._each(
            lambda f: _read_tables(f, self.choices), [f for f in found if f.kind == "table"], ""
        ):
            tables += records or []
        files = [f for f in found if f.kind not in ("table", "other", "site information")]
        files = [f for f in files if self._wanted(f.site)]
        tables = [record for record in tables if self._wanted(record.site)]
        towers: list[Tower] = []
        step = self.choices.time_step or "daily"
        if files or tables:
            step = self._step(files, tables, common_step)
            towers = self._towers(files, tables, step)
            if not towers:
                return None
        merged = {site: {**known.get(site, {})} for site in known}
        for tower in towers:
            merged[tower.site] = {**tower.info, **merged.get(tower.site, {})}
        for site, own in facts.items():
            merged[site] = {**merged.get(site, {}), **own}
        if not towers and not known:
            return None
        if towers:
            self._remark(towers)
        else:
            merged = {site: fact for site, fact in merged.items() if self._wanted(site)}
        return lay_out(towers, merged, self.choices, step, __version__)

    def _wanted(self, site: str) -> bool:
        return self.sites is None or not site or site in self.sites

    def _site_information(self, found: Sequence[Found]) -> dict[str, dict[str, Any]]:
        from xflux.readers.badm import read_badm

        known: dict[str, dict[str, Any]] = {}
        for held in self._each(read_badm, [f for f in found if f.kind == "site information"], ""):
            for site, facts in (held or {}).items():
                known[site] = {**facts, **known.get(site, {})}
        return known

    def _step(
        self,
        files: Sequence[Found],
        tables: Sequence[Record],
        common: Callable[[dict[str, set[str]], str | None], str],
    ) -> str:
        steps: dict[str, set[str]] = {}
        held: list[Any] = [item for item in [*list[Any](files), *tables] if item.step != "yearly"]
        own: list[Any] = [item for item in held if item.product != "reanalysis"]
        for item in own or held:
            steps.setdefault(item.site, set()).add(item.step)
        try:
            return common(steps, self.choices.time_step)
        except DataError as error:
            raise SchemaError([str(error)], where="the tower files") from None

    def _towers(self, files: Sequence[Found], tables: Sequence[Record], step: str) -> list[Tower]:
        from xflux.readers.merge import at_step, join
        from xflux.readers.together import read_together

        read = self._each(
            lambda f: at_step(_read(f, self.choices), step, self.choices.completeness),
            read_together(self._of_step(files, step), self.choices),
            "reading towers",
        )
        records = [record for record in read if record is not None]
        for table in self._of_step(tables, step):
            records.append(at_step(table, step, self.choices.completeness))
        by_site: dict[str, list[Record]] = {}
        for record in records:
            if self._wanted(record.site):
                by_site.setdefault(record.site, []).append(record)
        missing = sorted((self.sites or frozenset()) - set(by_site))
        if missing:
            self.problems.append(f"no file that could be read of {', '.join(missing)}")
        return [join(site, held, self.problems.append) for site, held in sorted(by_site.items())]

    def _of_step(self, items: Sequence[Any], step: str) -> list[Any]:
        """The files, or tables, that serve the time step best, for each tower and product."""
        from xflux.readers.fluxnet import YEARLY
        from xflux.readers.merge import best_steps

        groups: dict[tuple[str, str], list[Any]] = {}
        for item in items:
            groups.setdefault((item.site, item.product), []).append(item)
        kept: list[Any] = []
        for (site, product), group in groups.items():
            best = best_steps({item.step for item in group}, step)
            if best is not None:
                kept += [item for item in group if item.step == best]
                continue
            for item in group:
                where = item.source.where if hasattr(item, "source") else item.where
                if item.step == "yearly":
                    self.problems.append(f"{where}: {YEARLY}")
                elif product != "reanalysis":
                    self.problems.append(
                        f"{where}: {site} is {item.step or 'of no known time step'}, which cannot "
                        f"be made {step}; give its DD file"
                        + (' or type time_step="monthly"' if item.step == "monthly" else "")
                    )
        return kept

    def _remark(self, towers: Sequence[Tower]) -> None:
        """Note what the user should know about the towers that were read."""
        without = [t.site for t in towers if "NEE" in t.origin and "GPP" not in t.origin]
        if without:
            self.remarks.append(
                f"no GPP and Reco in the files of {', '.join(without)}: drivers and NEE alone; "
                "the FLUXNET product of a tower has them"
            )
        empty = [t.site for t in towers if not t.has_values]
        if empty:
            self.remarks.append(
                f"nothing but gaps at {', '.join(empty)}: no step has {self.choices.completeness:g}"
                " of its values; type completeness=0.5 to accept half, or a finer time_step"
            )

    def _each(
        self, function: Callable[[_Item], _Result], items: Sequence[_Item], what: str
    ) -> list[_Result | None]:
        """Call a function for each item, several at a time; what fails is noted."""
        from xflux.progress import over_files

        def attempt(item: _Item) -> tuple[_Result | None, str | None]:
            try:
                return function(item), None
            except ImportError:
                raise
            except Exception as error:  # damaged files fail in more ways than can be listed
                where = getattr(getattr(item, "source", item), "where", str(item))
                text = " ".join(str(error).split()) or type(error).__name__
                if not isinstance(error, XfluxError):
                    text = f"cannot be read ({type(error).__name__}: {text})"
                return None, f"{where}: {text}"

        progress = self.progress if what else False
        threads = min(self.workers or _threads(items), len(items))
        with ExitStack() as stack:
            bar = stack.enter_context(over_files(len(items), what, progress))
            pool = stack.enter_context(ThreadPoolExecutor(threads)) if threads > 1 else None
            results = []
            for result, problem in pool.map(attempt, items) if pool else map(attempt, items):
                bar.update()
                results.append(result)
                if problem:
                    self.problems.append(problem)
        return results


def _threads(items: Sequence[Any]) -> int:
    """Threads that pay: one for small files, where taking turns costs more than it gives."""
    sources = [getattr(item, "source", None) for item in items]
    size = sum(os.path.getsize(s.path) for s in {s.path: s for s in sources if s}.values())
    return min(4, os.cpu_count() or 1) if size > _LARGE * max(len(items), 1) else 1


def _read(found: Found, choices: Choices) -> Record:
    """Read one file by the reader of its kind."""
    if found.kind in ("fluxnet", "reanalysis"):
        from xflux.readers.fluxnet import read_fluxnet

        return read_fluxnet(found, choices)
    if found.kind == "half-hours":
        from xflux.readers.ameriflux import read_half_hours

        return read_half_hours(found)
    if found.kind == "plumber2":
        from xflux.readers.plumber2 import read_plumber2

        return read_plumber2(found, choices)
    from xflux.readers.metaflux import read_metaflux

    return read_metaflux(found, choices)


def _read_tables(found: Found, choices: Choices) -> list[Record]:
    from xflux.readers.tables import read_plain

    return read_plain(found, choices)


def _choices(
    time_step: str | None,
    partitioning: str,
    ustar: str,
    completeness: float,
    errors: str,
    workers: int | None,
) -> Choices:
    from xflux.readers.records import Choices

    allowed: tuple[tuple[str, object, tuple[object, ...]], ...] = (
        ("time_step", time_step, ("daily", "monthly", None)),
        ("partitioning", partitioning, ("NT", "DT")),
        ("ustar", ustar, ("VUT", "CUT")),
        ("errors", errors, ("raise", "warn")),
    )
    problems = [
        f"{name}={value!r} is not known; type {name}={known[0]!r}, or one of {known}"
        for name, value, known in allowed
        if value not in known
    ]
    if not 0.0 < completeness <= 1.0:
        problems.append(
            f"completeness={completeness!r} is not between 0 and 1; type completeness=0.9"
        )
    if workers is not None and workers < 1:
        problems.append(f"workers={workers!r}; expected 1 or more, type workers=1")
    if problems:
        raise DataError("\n".join(problems))
    return Choices(
        partitioning=partitioning, ustar=ustar, time_step=time_step, completeness=completeness
    )


def _given(site_info: Mapping[str, Mapping[str, Any]] | None) -> dict[str, dict[str, Any]]:
    given = {str(site): dict(facts) for site, facts in (site_info or {}).items()}
    unknown = sorted({key for facts in given.values() for key in facts if key not in _FACTS})
    if unknown:
        raise DataError(f"site_info has {', '.join(unknown)}; it may have {', '.join(_FACTS)}")
    return given
