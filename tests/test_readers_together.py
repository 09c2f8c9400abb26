"""Small files are parsed at once, and the result is that of reading each alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import xarray as xr
from tower_files import fullset, write

import xflux
from xflux.errors import SchemaError
from xflux.readers import together


def files(folder: Path, change: Callable[[str], str] = lambda text: text) -> list[Path]:
    """Three towers of different years; one text is changed."""
    made = []
    for i, start in enumerate(("2003-01-01", "2005-01-01", "2005-06-01")):
        text = fullset("DD", seed=i, start=start).to_csv(index=False)
        name = f"FLX_XX-{i}aa_FLUXNET2015_FULLSET_DD_2003-2006_1-4.csv"
        made.append(write(folder, name, change(text) if i == 1 else text))
    return made


def alone(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> xr.Dataset:
    with monkeypatch.context() as patch:
        patch.setattr(together, "_SMALL", -1)
        return xflux.open_towers(paths)


CHANGES: dict[str, Callable[[str], str]] = {
    "nothing": lambda text: text,
    "no end of the last line": lambda text: text.rstrip("\n"),
    "carriage returns": lambda text: text.replace("\n", "\r\n"),
    "an empty line": lambda text: text.replace("\n2005", "\n\n2005", 1),
    "a byte order mark": lambda text: "\ufeff" + text,
    "missing values": lambda text: re.sub(r"20050105,[^,]*", "20050105,-9999", text, count=1),
    "rows out of order": lambda text: "\n".join([text.split("\n")[0], *text.split("\n")[:0:-1]]),
    "a day left out": lambda text: "\n".join(x for x in text.split("\n") if "20050301" not in x),
    "another header": lambda text: text.replace("USTAR", "WIND"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_together_is_as_alone(change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = files(tmp_path, CHANGES[change])
    found, expected = xflux.open_towers(paths), alone(paths, monkeypatch)
    expected.attrs["history"] = found.attrs["history"]
    xr.testing.assert_identical(found, expected)


def test_files_of_one_header_are_parsed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    parse = together.parse_rows
    monkeypatch.setattr(together, "parse_rows", lambda *a: calls.append(a) or parse(*a))
    monkeypatch.setattr("xflux.readers.fluxnet.read_table", None)
    assert xflux.open_towers(files(tmp_path)).sizes["site"] == 3
    assert len(calls) == 1


def test_what_is_wrong_is_said_of_its_own_file(tmp_path: Path) -> None:
    paths = files(tmp_path, lambda text: re.sub(r"20050105,[^,]*", "20050105,warm", text, count=1))
    with pytest.raises(SchemaError, match=r"XX-1aa.*'warm' in row 5") as caught:
        xflux.open_towers(paths)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("progress", [False, True])
def test_several_at_a_time(
    workers: int, progress: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = files(tmp_path)
    expected = xflux.open_towers(paths)
    monkeypatch.setattr(together, "_SMALL", -1)
    found = xflux.open_towers(paths, workers=workers, progress=progress)
    found.attrs["history"] = expected.attrs["history"]
    xr.testing.assert_identical(found, expected)
