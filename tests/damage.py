"""Ways in which a file can be damaged, made up by a seed: bytes, and tables of text.

A change that is *lossless* leaves the meaning of a table as it was: what is read must then be the
same. All others may lead to a clear error or to what still stands in the file.
"""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Callable

Rows = list[list[str]]

HOSTILE = (
    *("", " ", "NA", "nan", "inf", "-inf", "1e999", "-1e308", "1e-400", "9" * 40, "-9999.0", "--"),
    *("0x1F", "1,5", "1.5.2", "=1+1", "None", "TRUE", '"', '""', "'", "é", "\u202e7", "\x00", "#"),
    *("20050230", "00000000", "99999999", "200513", "1e8", "20050101.5", "2005-01-01", "-20050101"),
    *("0", "-1", "10000101", "22991231", "200501012460", "a" * 2000, "\uff19", "1_000", "NaT"),
)
"""Cells that no table should hold where they are put."""


def truncated(rng: random.Random, content: bytes) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def flipped(rng: random.Random, content: bytes) -> bytes:
    out = bytearray(content)
    for _ in range(rng.choice((1, 1, 3, 30))):
        if out:
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def near_start(rng: random.Random, content: bytes) -> bytes:
    """Bytes of the first kilobyte changed, where formats keep what they are."""
    out = bytearray(content)
    for _ in range(rng.choice((1, 2, 8))):
        if out:
            out[rng.randrange(min(len(out), 1024))] = rng.randrange(256)
    return bytes(out)


def overwritten(rng: random.Random, content: bytes) -> bytes:
    at, size = rng.randrange(len(content) + 1), rng.choice((1, 4, 8, 64, 512))
    fill = rng.choice((b"\0", b"\xff", b'"', b",", b"\n", b"9", rng.randbytes(1)))
    return content[:at] + (fill * size)[: max(len(content) - at, 0)] + content[at + size :]


def cut_out(rng: random.Random, content: bytes) -> bytes:
    at = rng.randrange(len(content) + 1)
    return content[:at] + content[at + rng.choice((1, 2, 7, 64, 1000)) :]


def repeated(rng: random.Random, content: bytes) -> bytes:
    at, size = rng.randrange(len(content) + 1), rng.choice((1, 9, 100, 3000))
    return content[:at] + content[at : at + size] + content[at:]


def inserted(rng: random.Random, content: bytes) -> bytes:
    at = rng.randrange(len(content) + 1)
    new = rng.choice(
        (b"\0", b"\0" * 100, b"\xff\xfe", b'"', b"\r", b"\n", b"\x1a", b"\xef\xbb\xbf")
    )
    return content[:at] + new + content[at:]


def spliced(rng: random.Random, content: bytes) -> bytes:
    """The first part of it with the end of something else behind."""
    return content[: rng.randrange(len(content) + 1)] + rng.randbytes(rng.choice((10, 3000)))


BYTES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    truncated,
    flipped,
    near_start,
    overwritten,
    cut_out,
    repeated,
    inserted,
    spliced,
)


def rows_of(content: bytes) -> Rows:
    """A table of text as cells; lines above the header are rows too."""
    text = content.decode("utf-8", "replace")
    delimiter = ";" if text.splitlines()[-1].count(";") > 3 else ","
    return list(csv.reader(io.StringIO(text), delimiter=delimiter))


def text_of(rows: Rows, delimiter: str = ",", end: str = "\n", quoting: int = 0) -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows(rows)
    return out.getvalue().encode("utf-8", "surrogatepass")


def _body(rows: Rows) -> int:
    """The first row below the header."""
    return next(i for i, row in enumerate(rows) if not row or not row[0].startswith("#")) + 1


def _below(rng: random.Random, rows: Rows) -> int:
    return rng.randrange(min(_body(rows), len(rows) - 1), len(rows))


# --- changes that leave the meaning as it was ------------------------------------------------


def other_delimiter(rng: random.Random, rows: Rows) -> bytes:
    return text_of(rows, rng.choice(";\t"))


def other_encoding(rng: random.Random, rows: Rows) -> bytes:
    kind = rng.choice(("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"))
    text = text_of(rows).decode()
    mark = "\ufeff" if kind in ("utf-16-le", "utf-16-be") else ""
    return (mark + text).encode(kind)


def latin_comment(rng: random.Random, rows: Rows) -> bytes:
    return "# Zürich, 20 °C\n".encode(rng.choice(("latin-1", "cp1252", "utf-8"))) + text_of(rows)


def other_line_ends(rng: random.Random, rows: Rows) -> bytes:
    return text_of(rows, end=rng.choice(("\r\n", "\r")))


def quoted(rng: random.Random, rows: Rows) -> bytes:
    return text_of(rows, quoting=rng.choice((csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC)))


def blank_lines(rng: random.Random, rows: Rows) -> bytes:
    out = list(rows)
    for _ in range(3):
        out.insert(rng.randrange(_body(rows), len(out) + 1), [])
    return text_of(out) + b"\n\n"


def trailing_commas(rng: random.Random, rows: Rows) -> bytes:
    return text_of([[*row, *[""] * 3] for row in rows])


def padded(rng: random.Random, rows: Rows) -> bytes:
    return text_of([[f" {cell} " for cell in row] for row in rows])


def columns_shuffled(rng: random.Random, rows: Rows) -> bytes:
    order = list(range(len(rows[_body(rows) - 1])))
    rng.shuffle(order)
    first = _body(rows) - 1
    return text_of([*rows[:first], *([row[i] for i in order] for row in rows[first:])])


def rows_shuffled(rng: random.Random, rows: Rows) -> bytes:
    body = rows[_body(rows) :]
    rng.shuffle(body)
    return text_of([*rows[: _body(rows)], *body])


def another_column(rng: random.Random, rows: Rows) -> bytes:
    first, cell = _body(rows) - 1, rng.choice(("7", "text", "", "a b"))
    out = [[*row, "COLUMN_X" if i == first else cell] for i, row in enumerate(rows)]
    return text_of([*rows[:first], *out[first:]])


LOSSLESS: tuple[Callable[[random.Random, Rows], bytes], ...] = (
    other_delimiter,
    other_encoding,
    latin_comment,
    other_line_ends,
    quoted,
    blank_lines,
    trailing_commas,
    padded,
    columns_shuffled,
    rows_shuffled,
    another_column,
)


# --- changes that do not ---------------------------------------------------------------------


def hostile_cells(rng: random.Random, rows: Rows) -> bytes:
    for _ in range(rng.choice((1, 1, 5, 40))):
        row = rows[_below(rng, rows)]
        if row:
            row[rng.randrange(len(row)) if rng.random() < 0.7 else 0] = rng.choice(HOSTILE)
    return text_of(rows)


def hostile_column(rng: random.Random, rows: Rows) -> bytes:
    at, cell = rng.randrange(len(rows[_body(rows) - 1])), rng.choice(HOSTILE)
    for row in rows[_body(rows) :]:
        if at < len(row):
            row[at] = cell
    return text_of(rows)


def hostile_names(rng: random.Random, rows: Rows) -> bytes:
    header = rows[_body(rows) - 1]
    for _ in range(rng.choice((1, 3))):
        header[rng.randrange(len(header))] = rng.choice((*HOSTILE, *header, header[0].lower()))
    return text_of(rows)


def cells_swapped(rng: random.Random, rows: Rows) -> bytes:
    for _ in range(rng.choice((1, 10))):
        one, other = rows[_below(rng, rows)], rows[_below(rng, rows)]
        if one and other:
            i, j = rng.randrange(len(one)), rng.randrange(len(other))
            one[i], other[j] = other[j], one[i]
    return text_of(rows)


def cells_lost_or_won(rng: random.Random, rows: Rows) -> bytes:
    for _ in range(rng.choice((1, 3, 100))):
        row = rows[_below(rng, rows)]
        at = rng.randrange(len(row) + 1)
        if rng.random() < 0.5:
            del row[at : at + 1]
        else:
            row.insert(at, rng.choice(("1", "", "7.5")))
    return text_of(rows)


def column_twice(rng: random.Random, rows: Rows) -> bytes:
    at, to = (rng.randrange(len(rows[_body(rows) - 1])) for _ in range(2))
    for row in rows[_body(rows) - 1 :]:
        if at < len(row):
            row.insert(to, row[at] if rng.random() < 0.9 else "5")
    return text_of(rows)


def column_lost(rng: random.Random, rows: Rows) -> bytes:
    at = rng.randrange(len(rows[_body(rows) - 1]))
    for row in rows[_body(rows) - 1 :]:
        del row[at : at + 1]
    return text_of(rows)


def rows_twice(rng: random.Random, rows: Rows) -> bytes:
    at = _below(rng, rows)
    rows[at:at] = rows[at : at + rng.choice((1, 5, 400))]
    return text_of(rows)


def rows_lost(rng: random.Random, rows: Rows) -> bytes:
    at = _below(rng, rows)
    del rows[at : at + rng.choice((1, 5, 400))]
    return text_of(rows)


def mixed_steps(rng: random.Random, rows: Rows) -> bytes:
    """Rows stamped by another number of digits among them."""
    for _ in range(rng.choice((1, 10))):
        row = rows[_below(rng, rows)]
        if row:
            row[0] = rng.choice((row[0] + "01", row[0][:6], row[0][:4], row[0] + "0030"))
    return text_of(rows)


def decimal_commas(rng: random.Random, rows: Rows) -> bytes:
    """Numbers with a comma, between semicolons, or, past repair, between commas."""
    if rng.random() < 0.5:
        changed = [[cell.replace(".", ",") for cell in row] for row in rows]
        return text_of(changed, ";")
    body = _body(rows)
    lines = [",".join(row).replace(".", ",") for row in rows[body:]]
    return text_of(rows[:body]) + "\n".join(lines).encode("utf-8", "replace")


def long_line(rng: random.Random, rows: Rows) -> bytes:
    rows.insert(_below(rng, rows), ["1"] * rng.choice((500, 100_000)))
    return text_of(rows)


def unit_row(rng: random.Random, rows: Rows) -> bytes:
    width = len(rows[_body(rows) - 1])
    rows.insert(_body(rows), [rng.choice(("deg C", "W m-2", "-", "")) for _ in range(width)])
    return text_of(rows)


def no_header(rng: random.Random, rows: Rows) -> bytes:
    return text_of(rows[_body(rows) :])


def header_twice(rng: random.Random, rows: Rows) -> bytes:
    rows.insert(_below(rng, rows), list(rows[_body(rows) - 1]))
    return text_of(rows)


def quotes_open(rng: random.Random, rows: Rows) -> bytes:
    """Quotation marks that begin a cell and do not end it."""
    lines = text_of(rows).decode("utf-8", "replace").split("\n")
    for _ in range(rng.choice((1, 2, 3))):
        at = rng.randrange(len(lines))
        lines[at] = lines[at].replace(",", ',"', 1)
    return "\n".join(lines).encode()


LOSSY: tuple[Callable[[random.Random, Rows], bytes], ...] = (
    hostile_cells,
    hostile_column,
    hostile_names,
    cells_swapped,
    cells_lost_or_won,
    column_twice,
    column_lost,
    rows_twice,
    rows_lost,
    mixed_steps,
    decimal_commas,
    long_line,
    unit_row,
    no_header,
    header_twice,
    quotes_open,
)
