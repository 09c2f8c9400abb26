"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path


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
    beside = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}{ending}")
    try:
        beside.write_bytes(content)
        if durable:
            with open(beside, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
