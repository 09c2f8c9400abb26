"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr


def write_whole(
    path: Path, content: bytes, *, ending: str = ".part", durable: bool = False
) -> None:
    """Write a file beside its place, then give it its name; of several writers the last one wins.

    Parameters
    ----------
    path : Path
        An existing file is replaced.
    content : bytes
    ending : str
        Of the name beside, which a kill in the middle leaves behind.
    durable : bool
        It is there after a crash of the machine, too.
    """
    with beside(path, ending=ending) as place:
        place.write_bytes(content)
        if durable:
            with open(place, "rb+") as file:
                os.fsync(file.fileno())


def write_netcdf(ds: xr.Dataset, path: str | os.PathLike[str]) -> Path:
    """Write a Dataset as compressed netCDF-4, whole or not at all.

    Parameters
    ----------
    ds : xr.Dataset
        Lazy arrays are computed while they are written.
    path : path
        An existing file is replaced.

    Returns
    -------
    Path

    Examples
    --------
    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp(), "fluxes.nc")
    >>> write_netcdf(xr.Dataset({"GPP": ("time", [1.0, 2.0])}), place).name
    'fluxes.nc'
    """
    path = Path(path)
    numbers = [name for name, array in ds.data_vars.items() if array.dtype.kind in "fiu"]
    encoding = {name: {"zlib": True, "complevel": 2} for name in numbers}
    with beside(path) as place:
        ds.to_netcdf(place, encoding=encoding)
    return path


@contextmanager
def beside(path: Path, *, ending: str = ".part") -> Iterator[Path]:
    """A place beside a path, which becomes the path where nothing went wrong, and else is gone.

    Parameters
    ----------
    path : Path
        An existing file is replaced.
    ending : str
        Of the name beside, which a kill in the middle leaves behind.
    """
    place = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}{ending}")
    try:
        yield place
        os.replace(place, path)
    finally:
        place.unlink(missing_ok=True)
