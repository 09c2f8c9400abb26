"""Damaged and hostile files: a clear error or what is in them; `benchmarks/fuzz.py` does more."""

from __future__ import annotations

import zipfile
from pathlib import Path

import damage_outcome
import damaged_files
import numpy as np
import openpyxl
import pandas as pd
import pytest
import xarray as xr
from tower_files import SITE, base, fullset, pack, write

import xflux
from xflux.errors import SchemaError
from xflux.model import FluxModel

NAME = damaged_files.DAILY
CASES = 300


def test_some_hundred_damaged_files(monthly_model: FluxModel, tmp_path: Path) -> None:
    model = monthly_model.save(tmp_path / "model.safetensors").read_bytes()
    # the netCDF library may crash on what is damaged: benchmarks/fuzz.py tries that in a child
    wholes = [w for w in damaged_files.wholes(model) if w.kind not in ("netCDF", "zip bomb")]
    read = {whole.kind: damage_outcome.read_whole(whole, tmp_path) for whole in wholes}
    failed = []
    for number in range(CASES):
        case = damaged_files.case(wholes, 1, number)
        what, words = damage_outcome.outcome(case, read, tmp_path)
        if what not in damage_outcome.GOOD:
            failed.append(f"{number}: {case.kind}, {case.change}: {what}: {words}")
        (tmp_path / case.name).unlink()
    assert not failed, "\n".join(failed)


def text(rows: int = 30) -> str:
    return fullset("DD").iloc[:rows].to_csv(index=False)


def in_row(number: int, change: tuple[str, str]) -> str:
    lines = text().split("\n")
    lines[number] = lines[number].replace(*change, 1)
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (in_row(5, (",", ",7,")), "row 5 has 27 cells, the header names 26"),
        (in_row(5, (".", ",")), "row 5 has 27 cells.*commas within numbers"),
        (in_row(5, (",", "")), "row 5 has 25 cells"),
        (text()[:-60], "row 30 has 18 cells.*cut short"),
        (in_row(5, (",", ',"')), "row 5 has a quotation mark that is not closed"),
        (text().encode("utf-16")[:-120].decode("utf-16"), "row 30 has 1. cells"),
    ],
)
def test_rows_of_another_length_are_not_read_askew(
    content: str, match: str, tmp_path: Path
) -> None:
    path = write(tmp_path, NAME, content)
    with pytest.raises(SchemaError, match=match):
        xflux.open_towers(path)
    other = write(tmp_path, NAME.replace("XX-One", "XX-Two"), text())
    with pytest.raises(SchemaError, match=match) as caught:
        xflux.open_towers([path, other])  # small files that are parsed at once
    assert len(caught.value.problems) == 1


def test_half_hours_are_checked_too(tmp_path: Path) -> None:
    path = write(tmp_path, f"AMF_{SITE}_BASE_HH_1-5.csv", base()[:-20])
    with pytest.raises(SchemaError, match=r"row 192 has . cells, the header names 10"):
        xflux.open_towers(path)


@pytest.mark.parametrize("blank", ["", " ", "\0"])
def test_rows_that_name_no_tower(blank: str, tmp_path: Path) -> None:
    rows = f"site,time,TA\nXX-One,2005-01-01,1\n{blank},2005-01-02,2\nXX-One,2005-01-03,3\n"
    path = write(tmp_path, "towers.csv", rows)
    with pytest.raises(SchemaError, match="row 2 names no tower in site"):
        xflux.open_towers(path)
    facts = f"SITE_ID,VARIABLE,DATAVALUE\nXX-One,IGBP,DBF\n{blank},IGBP,ENF\n"
    path = write(tmp_path, "facts.csv", facts)
    with pytest.raises(SchemaError, match="row 2 names no tower in SITE_ID"):
        xflux.open_towers(path)


@pytest.mark.parametrize(
    ("column", "value"), [("lat", "95"), ("lon", "-200"), ("elevation", "1e5")]
)
def test_places_that_are_nowhere(column: str, value: str, tmp_path: Path) -> None:
    path = write(tmp_path, "XX-One.csv", f"time,TA,{column}\n2005-01-01,1.5,{value}\n")
    with pytest.raises(SchemaError, match=f"{column} of XX-One is .*; expected "):
        xflux.open_towers(path)


def test_blanks_around_dates(tmp_path: Path) -> None:
    path = write(tmp_path, "XX-One.csv", "time, TA\n 2005-01-01 , 1.5\n 2005-01-02 , 2.5\n")
    ds = xflux.open_towers(path)
    assert ds.TA.values.tolist() == [[1.5, 2.5]]
    assert ds.time.dt.day.values.tolist() == [1, 2]


@pytest.mark.parametrize("date", ["1000-01-01", "-2005-01-01", "0001-01-01", "2300-01-01"])
def test_years_that_no_tower_has_measured_in(date: str, tmp_path: Path) -> None:
    path = write(tmp_path, "XX-One.csv", f"time,TA\n{date},1.5\n2005-01-02,2.5\n")
    with pytest.raises(SchemaError, match=f"time holds '{date}'; expected dates like"):
        xflux.open_towers(path)


def test_numbers_beyond_single_precision_are_missing(tmp_path: Path) -> None:
    path = write(tmp_path, "XX-One.csv", "time,TA\n2005-01-01,1e308\n2005-01-02,2.5\n")
    np.testing.assert_array_equal(xflux.open_towers(path).TA, [[np.nan, 2.5]])


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32"])
def test_wide_encodings_with_a_mark(encoding: str, tmp_path: Path) -> None:
    mark = "" if encoding == "utf-32" else "\ufeff"
    (tmp_path / NAME).write_bytes((mark + text()).encode(encoding))
    expected = fullset("DD")["TA_F"].to_numpy(np.float32)[:30]
    np.testing.assert_array_equal(xflux.open_towers(tmp_path / NAME).TA[0], expected)


def test_a_member_that_python_cannot_unpack(tmp_path: Path) -> None:
    path = tmp_path / "towers.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(NAME, text())
    packed = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x01\x02", 10), (b"PK\x03\x04", 8)):
        packed[packed.index(mark) + at] = 97
    path.write_bytes(packed)
    with pytest.raises(SchemaError, match=r"cannot be unpacked .* give the folder"):
        xflux.open_towers(path)


def test_a_member_that_is_an_archive_is_no_table(tmp_path: Path) -> None:
    inner = pack(tmp_path / "inner", {NAME: text()}).read_bytes()
    path = tmp_path / "outer.zip"
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(NAME, inner)
    with pytest.raises(SchemaError, match=r"the spreadsheet is damaged, or none \(KeyError"):
        xflux.open_towers(path)


def test_a_spreadsheet_with_a_cell_in_its_last_row(tmp_path: Path) -> None:
    path = tmp_path / NAME.replace("csv", "xlsx")
    table = fullset("DD").iloc[:30, :6]
    table.to_excel(path, index=False)
    book = openpyxl.load_workbook(path)
    for column, value in enumerate([20050131, 1.5], start=1):
        book.worksheets[0].cell(1_048_576, column, value)
    book.save(path)
    ds = xflux.open_towers(path)
    assert ds.sizes["time"] == 31
    np.testing.assert_array_equal(ds.TA[0, :30], table["TA_F"].to_numpy(np.float32))
    assert ds.TA[0, 30] == 1.5


def test_netcdf_of_text_or_of_times_that_are_none(tmp_path: Path) -> None:
    import netCDF4

    path = tmp_path / damaged_files.NETCDF
    for kind, units, match in (
        ("S1", "seconds since 2005-01-01", "Tair holds values of type"),
        ("f4", "seconds since x", r"its times or attributes.*download it again"),
    ):
        with netCDF4.Dataset(path, "w") as held:
            held.createDimension("time", 48)
            held.createVariable("time", "f8", ("time",))[:] = np.arange(48) * 1800.0
            held["time"].units = units
            held.createVariable("Tair", kind, ("time",)).units = "K"
        with pytest.raises(SchemaError, match=match):
            xflux.open_towers(path)


def test_times_of_netcdf_that_are_missing(tmp_path: Path) -> None:
    time = pd.date_range("2005-01-01", periods=48, freq="30min").to_numpy().copy()
    time[7] = np.datetime64("NaT")
    ds = xr.Dataset({"Tair": ("time", np.full(48, 280.0), {"units": "K"})}, {"time": time})
    ds.to_netcdf(tmp_path / damaged_files.NETCDF)
    with pytest.raises(SchemaError, match="times are missing"):
        xflux.open_towers(tmp_path)


def test_rows_of_a_spreadsheet_read_as_those_of_text(tmp_path: Path) -> None:
    table = fullset("DD").iloc[:30].astype(object)
    table.iloc[3, 1], table.iloc[4, 1] = "NA", None
    frames = []
    for name in (NAME, NAME.replace("csv", "xlsx")):
        path = tmp_path / name
        table.to_csv(path, index=False) if name is NAME else table.to_excel(path, index=False)
        frames.append(xflux.open_towers(path).to_dataframe())
    pd.testing.assert_frame_equal(*frames)


def test_fluxnet_columns_of_many_towers_in_one_table(tmp_path: Path) -> None:
    tables = {site: fullset("DD", seed=i) for i, site in enumerate(("XX-One", "XX-Two"))}
    both = pd.concat([table.assign(SITE_ID=site) for site, table in tables.items()])
    ds = xflux.open_towers(write(tmp_path, "all.csv", both))
    assert ds.site.values.tolist() == ["XX-One", "XX-Two"]
    for i, table in enumerate(tables.values()):
        np.testing.assert_array_equal(ds.TA[i], table["TA_F"].to_numpy(np.float32))
        np.testing.assert_array_equal(ds.GPP[i], table["GPP_NT_VUT_REF"].to_numpy(np.float32))
