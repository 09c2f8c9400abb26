"""A zarr store while it is written: nowhere to be opened before all of it is there.

The metadata of the root, without which no reader opens a zarr store, are written last. Until then
they wait in a folder beside the store, ``<store>.part``, with what is needed to go on after a kill:
the description of the run, and one file for each block that is written. A store on a disk grows in
that folder as well and gets its name at the end; one in an object store grows in its place.
"""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from xflux.errors import WriteError
from xflux.prediction.folder import Folder

RUN = "run.json"
"""The description of a run; it is written when all is prepared."""

ROOTS = ("zarr.json", ".zgroup")
"""A folder with one of these is a zarr store."""

LAST = ("zarr.json", ".zmetadata")
"""The last of the files without which a store does not open, of zarr 3 and 2."""


_ARRAYS: dict[tuple[str, str, str], Any] = {}
"""Arrays that this process has open."""


class Note(NamedTuple):
    """What is known of a block that is written: its slab, whether it has land, its drivers."""

    slab: int
    land: bool
    digest: str

    @property
    def name(self) -> str:
        """The file that holds the state at its end."""
        return f"{self.slab:08d}-{'land' if self.land else 'sea'}-{self.digest}"

    @classmethod
    def of(cls, name: str) -> Note:
        """Read the name of a file."""
        slab, land, digest = name.split("-")
        return cls(int(slab), land == "land", digest)


@dataclass(frozen=True)
class Unfinished:
    """A store that is being written.

    Attributes
    ----------
    target : Folder
        The store as it will be.
    token : str
        Of this call: a process keeps its arrays open as long as it is the same.
    """

    target: Folder
    token: str

    @property
    def part(self) -> Folder:
        """The folder beside it."""
        return self.target.beside(".part")

    @property
    def data(self) -> Folder:
        """Where the arrays grow."""
        return self.part / "store" if self.target.local else self.target

    @property
    def template(self) -> Folder:
        """Metadata and coordinates."""
        return self.part / "template"

    # --- begin and finish ---------------------------------------------------------------------

    def begin(
        self,
        template: xr.Dataset,
        encoding: Mapping[str, Any],
        run: Mapping[str, str],
        *,
        overwrite: bool,
    ) -> bool:
        """Prepare the store, or find the same run unfinished.

        Parameters
        ----------
        template : xr.Dataset
            Coordinates in memory, and lazy variables that are never computed.
        encoding : mapping
        run : mapping of str to str
            What makes this run what it is, by the names that an error gives.
        overwrite : bool
            Replace a finished store; on a disk it stays until this one is finished.

        Returns
        -------
        bool
            Whether there is something to go on from.

        Raises
        ------
        WriteError
            The store exists, or holds another run, or cannot be written.
        """
        with saying(self.target):
            if self.part.has(RUN):
                found = json.loads(self.part.read(RUN))
                self.refuse([name for name in run if found.get(name) != run[name]])
                if not self.finished:
                    self.check_free(overwrite)
                self._tidy()
                return True
            self.check_free(overwrite)
            self._write_template(template, encoding)
            if not self.target.local:
                for name in sorted(self.target.files(), key=lambda name: "/" in name):
                    self.target.delete(name)
            for name in self.template.files():
                if "/" in name:
                    self.data.write(name, self.template.read(name))
            self.part.write(RUN, json.dumps(dict(run)).encode())
        return False

    def refuse(self, other: Sequence[str]) -> None:
        """Refuse to go on with a run that differs in something.

        Raises
        ------
        WriteError
        """
        if other:
            line = f'shutil.rmtree("{self.part}")'
            if not self.part.local:
                line = f'fsspec.url_to_fs("{self.part}")[0].rm("{self.part}", recursive=True)'
            raise WriteError(
                f"{self.part} holds an unfinished run with other {', '.join(other)}: go on with "
                f"those that it began with, give another store, or remove it: {line}"
            )

    def check_free(self, overwrite: bool) -> None:
        """Refuse to write over something, unless it is a store and may be replaced.

        Raises
        ------
        WriteError
        """
        growing = not self.target.local and self.part.exists()  # in its place, by us
        if not self.target.exists() or (growing and not self._is_zarr()):
            return
        if not overwrite:
            raise WriteError(
                f'{self.target} exists: read it with xr.open_zarr("{self.target}"), give another '
                'store, or write it anew with mode="w"'
            )
        if not self._is_zarr():
            raise WriteError(
                f'{self.target} is there and is not a zarr store, and mode="w" replaces nothing '
                "else: move it away, or give another store"
            )

    def _is_zarr(self) -> bool:
        return any(self.target.has(name) for name in ROOTS)

    def _write_template(self, template: xr.Dataset, encoding: Mapping[str, Any]) -> None:
        self.part.remove()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # zarr on what is not yet in its specification
                template.to_zarr(
                    self.template.url,
                    mode="w",
                    compute=False,
                    encoding=dict(encoding),
                    storage_options=dict(self.target.options) or None,
                )
        except BaseException:
            with contextlib.suppress(OSError):
                self.part.remove()
            raise

    def _tidy(self) -> None:
        """Remove what a kill in the middle of a write has left behind."""
        if self.part.local:
            for path in Path(self.part.url).rglob("*.partial"):
                path.unlink(missing_ok=True)

    @property
    def finished(self) -> bool:
        """Whether all of it is there, and only the folder beside it is left to remove."""
        if self.target.local:
            return self.target.exists() and not self.data.exists()
        return any(self.target.has(name) for name in LAST)

    def finish(self, *, overwrite: bool) -> None:
        """Give the store its root, and its name; remove the folder beside it.

        Raises
        ------
        WriteError
        """
        with saying(self.target):
            if not self.finished:
                roots = [name for name in self.template.files() if "/" not in name]
                for name in sorted(roots, key=lambda name: name in LAST):
                    self.data.write(name, self.template.read(name))
                if self.target.local:
                    self.check_free(overwrite)
                    if self.target.exists():
                        os.rename(self.target.url, (self.part / "replaced").url)
                    os.rename(self.data.url, self.target.url)
            for name in ("replaced", "blocks", "template"):
                (self.part / name).remove()
            self.part.remove()

    # --- blocks -------------------------------------------------------------------------------

    def write(self, name: str, region: tuple[slice, ...], values: np.ndarray[Any, Any]) -> None:
        """Write whole chunks of an array; on a disk they are there after a crash."""
        array = self._array(name)
        array[region] = values
        if self.data.local:
            for path in _chunks(array, region):
                _sync(Path(self.data.url, name, path))

    def starts_missing(self, name: str) -> bool:
        """Whether an array is missing values where nothing is written."""
        return bool(np.isnan(self._array(name).fill_value))

    def _array(self, name: str) -> Any:
        """An array of the store, opened once a process."""
        import zarr

        key = (self.token, self.data.url, name)
        if key not in _ARRAYS:
            options = dict(self.data.options) or None
            array = zarr.open_array(f"{self.data}/{name}", mode="r+", storage_options=options)
            _ARRAYS.update({key: array})
            for old in [old for old in _ARRAYS if old[0] != self.token]:
                _ARRAYS.pop(old, None)
        return _ARRAYS[key]

    def notes(self) -> dict[int, Note]:
        """The last block that is written of each tile."""
        found: dict[int, Note] = {}
        for name in (self.part / "blocks").files():
            tile, _, rest = name.partition("/")
            if not rest.endswith(".partial"):
                note = Note.of(rest)
                found[int(tile)] = max(note, found.get(int(tile), note))
        return found

    def note(self, tile: int) -> Note | None:
        """The last block that is written of a tile."""
        names = (self.part / "blocks" / str(tile)).files()
        return max((Note.of(n) for n in names if not n.endswith(".partial")), default=None)

    def state(self, tile: int, note: Note) -> bytes:
        """The state at the end of a block."""
        return self.part.read(f"blocks/{tile}/{note.name}")

    def done(self, tile: int, note: Note, state: bytes) -> None:
        """Write down that a block is written, with the state at its end."""
        place = self.part / "blocks" / str(tile)
        place.write(note.name, state)
        for name in place.files():
            if not name.endswith(".partial") and Note.of(name) < note:
                place.delete(name)


def _chunks(array: Any, region: tuple[slice, ...]) -> Iterator[str]:
    """Files of the chunks of a region."""
    spans = [
        range(part.start // size, -(-part.stop // size))
        for part, size in zip(region, array.chunks, strict=True)
    ]
    for index in np.ndindex(*(len(span) for span in spans)):
        at = tuple(span[i] for span, i in zip(spans, index, strict=True))
        metadata = getattr(array, "metadata", None)  # of zarr 3
        yield metadata.encode_chunk_key(at) if metadata else str(array._chunk_key(at))


def _sync(path: Path) -> None:
    """Wait until a file is on the disk; a chunk without values has none."""
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def saying(place: Folder) -> Iterator[None]:
    """Turn an error of the file system into one that names the place.

    Raises
    ------
    WriteError
    """
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        raise WriteError(f"{place} cannot be written: {error}") from error
