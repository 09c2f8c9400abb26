"""Files from the network: fetched once, of bounded size, checked before anything reads them."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from xflux.errors import DownloadError

_LOG = logging.getLogger(__name__)
_PIECE = 2**16
_TIMEOUT = (10.0, 30.0)  # seconds to connect, and between two pieces of a file
_SHA256 = re.compile(r"(?<![0-9a-fA-F])[0-9a-fA-F]{64}(?![0-9a-fA-F])")


def cache_folder() -> Path:
    """The folder that keeps what is fetched: ``XFLUX_DATA_DIR``, or the user's cache folder."""
    import pooch

    return Path(os.environ.get("XFLUX_DATA_DIR") or pooch.os_cache("xflux")).expanduser()


def is_url(name: object) -> bool:
    """Whether a name is that of a file elsewhere.

    Examples
    --------
    >>> is_url("https://example.org/a.safetensors"), is_url("C:/a.safetensors")
    (True, False)
    """
    return isinstance(name, str) and "://" in name


def hash_of(url: str, sha256: str | None) -> str:
    """The sha256 that a file must have, as it was said, or as its URL says.

    Parameters
    ----------
    url : str
        May end in ``#sha256=...``, or have the hash in the name of the file.
    sha256 : str, optional

    Raises
    ------
    DownloadError
        There is none, it is no sha256, or there are two.

    Examples
    --------
    >>> hash_of("https://example.org/a.safetensors#sha256=" + "0f" * 32, None) == "0f" * 32
    True
    """
    parts = urlsplit(url)
    said = [sha256] if sha256 is not None else []
    if parts.fragment:
        said.append(parts.fragment.removeprefix("sha256="))
    wrong = [text for text in said if not _SHA256.fullmatch(text)]
    if wrong:
        raise DownloadError(
            f"{wrong[0]!r} is no sha256, which has 64 digits 0-9 and a-f: on a machine that has "
            "the file, type sha256sum FILE"
        )
    known = {text.lower() for text in [*said, *_SHA256.findall(unquote(parts.path))[-1:]]}
    if len(known) == 1:
        return known.pop()
    if known:
        raise DownloadError(f"{url} is given with {len(known)} different sha256: leave one")
    raise DownloadError(
        f"{url} is given without its sha256, so nobody could tell if it was changed on the way. "
        "Ask who shared it for the line to load it, and type\n"
        f'    xflux.load_model("{url}", sha256="...")'
    )


def fetch(
    url: str,
    sha256: str,
    *,
    limit: int,
    storage_options: Mapping[str, Any] | None = None,
    progress: bool | None = None,
) -> Path:
    """Fetch a file into the cache, unless it is there, and return its path.

    The cache knows files by their hash, so one that is kept needs no network, wherever it came
    from. A file that is too large, or has another hash, is never given its name in the cache.

    Parameters
    ----------
    url : str
        http, https, or what fsspec knows: ``s3://``, ``gs://``.
    sha256 : str
        That the file must have.
    limit : int
        Bytes: a larger file is not fetched to its end.
    storage_options : mapping, optional
        For fsspec.
    progress : bool, optional
        Show a progress bar; by default only on a terminal.

    Raises
    ------
    DownloadError
        It cannot be fetched or kept, is too large, or has another sha256.
    """
    import pooch

    bare = url.partition("#")[0]
    name = f"{sha256}{Path(urlsplit(bare).path).suffix}"
    folder = cache_folder() / "models"

    def download(_: str, output: str, __: object) -> None:
        with _opened(bare, storage_options) as (size, pieces):
            _LOG.info("fetching %s", bare)
            _copy(bare, pieces, size, output, limit, progress)

    try:
        with quiet_pooch():
            kept = pooch.retrieve(
                bare, known_hash=f"sha256:{sha256}", fname=name, path=folder, downloader=download
            )
    except DownloadError:
        raise
    except ValueError as error:
        raise DownloadError(
            f"{bare} does not have the sha256 {sha256}: it was changed, or the hash is that of "
            "another file. It was not read. Ask who shared it for the line to load it"
        ) from error
    except OSError as error:
        raise DownloadError(
            f"{bare} could not be fetched into {folder} ({type(error).__name__}: {error}). "
            "Without a network, fetch it on another machine and load it by its path"
        ) from error
    return Path(kept)


@contextmanager
def quiet_pooch() -> Iterator[None]:
    """Keep pooch from writing a line for each file."""
    import pooch

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _opened(
    url: str, options: Mapping[str, Any] | None
) -> Iterator[tuple[int | None, Iterator[bytes]]]:
    """The size of a file, where it is known, and its pieces."""
    if url.startswith(("http://", "https://")) and not options:
        import requests

        with requests.get(url, stream=True, timeout=_TIMEOUT) as answer:
            answer.raise_for_status()
            length = answer.headers.get("Content-Length", "")
            yield int(length) if length.isdigit() else None, answer.iter_content(_PIECE)
        return
    import fsspec

    try:
        with fsspec.open(url, "rb", **(options or {})) as file:
            yield getattr(file, "size", None), iter(lambda: file.read(_PIECE), b"")
    except (ValueError, NotImplementedError) as error:
        raise DownloadError(f"{url} cannot be read ({error}): give a path or a URL") from error


def _copy(
    url: str,
    pieces: Iterator[bytes],
    size: int | None,
    output: str,
    limit: int,
    progress: bool | None,
) -> None:
    """Write the pieces of a file, as long as they are not too many."""
    from xflux.progress import over_bytes

    too_large = DownloadError(f"{url} is larger than {limit // 2**20} MiB: not a model of xflux")
    if size is not None and size > limit:
        raise too_large
    count = 0
    with open(output, "wb") as file, over_bytes(size, "model", progress) as bar:
        for piece in pieces:
            count += len(piece)
            if count > limit:
                raise too_large
            file.write(piece)
            bar.update(len(piece))
