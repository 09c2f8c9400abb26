"""Many small files with one header, parsed at once: half of the time goes into beginning a file.

Only what is plain is taken together: numbers throughout, a row a line. Everything else is left for
its reader, which also has the words for what is wrong with it.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from xflux.readers.cells import all_numbers, parse_rows
from xflux.readers.fluxnet import columns_of, stamps_of
from xflux.readers.recognise import Found
from xflux.readers.records import Choices

_SMALL = 2**20
_AT_ONCE = 32 * 2**20


def read_together(files: Sequence[Found], choices: Choices) -> list[Found]:
    """Give small files of the same columns their numbers, where they can be had at once.

    Parameters
    ----------
    files : sequence of Found
    choices : Choices
        They decide which columns are read.

    Returns
    -------
    list of Found
        In the same order; those that were read have `Found.numbers`.
    """
    groups: dict[object, list[int]] = {}
    for i, found in enumerate(files):
        header = found.header
        if found.kind == "fluxnet" and found.source.member is None and header and not header.sheet:
            alike = (header.names, header.delimiter, header.decimal, header.skip, header.encoding)
            if os.path.getsize(found.source.path) <= _SMALL:
                groups.setdefault(alike, []).append(i)
    out = list(files)
    for group in groups.values():
        for some in _batches(files, group):
            read = _read([files[i] for i in some], choices)
            for i, numbers in zip(some, read, strict=False):
                out[i] = replace(files[i], numbers=numbers)
    return out


def _batches(files: Sequence[Found], group: Sequence[int]) -> Iterator[list[int]]:
    """Files of some megabytes together; none alone."""
    batch: list[int] = []
    size = 0
    for i in group:
        batch.append(i)
        size += os.path.getsize(files[i].source.path)
        if size > _AT_ONCE:
            yield batch
            batch, size = [], 0
    if len(batch) > 1:
        yield batch


def _read(files: Sequence[Found], choices: Choices) -> list[dict[str, np.ndarray]]:
    """Stamps and numbers of each file; nothing where one of them is not plain."""
    header = files[0].header
    assert header is not None
    try:
        columns = columns_of(header.names, choices)
        stamp = stamps_of(header.names)
        bodies = [_rows(found) for found in files]
        counts = [body.count(b"\n") for body in bodies]
        rows = b"".join(bodies)
        if rows.count(header.delimiter.encode()) != sum(counts) * (len(header.names) - 1):
            return []
        table = parse_rows(rows, header, [stamp, *columns.values()])
        first = table[stamp]
        if len(table) != sum(counts) or first.dtype.kind != "i":
            return []
        if any(dtype.kind not in "fi" for dtype in table.dtypes):
            return []
    except (OSError, ValueError, pd.errors.ParserError):
        return []  # each reader will say what is wrong
    held = all_numbers(table, {name: name for name in dict.fromkeys(columns.values())})
    stamps = first.to_numpy(np.int64)
    edges = np.cumsum([0, *counts]).tolist()
    return [
        {stamp: stamps[a:b], **{name: values[a:b] for name, values in held.items()}}
        for a, b in itertools.pairwise(edges)
    ]


def _rows(found: Found) -> bytes:
    """What stands below the header, each row with its end."""
    assert found.header is not None
    body = found.source.path.read_bytes()
    start = 0
    for _ in range(found.header.skip + 1):
        start = body.index(b"\n", start) + 1
    return body[start:] if body.endswith(b"\n") else body[start:] + b"\n"
