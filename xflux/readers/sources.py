"""Find the files that a person names: paths, globs, folders, and the members of zip archives.

Members are read in place: nothing is ever unpacked to disk. A member whose name leads out of the
archive, or that unpacks to far more than its packed size warrants, is refused.
"""

from __future__ import annotations

import glob
import io
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import IO

from xflux.errors import DataError

SUFFIXES = (".csv", ".txt", ".tsv", ".xlsx", ".xlsm", ".nc", ".nc4", ".zip")
"""Files that a folder is searched for."""

_READABLE = (".csv", ".tsv", ".xlsx", ".xlsm", ".nc", ".nc4")
_LARGEST_RATIO = 200
_SMALL = 64 * 2**20
_MEMBERS = 20_000

Paths = str | PathLike[str] | Iterable[str | PathLike[str]]


@dataclass(frozen=True)
class Source:
    """One file, or one member of a zip archive."""

    path: Path
    member: str | None = None

    @property
    def name(self) -> str:
        """The file's own name, without its folders."""
        return PurePosixPath(self.member).name if self.member else self.path.name

    @property
    def where(self) -> str:
        """How messages name it."""
        return f"{self.path.name}: {self.member}" if self.member else self.path.name

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open it for reading, as bytes.

        Raises
        ------
        DataError
            The member is packed in a way that Python does not know.
        """
        if self.member is None:
            with self.path.open("rb") as handle:
                yield handle
            return
        with zipfile.ZipFile(self.path) as archive:
            try:
                member = archive.open(self.member)
            except NotImplementedError as error:
                raise DataError(
                    f"cannot be unpacked ({error}): the archive is damaged, or unpack it yourself "
                    "and give the folder"
                ) from error
            with member:
                yield member

    def start(self, size: int = 65_536) -> bytes:
        """The first bytes of it."""
        with self.open() as handle:
            return handle.read(size)

    def seekable(self) -> Path | io.BytesIO:
        """What readers of binary formats take: the path, or a member's bytes."""
        if self.member is None:
            return self.path
        with self.open() as handle:
            return io.BytesIO(handle.read())


def find_sources(paths: Paths, refuse: Callable[[str], None]) -> list[Source]:
    """List every file that `paths` name, in order and once, archives opened.

    Parameters
    ----------
    paths : path, glob, folder, or several of them
        ``~`` and ``**`` are understood. A folder stands for all that it holds.
    refuse : callable
        Told of each name that leads to nothing and each archive that cannot be read.
    """
    given = [paths] if isinstance(paths, str | PathLike) else list(paths)
    files: dict[Path, None] = {}
    for item in given:
        found = _expand(os.path.expanduser(os.fspath(item)))
        if not found:
            refuse(f"{os.fspath(item)}: no such file, and no file that it matches; check the path")
        files.update(dict.fromkeys(Path(os.path.abspath(file)) for file in found))
    sources: list[Source] = []
    for file in files:
        try:
            sources += _members(file, refuse) if _is_archive(file) else [Source(file)]
        except (OSError, zipfile.BadZipFile, ValueError, RuntimeError) as error:
            refuse(f"{file.name}: cannot be read ({error}); download it again")
    return sources


def _expand(text: str) -> list[Path]:
    path = Path(text)
    if path.is_dir():
        inside = (file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        return sorted(file for file in inside if file.is_file())
    if path.exists():
        return [path]
    found = (Path(name) for name in sorted(glob.glob(text, recursive=True)))
    return [file for file in found if file.is_file()]


def _is_archive(path: Path) -> bool:
    with path.open("rb") as handle:
        start = handle.read(4)
    if start[:2] != b"PK":
        if path.suffix.lower() == ".zip":
            raise DataError("it is named .zip and is no zip archive: download it again")
        return False
    with zipfile.ZipFile(path) as archive:
        check_sizes(archive)
        return "[Content_Types].xml" not in archive.namelist()


def _members(path: Path, refuse: Callable[[str], None]) -> list[Source]:
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    sources = []
    for info in infos:
        name = info.filename
        if info.is_dir() or PurePosixPath(name).suffix.lower() not in _READABLE:
            continue
        if leads_out(name):
            refuse(f"{path.name}: the member {name!r} leads out of the archive; it is not opened")
            continue
        if not name.startswith("__MACOSX/"):
            sources.append(Source(path, name))
    if not sources:
        refuse(f"{path.name}: the archive holds no file of towers (csv, xlsx or nc)")
    return sources


def leads_out(name: str) -> bool:
    r"""Whether the name of a member is absolute or climbs out of the archive.

    Examples
    --------
    >>> leads_out("a/b.csv"), leads_out("../b.csv"), leads_out("C:\\b.csv"), leads_out("/b.csv")
    (False, True, True, True)
    """
    parts = name.replace("\\", "/").split("/")
    return ".." in parts or parts[0] == "" or ":" in parts[0]


def check_sizes(archive: zipfile.ZipFile) -> None:
    """Refuse archives that would unpack to far more than they warrant.

    Raises
    ------
    DataError
        There are very many members, or one is packed more than 200 to 1.
    """
    infos = archive.infolist()
    if len(infos) > _MEMBERS:
        raise DataError(f"the archive has {len(infos)} members, more than {_MEMBERS}")
    for info in infos:
        if info.flag_bits & 1:
            raise DataError(f"the member {info.filename!r} is encrypted: unlock the archive first")
        if info.file_size > max(_SMALL, _LARGEST_RATIO * info.compress_size):
            raise DataError(
                f"the member {info.filename!r} would unpack to {info.file_size} bytes from "
                f"{info.compress_size}; no table of towers does"
            )
