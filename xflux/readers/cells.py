"""Tables of text and spreadsheets: find the header, read only the columns that are needed.

Files come in UTF-8 with or without a byte order mark, in UTF-16, or in a code page; with commas,
semicolons or tabs; with comment lines; and with trailing commas where a spreadsheet saved them.
"""

from __future__ import annotations

import csv
import io
import itertools
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from xflux.errors import DataError
from xflux.readers.sources import Source, check_sizes

_LARGEST = 1e30  # beyond what single precision holds once units are converted
_MISSING = ("", "NA", "N/A", "#N/A", "NaN", "nan", "NULL", "null", "None")
_HEAD = 200  # lines in which the header is looked for


@dataclass(frozen=True)
class Header:
    """The first lines of a table: names of columns and how to read on.

    Attributes
    ----------
    names : tuple of str
        Names as the file has them, without blanks around.
    rows : tuple of tuple of str
        The first rows below, for recognition.
    comments : tuple of str
        Lines above the header, those that begin with ``#``.
    """

    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    comments: tuple[str, ...] = ()
    skip: int = 0
    delimiter: str = ","
    encoding: str = "utf-8"
    sheet: bool = False

    @property
    def decimal(self) -> str:
        """The decimal mark: a comma only where columns are not separated by commas."""
        if self.delimiter == ",":
            return "."
        cells = [cell for row in self.rows for cell in row]
        commas = sum(_is_number(cell.replace(",", ".")) and "," in cell for cell in cells)
        return "," if commas > sum("." in cell and _is_number(cell) for cell in cells) else "."


def read_header(source: Source, start: bytes | None = None) -> Header:
    """Read the names of the columns and the first rows of a table.

    Parameters
    ----------
    source : Source
    start : bytes, optional
        Its first bytes, where they have been read.

    Raises
    ------
    DataError
        The file is empty or holds no header.
    ImportError
        A spreadsheet, and openpyxl is not installed.
    """
    start = source.start() if start is None else start
    if not start.strip(b"\0 \t\r\n\xef\xbb\xbf"):
        raise DataError("the file is empty: download it again")
    if start[:2] == b"PK":
        return _sheet_header(source)
    if start[:8] == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        raise DataError("a spreadsheet of the old .xls kind; save it as .xlsx or .csv")
    encoding = _encoding(start)
    text = start.decode(encoding, errors="replace")
    lines = io.StringIO(text[: _end_of_line(text, _HEAD)], newline=None)
    comments = []
    skip = 0
    for head in lines:
        if head.strip(' ,;\t"\n') and not _is_comment(head):
            break
        if _is_comment(head):
            comments.append(head.strip(' ,;\t"\n'))
        skip += 1
    else:
        raise DataError(
            "the file has no header: the first row names the columns, TIMESTAMP,TA_F,..."
        )
    delimiter = max(",;\t", key=head.count)
    rows = list(csv.reader([head, *itertools.islice(lines, 5)], delimiter=delimiter))
    names = tuple(name.strip().lstrip("\ufeff") for name in rows[0])
    first = tuple(tuple(cell.strip() for cell in row) for row in rows[1:] if row)
    return Header(names, first, tuple(comments), skip, delimiter, encoding)


def read_table(
    source: Source, header: Header, wanted: Sequence[str], *, prose: bool = False
) -> pd.DataFrame:
    """Read the columns `wanted`, those that are there, as text or numbers; fills are missing.

    Parameters
    ----------
    source : Source
    header : Header
    wanted : sequence of str
    prose : bool
        Whether cells may hold sentences, of many lines too: rows are then taken as they come.

    Raises
    ------
    DataError
        There is no row, a row has more or fewer cells than the header, or the rows cannot be
        taken apart.
    """
    chosen = _positions(header, wanted)
    names = [header.names[i] for i in chosen]
    if header.sheet:
        table = _read_sheet(source, chosen)
        table.columns = pd.Index(names)
    else:
        with source.open() as handle:
            held = handle.read()
        if not prose:
            check_cells(held, header)
        try:
            table = _parse(held, header, chosen, skip=header.skip + 1)
        except UnicodeDecodeError:
            table = _parse(held, header, chosen, skip=header.skip + 1, errors="replace")
    first = table[names[0]] if names else None
    if (
        first is not None and first.dtype.kind != "i" and first.hasnans
    ):  # empty lines, as spreadsheets leave them
        table = table.dropna(how="all")
    if table.empty:
        raise DataError("found no row below the header: download the file again")
    return table


def check_cells(held: bytes, header: Header) -> None:
    """Refuse rows of more or fewer cells than the header names: their numbers have moved.

    Empty cells at the end of a row, as spreadsheets write them, are no harm.

    Raises
    ------
    DataError
        Names the first such row.
    """
    wide = header.encoding in ("utf-16", "utf-32")
    rows = held.decode(header.encoding, "replace").encode() if wide else held
    mark = header.delimiter.encode()
    start = 0
    for _ in range(header.skip):
        start = rows.find(b"\n", start) + 1
    lines = rows.count(b"\n", start) + (not rows.endswith(b"\n"))
    plain = b'"' not in rows and rows.count(mark, start) == lines * (len(header.names) - 1)
    if not plain:
        _check_each(rows.decode("utf-8", "replace"), header)


def _check_each(text: str, header: Header) -> None:
    lines = itertools.islice(io.StringIO(text, newline=None), header.skip + 1, None)
    expected = len(header.names)
    row = 0
    for line in lines:
        if not line.strip(" \t\n\x1a"):
            continue
        row += 1
        if line.count('"') % 2:
            raise DataError(f"row {row} has a quotation mark that is not closed")
        cells = next(csv.reader([line], delimiter=header.delimiter))
        blank = not any(cell.strip() for cell in cells)
        if blank or (len(cells) >= expected and not any(c.strip() for c in cells[expected:])):
            continue
        raise DataError(
            f"row {row} has {len(cells)} cells, the header names {expected}; the file was cut "
            "short or has commas within numbers: use it as published"
        )


def parse_rows(rows: bytes, header: Header, wanted: Sequence[str]) -> pd.DataFrame:
    """Read the columns `wanted` of rows that stand alone, without the header.

    Raises
    ------
    ValueError
        They cannot be taken apart or decoded.
    """
    return _parse(rows, header, _positions(header, wanted))


def _positions(header: Header, wanted: Sequence[str]) -> list[int]:
    position = {name: i for i, name in reversed(list(enumerate(header.names)))}
    return sorted({position[name] for name in wanted if name in position})


def _parse(
    held: bytes, header: Header, chosen: Sequence[int], *, skip: int = 0, errors: str = "strict"
) -> pd.DataFrame:
    """Some columns of rows; strict decoding of plain UTF-8 is the fastest."""
    return pd.read_csv(
        io.BytesIO(held),
        sep=header.delimiter,
        decimal=header.decimal,
        header=None,
        names=[header.names[i] for i in chosen],
        usecols=list(chosen),
        index_col=False,
        skiprows=skip,
        encoding="utf-8" if header.encoding == "utf-8-sig" else header.encoding,
        encoding_errors=errors,
        low_memory=False,
    )


def numbers(table: pd.DataFrame, name: str) -> npt.NDArray[np.float64]:
    """One column as numbers, fills (-9999 and its kin) missing.

    Raises
    ------
    DataError
        A cell holds text.
    """
    column = table[name]
    if column.dtype.kind not in "fiub":
        read = pd.to_numeric(column, errors="coerce")
        bad = read.isna() & column.notna()
        if bad.any():
            row = int(np.flatnonzero(bad.to_numpy())[0])
            raise DataError(
                f"column {name} holds {str(column.iloc[row])[:40]!r} in row {row + 1}; "
                "expected a number"
            )
        column = read
    return without_fills(column.to_numpy(dtype=np.float64))


def all_numbers(
    table: pd.DataFrame, columns: Mapping[str, str]
) -> dict[str, npt.NDArray[np.float64]]:
    """Several columns as numbers, as `numbers` gives each; at once where all of them are numbers.

    Parameters
    ----------
    table : pandas.DataFrame
    columns : mapping of str to str
        The column of each name of the result.

    Raises
    ------
    DataError
        A cell holds text.
    """
    whole = table.to_numpy()
    if whole.dtype.kind not in "fiu":
        return {name: numbers(table, column) for name, column in columns.items()}
    block = without_fills(np.ascontiguousarray(whole.T, dtype=np.float64))
    rows = {column: i for i, column in enumerate(table.columns.tolist())}
    return {name: block[rows[column]] for name, column in columns.items()}


def check_named(table: pd.DataFrame, column: str) -> None:
    """Every row must name its tower.

    Raises
    ------
    DataError
        A row does not, or by what is no text; it is told which, counted from 1.
    """
    names = table[column].astype(str).str
    unnamed = (table[column].isna() | (names.strip(" \t\0") == "")).to_numpy()
    if unnamed.any():
        raise DataError(f"row {int(unnamed.argmax()) + 1} names no tower in {column}")
    damaged = names.contains("\0", regex=False).to_numpy()
    if damaged.any():
        raise DataError(
            f"row {int(damaged.argmax()) + 1} has bytes of zero in {column}: the file is damaged, "
            "download it again"
        )


def without_fills(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Numbers with fills (-9999 and its kin) and those without end missing."""
    kept = ((values > -9990.0) | (values < -10000.0)) & (np.abs(values) < _LARGEST)
    return np.where(kept, values, np.nan)


def _end_of_line(text: str, count: int) -> int:
    """Where so many lines of a text end; its length where it has fewer."""
    end = -1
    for _ in range(count):
        end = text.find("\n", end + 1)
        if end < 0:
            return len(text)
    return end


def _sheet_header(source: Source) -> Header:
    try:
        import openpyxl
    except ImportError as error:
        raise ImportError(
            f"{source.where} is a spreadsheet; reading it needs openpyxl. "
            "Type: pip install 'xflux[excel]'"
        ) from error
    where = source.seekable()
    with zipfile.ZipFile(where) as archive:
        check_sizes(archive)
    with _sheets_as_they_are():
        book = openpyxl.load_workbook(where, read_only=True, data_only=True)
        try:
            rows = [
                tuple("" if cell is None else str(cell).strip() for cell in row)
                for row in book.worksheets[0].iter_rows(max_row=6, values_only=True)
            ]
        finally:
            book.close()
    if not rows:
        raise DataError("the spreadsheet is empty")
    return Header(rows[0], tuple(rows[1:]), sheet=True)


def _read_sheet(source: Source, chosen: Sequence[int]) -> pd.DataFrame:
    """Some columns of the first sheet; rows without any cell, up to a million, take no memory."""
    import openpyxl

    with _sheets_as_they_are():
        book = openpyxl.load_workbook(source.seekable(), read_only=True, data_only=True)
        try:
            rows = itertools.islice(book.worksheets[0].iter_rows(values_only=True), 1, None)
            held = [_picked(row, chosen) for row in rows if any(cell is not None for cell in row)]
        finally:
            book.close()
    return pd.DataFrame(held, columns=range(len(chosen)))


def _picked(row: Sequence[Any], chosen: Sequence[int]) -> list[Any]:
    cells = (row[i] if i < len(row) else None for i in chosen)
    return [None if isinstance(cell, str) and cell.strip() in _MISSING else cell for cell in cells]


@contextmanager
def _sheets_as_they_are() -> Iterator[None]:
    """Clear words for what openpyxl raises where a spreadsheet is damaged: nearly anything."""
    try:
        yield
    except (MemoryError, DataError):
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise DataError(
            f"the spreadsheet is damaged, or none ({type(error).__name__}: {text}); "
            "open it and save it again, or save it as .csv"
        ) from error


def _encoding(start: bytes) -> str:
    if start[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        return "utf-32"
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    try:
        start.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(start) - 8:
            return "cp1252" if b"\x00" not in start else "utf-8"
    return "utf-8-sig"


def _is_comment(line: str) -> bool:
    return line.lstrip('\ufeff "').startswith("#")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
