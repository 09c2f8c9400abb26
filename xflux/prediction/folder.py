"""A folder on a disk or in an object store, whose files are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xflux.errors import WriteError
from xflux.whole import write_whole


@dataclass(frozen=True)
class Folder:
    """A folder by path or URL; it need not exist.

    Attributes
    ----------
    url : str
        An absolute path, or a URL that fsspec knows.
    options : mapping
        For fsspec, of a URL.
    """

    url: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def local(self) -> bool:
        """Whether it is a path on this machine."""
        return "://" not in self.url

    def __truediv__(self, name: str) -> Folder:
        return Folder(f"{self.url}/{name}", self.options)

    def __str__(self) -> str:
        return self.url

    def beside(self, ending: str) -> Folder:
        """A folder with a longer name in the same place."""
        return Folder(f"{self.url}{ending}", self.options)

    def _remote(self) -> tuple[Any, str]:
        import fsspec

        found, path = fsspec.core.url_to_fs(self.url, **self.options)
        found.invalidate_cache()
        return found, str(path)

    def files(self) -> list[str]:
        """Names of all files in it and in its folders, sorted; none where there is no folder."""
        if not self.local:
            system, path = self._remote()
            return sorted(str(name)[len(path) :].lstrip("/") for name in system.find(path))
        root = Path(self.url)
        return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if not p.is_dir())

    def exists(self) -> bool:
        """Whether there is anything of this name, an empty folder aside."""
        if self.local:
            path = Path(self.url)
            return os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir()))
        return bool(self.files())

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        if self.local:
            return Path(self.url, name).is_file()
        system, path = self._remote()
        return bool(system.isfile(f"{path}/{name}"))

    def read(self, name: str) -> bytes:
        """All of a file."""
        if self.local:
            return Path(self.url, name).read_bytes()
        system, path = self._remote()
        return bytes(system.cat_file(f"{path}/{name}"))

    def write(self, name: str, data: bytes) -> None:
        """Write a file, or replace it, whole or not at all; on a disk it is there after a crash."""
        if not self.local:
            system, path = self._remote()
            system.pipe_file(f"{path}/{name}", data)
            return
        place = Path(self.url, name)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, data, ending=".partial", durable=True)

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""
        if self.local:
            Path(self.url, name).unlink(missing_ok=True)
            return
        system, path = self._remote()
        with contextlib.suppress(FileNotFoundError):
            system.rm_file(f"{path}/{name}")

    def remove(self) -> None:
        """Remove the folder and all that is in it, if it is there."""
        if self.local:
            if os.path.lexists(self.url):
                shutil.rmtree(self.url)
            return
        system, path = self._remote()
        if system.exists(path):
            system.rm(path, recursive=True)


def folder(place: object, options: Mapping[str, Any] | None = None) -> Folder:
    """The folder that a path or a URL names.

    Raises
    ------
    WriteError
        It is something else.

    Examples
    --------
    >>> folder("s3://bucket/fluxes.zarr/").url
    's3://bucket/fluxes.zarr'
    """
    if not isinstance(place, str | os.PathLike):
        raise WriteError(
            f"a store is named by its path or URL, not by a {type(place).__name__}: give "
            '"fluxes.zarr", or "s3://bucket/fluxes.zarr" with storage_options='
        )
    text = os.fspath(place)
    text = text.decode() if isinstance(text, bytes) else str(text)
    text = text.removeprefix("file://")
    if "://" in text:
        return Folder(text.rstrip("/"), dict(options or {}))
    return Folder(os.path.abspath(os.path.expanduser(text)))
