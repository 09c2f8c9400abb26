"""Damaged and hostile files: named in one error, or skipped by name when asked."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tower_files import SITE, base, bif, fullset, pack, write

import xflux
from xflux.errors import DataError, SchemaError, XfluxWarning

NAME = f"FLX_{SITE}_FLUXNET2015_FULLSET_DD_2005-2005_1-4.csv"


def refuses(path: object, match: str) -> SchemaError:
    with pytest.raises(SchemaError, match=match) as caught:
        xflux.open_towers(path)
    return caught.value


def test_yearly_files_are_refused_with_a_reason(tmp_path: Path) -> None:
    path = write(tmp_path, NAME.replace("_DD_", "_YY_"), fullset("YY"))
    refuses(path, "no seasons to learn from.*sums a year.*give the DD or the MM file")


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b"\0" * 100])
def test_empty(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / NAME
    path.write_bytes(content)
    refuses(path, f"{NAME}: the file (is empty|has no header)")


def test_header_alone(tmp_path: Path) -> None:
    refuses(write(tmp_path, NAME, fullset("DD").iloc[:0]), "no row")


def test_nothing_there(tmp_path: Path) -> None:
    refuses([tmp_path / "no.csv", str(tmp_path / "*.nc")], "2 problems")


def test_missing_columns_say_what_to_type(tmp_path: Path) -> None:
    table = fullset("DD")
    path = write(tmp_path, NAME, table.drop(columns=[c for c in table if "CUT" in c]))
    with pytest.raises(SchemaError, match='type ustar="VUT"'):
        xflux.open_towers(path, ustar="CUT")
    path = write(tmp_path, NAME, table.drop(columns=[c for c in table if "_DT_" in c]))
    with pytest.raises(SchemaError, match='type partitioning="NT"'):
        xflux.open_towers(path, partitioning="DT")
    path = write(tmp_path, NAME, table.drop(columns=["TIMESTAMP"]))
    refuses(path, "needs a column time")


def test_a_missing_driver_is_just_not_there(tmp_path: Path) -> None:
    table = fullset("DD")
    path = write(tmp_path, NAME, table.drop(columns=[c for c in table if c.startswith("VPD")]))
    assert "VPD" not in xflux.open_towers(path)


@pytest.mark.parametrize(
    ("row", "value", "match"),
    [
        (5, 20051345, "is no date"),
        (5, 20050101, "occur twice"),
        (5, 200501, "expected YYYYMM"),
        (5, "soon", "expected numbers"),
    ],
)
def test_wrong_times(tmp_path: Path, row: int, value: object, match: str) -> None:
    table = fullset("DD").astype({"TIMESTAMP": object})
    table.loc[row, "TIMESTAMP"] = value
    refuses(write(tmp_path, NAME, table), match)


def test_text_among_numbers(tmp_path: Path) -> None:
    table = fullset("DD").astype({"TA_F": object})
    table.loc[7, "TA_F"] = "n.a.!"
    refuses(write(tmp_path, NAME, table), r"TA_F holds 'n.a.!' in row 8")


def test_fills_are_missing_and_rows_may_be_out_of_order(tmp_path: Path) -> None:
    table = fullset("DD").drop(columns=["TA_ERA"])
    table.loc[3, "TA_F"] = -9999
    table.loc[4, "TA_F"] = -9999.9
    ds = xflux.open_towers(write(tmp_path, NAME, table.sample(frac=1, random_state=0)))
    assert np.flatnonzero(np.isnan(ds.TA.values[0])).tolist() == [3, 4]
    assert float(ds.GPP[0, 9]) == np.float32(table["GPP_NT_VUT_REF"][9])


def test_the_same_tower_twice(tmp_path: Path) -> None:
    write(tmp_path, NAME, fullset("DD"))
    write(tmp_path, NAME.replace("1-4", "1-3"), fullset("DD", seed=1))
    refuses(tmp_path, "1-4.csv: XX-One was read before, with other values of")
    with pytest.warns(XfluxWarning, match="was read before"):
        ds = xflux.open_towers(tmp_path, errors="warn")
    assert ds.sizes["site"] == 1


def test_the_same_file_twice_is_one(tmp_path: Path) -> None:
    path = write(tmp_path, NAME, fullset("DD"))
    pack(tmp_path / f"FLX_{SITE}_FLUXNET2015_FULLSET_2005-2005_1-4.zip", {NAME: fullset("DD")})
    assert xflux.open_towers([path, tmp_path]).sizes["site"] == 1


def test_truncated_archives(tmp_path: Path) -> None:
    path = pack(tmp_path / f"FLX_{SITE}_FLUXNET2015.zip", {NAME: fullset("DD")})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refuses(path, "cannot be read .*download it again")
    path.write_bytes(b"no zip at all")
    refuses(path, "named .zip and is no zip archive")
    damaged = bytearray(whole)
    damaged[200:260] = bytes(60)
    path.write_bytes(bytes(damaged))
    refuses(path, NAME)


@pytest.mark.parametrize("name", ["../" + NAME, "/etc/" + NAME, "a/../../" + NAME, "C:\\" + NAME])
def test_members_cannot_lead_out(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    path = pack(folder / "archive.zip", {name: fullset("DD")})
    refuses(path, "leads out of the archive")
    assert sorted(tmp_path.rglob("*.csv")) == []


def test_archives_that_unpack_without_end(tmp_path: Path) -> None:
    path = tmp_path / "big.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(NAME, bytes(2**27))
    refuses(path, "no table of towers does")


def test_damaged_netcdf(tmp_path: Path) -> None:
    path = tmp_path / "XX-One_2005-2005_FLUXNET2015_Met.nc"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(500))
    refuses(path, "XX-One_2005-2005_FLUXNET2015_Met.nc: cannot be read")


def test_other_tables_are_not_taken_for_towers(tmp_path: Path) -> None:
    refuses(write(tmp_path, "XX-One.csv", "a,b\n1,2\n"), "no format that xflux reads")


def test_problems_are_listed_together_and_skipped_when_asked(tmp_path: Path) -> None:
    write(tmp_path, NAME, fullset("DD"))
    write(tmp_path, NAME.replace(SITE, "XX-Two"), "")
    write(tmp_path, NAME.replace(SITE, "XX-Six"), "TIMESTAMP,TA_F\n20050199,1\n")
    error = refuses(tmp_path, "2 problems in the tower files")
    assert len(error.problems) == 2
    with pytest.warns(XfluxWarning, match=r"(?s)2 problems.*XX-Two.*XX-Six"):
        ds = xflux.open_towers(tmp_path, errors="warn")
    assert list(ds.site.values) == [SITE]


def test_options_that_are_not_known(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)time_step='hourly'.*partitioning='both'.*workers=0"):
        xflux.open_towers(
            tmp_path, time_step="hourly", partitioning="both", workers=0, completeness=2.0
        )
    with pytest.raises(DataError, match="site_info has altitude"):
        xflux.open_towers(tmp_path, site_info={SITE: {"altitude": 3}})


def test_towers_that_are_not_there(tmp_path: Path) -> None:
    write(tmp_path, NAME, fullset("DD"))
    with pytest.raises(SchemaError, match="no file that could be read of XX-Nil"):
        xflux.open_towers(tmp_path, sites=[SITE, "XX-Nil"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["table", "archive", "facts", "half-hours"]),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=8)), max_size=20),
    cut=st.integers(0, 10**6),
)
def test_damage_gives_a_clear_error_or_a_result(
    tmp_path: Path, kind: str, changes: list[tuple[int, bytes]], cut: int
) -> None:
    path = {
        "table": lambda: write(tmp_path, NAME, fullset("MM")),
        "archive": lambda: pack(tmp_path / "a.zip", {NAME: fullset("MM")}),
        "facts": lambda: write(tmp_path, "XX-One_BIF.csv", bif()),
        "half-hours": lambda: write(tmp_path, f"AMF_{SITE}_BASE_HH_1-5.csv", base(days=1)),
    }[kind]()
    content = bytearray(path.read_bytes())
    for at, new in changes:
        content[at % len(content) : at % len(content) + len(new)] = new
    path.write_bytes(bytes(content[: cut % (2 * len(content))]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            sites = xflux.open_towers(path).sizes["site"]
        except xflux.errors.XfluxError:
            return
    assert sites >= 1


def test_a_name_with_bytes_of_zero_is_no_second_tower(tmp_path: Path) -> None:
    head, *rows = bif().splitlines()
    rows[4] = rows[4].replace(SITE, SITE + "\0" * 100)
    path = write(tmp_path, f"{SITE}_BIF.csv", "\n".join([head, *rows]))
    with pytest.raises(SchemaError, match="row 5 has bytes of zero in SITE_ID"):
        xflux.open_towers(path)
