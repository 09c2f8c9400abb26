"""Ready datasets: towers and grids to learn with, simulated or downloaded once and checked.

Two environment variables steer the downloads. ``XFLUX_DATA_DIR`` is the folder that keeps the
files (by default the user's cache folder). ``XFLUX_DATA_URL`` stands in for
``https://raw.githubusercontent.com/``, where a server with the same paths is to be asked instead.
"""

from __future__ import annotations

import difflib
import functools
import importlib.resources
import logging
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from xflux.errors import DataError, DownloadError
from xflux.fetching import cache_folder, quiet_pooch

if TYPE_CHECKING:
    import pooch

_LOG = logging.getLogger(__name__)
_HOST = "https://raw.githubusercontent.com/"
_MONTHLY = "fluxnet2015-monthly"
_COMMIT = "088f93b493f3b3cf2fdbcccc7dd9bc3dbcc95b24"
_MONTHLY_PATH = f"leap-stc/metaflux/{_COMMIT}/metaflux/data/sample/"
_OPTIONS = {
    _MONTHLY: ("sites", "drivers"),
    "simulated-grid": ("shape", "years", "time_step", "seed", "chunks"),
    "simulated-towers": ("sites", "years", "time_step", "seed", "noise"),
}
_WORKERS = 8
_PAUSES = (1.0, 2.0, 4.0)  # seconds before each new attempt
_TIMEOUT = (10.0, 30.0)  # seconds to connect, and between two pieces of a file
_FINAL_STATUS = {400, 401, 403, 404, 410, 451}  # asking again would change nothing
_LISTED = 50  # at most so many files are named for each reason in an error


def names() -> tuple[str, ...]:
    """Names that `load` knows.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> import xflux
    >>> xflux.datasets.names()
    ('fluxnet2015-monthly', 'simulated-grid', 'simulated-towers')
    """
    return tuple(sorted(_OPTIONS))


def load(
    name: str,
    *,
    sites: int | str | Sequence[str] | None = None,
    drivers: str | None = None,
    years: int | None = None,
    time_step: str | None = None,
    shape: tuple[int, int] | None = None,
    seed: int | None = None,
    noise: bool | None = None,
    chunks: Any = None,
    progress: bool | None = None,
) -> xr.Dataset:
    """Load a dataset by its name.

    ======================= ============================================== =====================
    name                    what it is                                     options
    ======================= ============================================== =====================
    ``fluxnet2015-monthly`` 206 real towers, downloaded once (17 MB)       sites, drivers
    ``simulated-towers``    towers of a simulated world, no network        sites, years,
                                                                           time_step, seed,
                                                                           noise
    ``simulated-grid``      a map of the same world, no network            shape, years,
                                                                           time_step, seed,
                                                                           chunks
    ======================= ============================================== =====================

    Parameters
    ----------
    name : str
        One of `names()`.
    sites : sequence of str, str or int, optional
        For the real towers, which of them (such as ``["DE-Hai", "FI-Hyy"]``; all by default), in
        the order to return. For simulated towers, how many.
    drivers : {"reanalysis", "tower"}, optional
        Which weather becomes TA, SW_IN, VPD and P of the real towers: the reanalysis downscaled
        to each tower (the default; no gaps), or what the tower measured, its gaps filled.
    years, time_step, shape, seed, noise, chunks
        Options of the simulated world, handed to `xflux.simulated.world.towers` or
        `xflux.simulated.world.grid`, where they are described.
    progress : bool, optional
        Whether a progress bar shows the download; by default where there is a terminal.

    Returns
    -------
    xarray.Dataset
        CF Dataset with float32 variables: (site, time) for towers, (time, lat, lon) for the grid.
        Drivers TA [degC], SW_IN [W m-2], VPD [hPa], P [mm d-1], LAI [1] and others; targets GPP,
        Reco and NEE [g m-2 d-1 of carbon]; characteristics as coordinates.

    Raises
    ------
    DataError
        The name, an option or a site is not known.
    DownloadError
        Files could not be fetched, kept, or do not have the sha256 they should have.

    Notes
    -----
    The real towers are FLUXNET2015 (doi:10.1038/s41597-020-0534-3, CC-BY-4.0) as compiled for
    MetaFlux (doi:10.1038/s41597-023-02349-y). Each file is checked against its sha256 every time
    it is used; one that was damaged is fetched again. Files already kept need no network.

    Examples
    --------
    >>> import xflux
    >>> towers = xflux.datasets.load("simulated-towers", sites=3, years=1, time_step="monthly")
    >>> dict(towers.sizes)
    {'site': 3, 'time': 12}
    """
    given = _options(
        name,
        sites=sites,
        drivers=drivers,
        years=years,
        time_step=time_step,
        shape=shape,
        seed=seed,
        noise=noise,
        chunks=chunks,
    )
    if name == _MONTHLY:
        return _load_monthly(sites, "reanalysis" if drivers is None else drivers, progress)

    if name == "simulated-towers" and not isinstance(sites, int | None):
        raise DataError(
            f"found sites={sites!r}, expected how many towers to simulate. "
            'Type xflux.datasets.load("simulated-towers", sites=60).'
        )
    from xflux.simulated import world

    return world.grid(**given) if name == "simulated-grid" else world.towers(**given)


def _options(name: str, **options: Any) -> dict[str, Any]:
    """Return the options that were given, once the dataset is known to have them."""
    if name not in _OPTIONS:
        raise DataError(
            f"no dataset is called {name!r}; there are {', '.join(names())}."
            f"{_hint(name, names(), 'xflux.datasets.load({!r})')}"
        )
    given = {key: value for key, value in options.items() if value is not None}
    unknown = [key for key in given if key not in _OPTIONS[name]]
    if unknown:
        raise DataError(
            f"{name} has no option {', '.join(unknown)}; it has {', '.join(_OPTIONS[name])}. "
            f"Type xflux.datasets.load({name!r}) to take its defaults."
        )
    return given


def _load_monthly(
    sites: int | str | Sequence[str] | None, drivers: str, progress: bool | None
) -> xr.Dataset:
    """Fetch what is missing of the monthly towers and read them."""
    from xflux.readers.fluxnet_monthly import read_fluxnet_monthly

    if drivers not in ("reanalysis", "tower"):
        raise DataError(
            f'found drivers={drivers!r}, expected "reanalysis" or "tower". '
            f'Type xflux.datasets.load("{_MONTHLY}", drivers="reanalysis").'
        )
    registry = _registry()
    files = _choose(sites, registry)
    store = _store(registry)
    _fetch(store, files, progress)
    return read_fluxnet_monthly([store.abspath / file for file in files], drivers=drivers)


@functools.cache
def _registry() -> dict[str, str]:
    """Read the sha256 of each file of the monthly towers, by names like base/DE-Hai_MM.csv."""
    listing = importlib.resources.files("xflux") / "data" / f"{_MONTHLY}.txt"
    lines = listing.read_text(encoding="utf-8").splitlines()
    return dict(line.split() for line in lines if line.strip())


def _choose(sites: int | str | Sequence[str] | None, registry: dict[str, str]) -> list[str]:
    """Find the files of the sites asked for, in their order; name all unknown sites at once."""
    files = {Path(file).name.removesuffix("_MM.csv"): file for file in registry}
    if sites is None:
        return list(registry)
    if isinstance(sites, int) or len(sites) == 0:
        raise DataError(
            f"found sites={sites!r}, expected names of towers. "
            f'Type xflux.datasets.load("{_MONTHLY}", sites=["{next(iter(files))}"]).'
        )
    wanted = list(dict.fromkeys([sites] if isinstance(sites, str) else map(str, sites)))
    problems = [
        f"{site!r} is none of the {len(files)} sites.{_hint(site, tuple(files), 'sites=[{!r}]')}"
        for site in wanted
        if site not in files
    ]
    if problems:
        raise DataError("\n".join(problems))
    return [files[site] for site in wanted]


def _hint(word: str, known: Sequence[str], line: str) -> str:
    """Name the known words that are close to `word`, with the line to type for the closest."""
    folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(str(word).casefold(), list(folded), n=3, cutoff=0.6)
    if not close:
        return f" Known: {', '.join(known[:5])}{', ...' if len(known) > 5 else ''}"
    found = [folded[name] for name in close]
    return f" Close to it: {', '.join(found)}. Type {line.format(found[0])}"


def _store(registry: dict[str, str]) -> pooch.Pooch:
    """Join the cache folder, the server and the registry, as the environment has them now."""
    import pooch

    folder = cache_folder()
    host = os.environ.get("XFLUX_DATA_URL") or _HOST
    if not host.startswith(("http://", "https://")):
        raise DownloadError(
            f"found XFLUX_DATA_URL={host}, expected an address that begins with http:// or "
            f"https:// and stands in for {_HOST}; type: unset XFLUX_DATA_URL"
        )
    base_url = f"{host.rstrip('/')}/{_MONTHLY_PATH}"
    return pooch.create(path=folder / _MONTHLY, base_url=base_url, registry=registry)


def _fetch(store: pooch.Pooch, files: Sequence[str], progress: bool | None) -> None:
    """Download the files that are not in the cache, or damaged there, several at a time."""
    import pooch

    from xflux.progress import over_files

    def is_kept(file: str) -> bool:
        path = store.abspath / file
        return path.is_file() and pooch.file_hash(path) == store.registry[file].split(":")[-1]

    try:
        missing = [file for file in files if not is_kept(file)]
        for folder in {(store.abspath / file).parent for file in missing}:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cache_error(store, error) from error
    if not missing:
        return
    bar = over_files(len(missing), _MONTHLY, progress, stays=True)
    _LOG.info("fetching %d files from %s to %s", len(missing), store.base_url, store.abspath)
    run = _Download(store, limit=min(_WORKERS, len(missing)))
    with quiet_pooch(), bar, ThreadPoolExecutor(_WORKERS) as pool:
        for _ in pool.map(run.fetch, missing):
            bar.update()
    if run.cache_error is not None:
        raise _cache_error(store, run.cache_error) from run.cache_error
    if run.failures or run.untried:
        raise DownloadError(_report(store, run, len(missing)))


@dataclass
class _Download:
    """One parallel download: what failed, and whether it is worth going on.

    After `limit` files in a row without a connection the host is taken to be out of reach, and
    the rest is left untried: offline should be said in seconds, not minutes.
    """

    store: pooch.Pooch
    limit: int
    failures: dict[str, str] = field(default_factory=dict)
    untried: list[str] = field(default_factory=list)
    cache_error: OSError | None = None
    lost: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_over(self) -> bool:
        return self.cache_error is not None or self.lost >= self.limit

    def fetch(self, file: str) -> None:
        """Fetch one file, trying again where that can help; errors are noted, not raised."""
        import pooch
        import requests

        reason = None
        for pause in (0.0, *_PAUSES):
            if self.is_over:
                break
            time.sleep(pause)
            is_lost = False
            try:
                downloader = pooch.HTTPDownloader(chunk_size=65536, timeout=_TIMEOUT)
                self.store.fetch(file, downloader=downloader)
            except requests.HTTPError as error:
                status = getattr(error.response, "status_code", None)
                reason = f"the server answered {status}"
                if status in _FINAL_STATUS:
                    break
            except (requests.ConnectionError, requests.Timeout) as error:
                reason, is_lost = f"no connection ({_innermost(error)})", True
            except requests.RequestException as error:
                reason = f"the transfer failed ({_innermost(error)})"
            except ValueError:
                reason = "the sha256 is not the one expected"
            except OSError as error:
                self.cache_error = error
                return
            else:
                with self.lock:
                    self.lost = 0
                return
        with self.lock:
            if reason is None:
                self.untried.append(file)
                return
            self.failures[file] = reason
            self.lost = self.lost + 1 if is_lost else 0


def _innermost(error: BaseException) -> str:
    """Name the error at the bottom of a chain of network errors."""
    seen = error
    while (inner := getattr(seen, "reason", None) or seen.__cause__ or seen.__context__) and (
        isinstance(inner, BaseException)
    ):
        seen = inner
    return type(seen).__name__


def _report(store: pooch.Pooch, run: _Download, count: int) -> str:
    """List all files that failed, by reason, with what to type next."""
    groups: dict[str, list[str]] = {}
    for file, reason in sorted(run.failures.items()):
        groups.setdefault(reason, []).append(file)
    lines = [f"{len(run.failures) + len(run.untried)} of {count} files could not be downloaded:"]
    for reason, files in groups.items():
        more = f" and {len(files) - _LISTED} more" if len(files) > _LISTED else ""
        lines.append(f"  - {reason}: {', '.join(files[:_LISTED])}{more}")
    if run.untried:
        lines.append(f"  - not tried, as the server was out of reach: {len(run.untried)} more")
    lines.append(
        f"From: {store.base_url}\nTo: {store.abspath}\n"
        "What did arrive is kept: run the same line again to fetch the rest. Without a network, "
        f"copy the folder {store.abspath.name} of a machine that has it and type\n"
        "    export XFLUX_DATA_DIR=/folder/that/holds/it\n"
        f"or name a server that stands in for {_HOST} and type\n"
        "    export XFLUX_DATA_URL=https://your.server/\n"
        'or go on without any download: xflux.datasets.load("simulated-towers")'
    )
    return "\n".join(lines)


def _cache_error(store: pooch.Pooch, error: OSError) -> DownloadError:
    """Say that the cache folder cannot be written, or is full."""
    return DownloadError(
        f"the cache folder {store.abspath} cannot be used ({error}). Files from {store.base_url} "
        "are kept there. Choose a folder that you may write to:\n"
        "    export XFLUX_DATA_DIR=/folder/you/may/write"
    )
