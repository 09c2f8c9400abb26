"""Give a model to others: its file and its card, and the line that loads it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from xflux.errors import ModelError, WriteError
from xflux.prediction.folder import folder

SUFFIX = ".safetensors"


def push(
    content: bytes,
    page: Callable[[str], str],
    target: str | os.PathLike[str],
    *,
    title: str,
    name: str | None = None,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> str:
    """Write a model file and its card to a folder; `FluxModel.push` is the door to this.

    Parameters
    ----------
    content : bytes
        Of the model file.
    page : callable
        Gives the card, in Markdown, for the line that loads the model.
    target : path or URL
    title : str
        What the model is called; its file is called so, with the beginning of its hash.
    name : str, optional
        Of the file in place of that.
    overwrite : bool
    storage_options : mapping, optional

    Returns
    -------
    str
        The line that loads it.
    """
    digest = hashlib.sha256(content).hexdigest()
    stem = _stem(name, title, digest)
    place = folder(target, storage_options)
    where = str(Path(place.url).absolute()) if place.local else place.url
    file = f"{stem}{SUFFIX}"
    url = str(Path(where, file)) if place.local else f"{where}/{file}"
    line = f'xflux.load_model("{url}", sha256="{digest}")'
    if where.startswith(("http://", "https://")):
        raise WriteError(
            f"{where} can be read, not written: push to a folder, or to the bucket behind it, "
            '"s3://bucket/models"'
        )
    try:
        if not overwrite and place.has(file) and place.read(file) != content:
            raise WriteError(
                f"{url} is there, and is another model: choose another name=, or add overwrite=True"
            )
        place.write(f"{stem}.md", page(line).encode())
        place.write(file, content)
    except WriteError:
        raise
    except (OSError, NotImplementedError, ValueError) as error:
        raise WriteError(
            f"{url} cannot be written ({type(error).__name__}: {error}): give a folder, or a "
            'bucket that you may write to, "s3://bucket/models"'
        ) from error
    return line


def _stem(name: str | None, title: str, digest: str) -> str:
    if name is None:
        words = "-".join(re.findall(r"[a-z0-9]+", title.lower())) or "model"
        return f"{words[:60]}-{digest[:8]}"
    stem = name.removesuffix(SUFFIX)
    if not re.fullmatch(r"[\w.+-]+", stem) or stem.startswith("."):
        raise ModelError(
            f"name={name!r} is no name of a file: letters, digits, '-', '_' and '.', such as "
            'name="carbon"'
        )
    return stem
