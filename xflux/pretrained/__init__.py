"""The bundled ensembles, and how any model is loaded by name or path."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any

from xflux.cf.timestep import drivers_line
from xflux.errors import ModelError
from xflux.fetching import fetch, hash_of, is_url

if TYPE_CHECKING:
    from xflux.model import FluxModel

_SUFFIX = ".safetensors"


def bundled_models() -> tuple[str, ...]:
    """Names of the ensembles that come with xflux.

    Examples
    --------
    >>> bundled_models()
    ('daily', 'monthly')
    """
    files = resources.files("xflux.pretrained").iterdir()
    return tuple(sorted(f.name.removesuffix(_SUFFIX) for f in files if f.name.endswith(_SUFFIX)))


def load_model(
    name: str | os.PathLike[str],
    *,
    sha256: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    progress: bool | None = None,
) -> FluxModel:
    """Load a bundled ensemble by its name, or a model file by its path or URL.

    Parameters
    ----------
    name : str or path
        ``"daily"``, ``"monthly"``, the path of a file that `FluxModel.save` wrote, or the URL of
        one that `FluxModel.push` wrote: ``https://``, or what fsspec knows, such as ``s3://``. It
        is fetched once, and kept in the cache (``XFLUX_DATA_DIR``); then no network is needed.
    sha256 : str, optional
        That the file must have. Needed with a URL, unless its file name or its end,
        ``#sha256=...``, has it; the file is checked before it is read.
    storage_options : mapping, optional
        For fsspec, of a URL.
    progress : bool, optional
        Show a progress bar while it is fetched; by default only on a terminal.

    Returns
    -------
    FluxModel

    Raises
    ------
    FileNotFoundError
        There is neither a bundled model nor a file of this name.
    ModelFileError
        The file is damaged, from a newer xflux, or has another sha256.
    DownloadError
        It cannot be fetched, is too large, or has another sha256; or none was given with a URL.

    Examples
    --------
    >>> load_model("daily").time_step
    'daily'
    """
    from xflux.model import LIMIT, read_model

    if isinstance(name, str) and is_url(name):
        digest = hash_of(name, sha256)
        path = fetch(name, digest, limit=LIMIT, storage_options=storage_options, progress=progress)
        return read_model(path)
    if isinstance(name, str) and name in bundled_models():
        with resources.as_file(resources.files("xflux.pretrained") / f"{name}{_SUFFIX}") as path:
            return read_model(path, sha256=sha256)
    if isinstance(name, str) and not os.path.exists(name) and os.sep not in name:
        raise FileNotFoundError(
            f"no bundled model and no file is called {name!r}; bundled: "
            f"{', '.join(map(repr, bundled_models()))}"
        )
    return read_model(name, sha256=sha256)


def model_for(time_step: str | None) -> FluxModel:
    """The bundled ensemble for a time step.

    Raises
    ------
    ModelError
        There is none: the message has the line that brings the Dataset to one.
    """
    if time_step not in bundled_models():
        finer = {"sub-daily": "daily", "weekly": "monthly"}.get(str(time_step))
        raise ModelError(
            f"the time step is {time_step}; the bundled ensembles are "
            f"{' and '.join(bundled_models()) or 'not installed'}: "
            + (drivers_line(str(time_step), finer) if finer else "give daily or monthly drivers")
        )
    return load_model(str(time_step))
