"""Formats and variants without a real example: made up after their specification."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from tower_files import SITE, base, bif, era, fullset, pack, stamps, write

import xflux
from xflux.errors import SchemaError, XfluxWarning

CARBON = 12.011e-6 * 86400


def close(ours: xr.DataArray, theirs: object) -> None:
    np.testing.assert_allclose(
        np.asarray(ours.values, float).ravel(), np.asarray(theirs, float), rtol=1e-6, atol=1e-7
    )


@pytest.mark.parametrize(("step", "count"), [("HH", 48), ("HR", 24)])
def test_half_hours_and_hours_to_days(tmp_path: Path, step: str, count: int) -> None:
    table = fullset(step)
    path = write(tmp_path, f"FLX_{SITE}_FLUXNET2015_FULLSET_{step}_2005-2005_1-4.csv", table)
    ds = xflux.open_towers(path)
    assert ds.sizes == {"site": 1, "time": 365}

    def days(name: str) -> np.ndarray:
        return table[name].to_numpy(float).reshape(365, count)

    close(ds.TA, days("TA_F").mean(1))
    close(ds.TA_MIN, days("TA_F").min(1))
    close(ds.TA_MAX, days("TA_F").max(1))
    close(ds.VPD, days("VPD_F").mean(1))
    close(ds.P, days("P_F").sum(1))
    close(ds.GPP, days("GPP_NT_VUT_REF").mean(1) * CARBON)
    close(ds.Reco, days("RECO_NT_VUT_REF").mean(1) * CARBON)
    close(ds.NEE, days("NEE_VUT_REF").mean(1) * CARBON)
    close(ds.NEE_QC, (days("NEE_VUT_REF_QC") <= 1).mean(1))
    months = xflux.open_towers(path, time_step="monthly")
    close(months.GPP, ds.GPP.astype(float).resample(time="MS").mean().values.ravel())
    assert "minimum" in months.TA_MIN.attrs["cell_methods"]


def test_a_day_needs_enough_half_hours(tmp_path: Path) -> None:
    table = fullset("HH")
    table.loc[:4, "TA_F"] = -9999  # 43 of 48 are left
    table.loc[48:52, "TA_F"] = -9999
    table.loc[53, "TA_F"] = -9999  # 42 are left
    table = table.drop(columns=[c for c in table if c.endswith("_ERA")])
    path = write(tmp_path, f"FLX_{SITE}_FLUXNET2015_FULLSET_HH_2005-2005_1-4.csv", table)
    ds = xflux.open_towers(path, completeness=43 / 48)
    assert np.isfinite(ds.TA.values[0, 0])
    assert np.isnan(ds.TA.values[0, 1])
    assert np.isnan(ds.TA_MIN.values[0, 1])
    assert np.isfinite(xflux.open_towers(path, completeness=0.5).TA.values).all()


@pytest.mark.parametrize("partitioning", ["NT", "DT"])
@pytest.mark.parametrize("ustar", ["VUT", "CUT"])
def test_choices(tmp_path: Path, partitioning: str, ustar: str) -> None:
    table = fullset("DD")
    path = write(tmp_path, f"AMF_{SITE}_FLUXNET_FULLSET_DD_2005-2005_3-5.csv", table)
    ds = xflux.open_towers(path, partitioning=partitioning, ustar=ustar)
    close(ds.GPP, table[f"GPP_{partitioning}_{ustar}_REF"])
    close(ds.Reco, table[f"RECO_{partitioning}_{ustar}_REF"])
    close(ds.NEE, table[f"NEE_{ustar}_REF"])
    assert ds.attrs["ustar"].startswith(f"{ustar}_REF")
    assert ds.GPP.attrs["source"] == f"FLUXNET: GPP_{partitioning}_{ustar}_REF"


def test_weekly_alone_stays_weekly(tmp_path: Path) -> None:
    table = fullset("WW")
    path = write(tmp_path, f"FLX_{SITE}_FLUXNET2015_FULLSET_WW_2005-2005_1-4.csv", table)
    ds = xflux.open_towers(path)
    assert ds.sizes["time"] == 52
    close(ds.GPP, table["GPP_NT_VUT_REF"])
    with pytest.raises(xflux.SchemaError, match="give its DD file"):
        xflux.open_towers(path, time_step="daily")


def test_shuttle_archive(tmp_path: Path) -> None:
    stem, tail = f"AMF_{SITE}_FLUXNET", "2005-2005_v1.3_r1.csv"
    tables = {step: fullset(step, seed=i) for i, step in enumerate(("HH", "DD", "WW", "MM"))}
    tables["DD"].loc[3, ["TA_F", "TA_ERA"]] = -9999
    wider = era("DD", years=3, start="2004-01-01")
    path = pack(
        tmp_path / f"{stem}_2005-2005_v1.3_r1.zip",
        {
            **{f"{stem}_FLUXMET_{step}_{tail}": table for step, table in tables.items()},
            f"{stem}_FLUXMET_YY_{tail}": fullset("YY"),
            f"{stem}_ERA5_DD_1981-2021_v1.3_r1.csv": wider,
            f"{stem}_BIF_{tail}": bif(),
            f"{stem}_BIFVARINFO_DD_{tail}": "anything",
            "README.txt": "not a table",
        },
    )
    ds = xflux.open_towers(path)
    assert ds.sizes == {"site": 1, "time": 365}, "reanalysis does not lengthen the record"
    close(ds.GPP, tables["DD"]["GPP_NT_VUT_REF"])
    assert ds.TA.values[0, 3] == np.float32(wider["TA_ERA"][366 + 3])
    assert ds.driver_fill.values[0, 3] == 1
    assert ds.driver_fill.values.sum() == 1
    assert ds.TA_QC.values[0, 3] == 0
    assert (ds.lat.item(), ds.lon.item(), ds.utc_offset.item()) == (51.5, 10.25, 1.0)
    assert (ds.igbp.item(), ds.climate.item()) == ("DBF", "Temperate")
    months = xflux.open_towers(path, time_step="monthly")
    close(months.GPP, tables["MM"]["GPP_NT_VUT_REF"])


def test_reanalysis_fills_gaps_and_says_so(tmp_path: Path) -> None:
    table = fullset("DD").drop(columns=["TA_ERA", "SW_IN_ERA", "VPD_ERA", "P_ERA", "VPD_F"])
    table.loc[10:19, "SW_IN_F"] = -9999
    write(tmp_path, f"FLX_{SITE}_FLUXNET2015_FULLSET_DD_2005-2005_1-4.csv", table)
    filler = era("DD")
    write(tmp_path, f"FLX_{SITE}_FLUXNET2015_ERAI_DD_1989-2014_1-4.csv", filler)
    ds = xflux.open_towers(str(tmp_path / "*.csv"))
    close(ds.SW_IN[0, 10:20], filler["SW_IN_ERA"][10:20])
    close(ds.VPD, filler["VPD_ERA"])
    flags = ds.driver_fill.values[0]
    assert (flags[10:20] == 2 + 4).all()
    assert (flags[:10] == 4).all()
    assert ds.driver_fill.attrs["flag_masks"].tolist() == [1, 2, 4, 8]


def test_icos_archive(tmp_path: Path) -> None:
    tables = {step: fullset(step, seed=i) for i, step in enumerate(("HH", "DD", "MM", "YY"))}
    info = "\n".join(line.partition(",")[2] for line in bif().splitlines())
    path = pack(
        tmp_path / "ICOSETC_DE-Tst_ARCHIVE_L2.zip",
        {f"ICOSETC_DE-Tst_FLUXNET_{step}_L2.csv": table for step, table in tables.items()}
        | {"ICOSETC_DE-Tst_SITEINFO_L2.csv": info},
    )
    ds = xflux.open_towers(path)
    assert list(ds.site.values) == ["DE-Tst"]
    close(ds.GPP, tables["DD"]["GPP_NT_VUT_REF"])
    assert ds.igbp.item() == "DBF"


def test_reco_from_nee_and_gpp_where_it_is_not_published(tmp_path: Path) -> None:
    table = fullset("DD").drop(columns=["RECO_NT_VUT_REF"])
    path = write(tmp_path, f"FLX_{SITE}_FLUXNET2015_SUBSET_DD_2005-2005_1-4.csv", table)
    ds = xflux.open_towers(path)
    close(ds.Reco, table["NEE_VUT_REF"] + table["GPP_NT_VUT_REF"])
    assert ds.attrs["reco"] == f"NEE + GPP ({SITE})"
    assert ds.Reco.attrs["source"].endswith("NEE + GPP")


def test_several_sensors(tmp_path: Path) -> None:
    text = base()
    path = write(tmp_path, f"AMF_{SITE}_BASE_HH_1-5.csv", text)
    with pytest.warns(XfluxWarning, match="no GPP"):
        ds = xflux.open_towers(path)
    raw = pd.read_csv(path, comment="#")
    close(ds.TA, raw["TA_1_1_1"].to_numpy().reshape(-1, 48).mean(1))
    close(ds.P, raw["P_1_1_1"].to_numpy().reshape(-1, 48).sum(1))
    close(ds.NEE, raw["FC_1_1_1"].to_numpy().reshape(-1, 48).mean(1) * CARBON)
    assert (ds.NEE_QC == 1).all()
    ta, rh = raw["TA_1_1_1"], raw["RH_1_1_1"]
    vpd = 6.1094 * np.exp(17.625 * ta / (ta + 243.04)) * (1 - rh / 100)
    close(ds.VPD, vpd.to_numpy().reshape(-1, 48).mean(1))
    raw.loc[:100, "TA_1_1_1"] = -9999
    path.write_text("# Site: XX-One\n" + raw.to_csv(index=False))
    with pytest.warns(XfluxWarning, match="no GPP"):
        other = xflux.open_towers(path)
    assert "TA_1_2_1" in other.TA.attrs["source"]


def test_base_archive_with_site_information(tmp_path: Path) -> None:
    path = pack(
        tmp_path / f"AMF_{SITE}_BASE-BADM_1-5.zip",
        {f"AMF_{SITE}_BASE_HH_1-5.csv": base(), f"AMF_{SITE}_BIF_20250101.csv": bif(sep=";")},
    )
    with pytest.warns(XfluxWarning, match="no GPP"):
        ds = xflux.open_towers(path)
    assert ds.lat.item() == 51.5


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_encodings_and_line_ends(tmp_path: Path, encoding: str, newline: str) -> None:
    table = fullset("MM").assign(NOTE="Überlauf")
    path = tmp_path / f"FLX_{SITE}_FLUXNET2015_FULLSET_MM_2005-2005_1-4.csv"
    text = table.to_csv(index=False).replace("\n", newline)
    path.write_bytes(text.encode(encoding))
    close(xflux.open_towers(path).GPP, table["GPP_NT_VUT_REF"])


def test_semicolons_with_decimal_commas(tmp_path: Path) -> None:
    table = fullset("MM")
    path = tmp_path / f"FLX_{SITE}_FLUXNET2015_FULLSET_MM_2005-2005_1-4.csv"
    table.to_csv(path, sep=";", decimal=",", index=False)
    close(xflux.open_towers(path).GPP, table["GPP_NT_VUT_REF"])


def test_renamed_files_are_known_by_their_content(tmp_path: Path) -> None:
    table = fullset("DD")
    close(
        xflux.open_towers(write(tmp_path, "my XX-One data.csv", table)).GPP, table["GPP_NT_VUT_REF"]
    )


def test_spreadsheet(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    table = fullset("DD")
    path = tmp_path / f"FLX_{SITE}_FLUXNET2015_SUBSET_DD_2005-2005_1-4.xlsx"
    table.to_excel(path, index=False)
    close(xflux.open_towers(path).GPP, table["GPP_NT_VUT_REF"])


def test_spreadsheet_without_openpyxl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openpyxl")
    path = tmp_path / f"FLX_{SITE}_FLUXNET2015_SUBSET_DD_2005-2005_1-4.xlsx"
    fullset("MM").to_excel(path, index=False)
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    with pytest.raises(ImportError, match=r"pip install 'xflux\[excel\]'"):
        xflux.open_towers(path)


def test_plain_table_of_many_towers(tmp_path: Path) -> None:
    time = pd.date_range("2010-01-01", periods=40, freq="D")
    parts = [
        pd.DataFrame(
            {
                "site": site,
                "time": time,
                "lat": lat,
                "lon": 7.0,
                "igbp": "GRA",
                "TA [K]": 280.0 + np.arange(40),
                "SW_IN": 100.0,
                "NEE [umol m-2 s-1]": 1.0,
                "GPP": 3.0,
            }
        )
        for site, lat in (("A", 50.0), ("B", 51.0))
    ]
    ds = xflux.open_towers(write(tmp_path, "mine.csv", pd.concat(parts)))
    assert ds.sizes == {"site": 2, "time": 40}
    close(ds.TA[0], 6.85 + np.arange(40))
    assert float(ds.NEE[0, 0]) == pytest.approx(1.0377504)
    close(ds.Reco, np.full(80, 4.0377504))
    assert ds.lat.values.tolist() == [50.0, 51.0]


def test_sub_daily_table_must_say_its_units(tmp_path: Path) -> None:
    time = pd.date_range("2010-01-01", periods=96, freq="30min")
    table = pd.DataFrame({"time": time, "TA": 5.0, "NEE": 1.0})
    with pytest.raises(xflux.SchemaError, match=r"NEE \[umol m-2 s-1\]"):
        xflux.open_towers(write(tmp_path, "XX-One.csv", table))
    table = table.rename(columns={"NEE": "NEE [umol m-2 s-1]"})
    with pytest.warns(XfluxWarning, match="no GPP"):
        ds = xflux.open_towers(write(tmp_path, "XX-One.csv", table))
    close(ds.NEE, [1.0377504] * 2)


def test_two_products_of_one_tower(tmp_path: Path) -> None:
    whole, part = fullset("DD"), fullset("DD", seed=5)
    write(tmp_path, f"FLX_{SITE}_FLUXNET2015_SUBSET_DD_2005-2005_1-4.csv", part)
    write(tmp_path, f"FLX_{SITE}_FLUXNET2015_FULLSET_DD_2005-2005_1-4.csv", whole)
    close(xflux.open_towers(tmp_path).GPP, whole["GPP_NT_VUT_REF"])


def test_two_periods_of_one_tower(tmp_path: Path) -> None:
    tables = [fullset("DD", start=f"{year}-01-01", seed=year) for year in (2005, 2006)]
    for year, table in zip((2005, 2006), tables, strict=True):
        write(tmp_path, f"FLX_{SITE}_FLUXNET2015_FULLSET_DD_{year}-{year}_1-4.csv", table)
    ds = xflux.open_towers(tmp_path)
    close(ds.GPP, pd.concat(tables)["GPP_NT_VUT_REF"])


def test_mixed_steps_meet_at_the_finest_common_one(tmp_path: Path) -> None:
    write(tmp_path, "FLX_XX-One_FLUXNET2015_FULLSET_DD_2005-2005_1-4.csv", fullset("DD"))
    write(tmp_path, "FLX_XX-Two_FLUXNET2015_FULLSET_MM_2005-2005_1-4.csv", fullset("MM"))
    assert xflux.open_towers(tmp_path).sizes == {"site": 2, "time": 12}
    one = xflux.open_towers(tmp_path, sites=["XX-One"])
    assert one.sizes == {"site": 1, "time": 365}


def test_it_trains(tmp_path: Path) -> None:
    for i in range(4):
        site = f"XX-S{i:02d}"
        table = fullset("MM", years=3, seed=i)
        write(tmp_path, f"FLX_{site}_FLUXNET2015_FULLSET_MM_2005-2007_1-4.csv", table)
    info = {f"XX-S{i:02d}": {"lat": 40.0 + i, "lon": 5.0, "igbp": "DBF"} for i in range(4)}
    ds = xflux.open_towers(tmp_path, site_info=info)
    model = ds.flux.train(members=1, epochs=1, hidden=4, progress=False)
    assert model is not None


def test_written_and_opened_again(tmp_path: Path) -> None:
    write(tmp_path, f"FLX_{SITE}_FLUXNET2015_FULLSET_DD_2005-2005_1-4.csv", fullset("DD"))
    write(tmp_path, f"FLX_{SITE}_BIF.csv", bif())
    ds = xflux.open_towers(tmp_path)
    ds.to_netcdf(tmp_path / "out.nc")
    with xr.open_dataset(tmp_path / "out.nc") as again:
        xr.testing.assert_equal(again.load(), ds)


@pytest.mark.parametrize("step", ["HH", "DD", "MM"])
def test_cf_checker_has_nothing_to_say(tmp_path: Path, step: str) -> None:
    suite = pytest.importorskip("compliance_checker.suite", reason="compliance-checker is missing")
    from test_compliance import complaints, newest

    suite.CheckSuite.load_all_available_checkers()
    table = fullset(step)
    table.loc[3, "TA_F"] = -9999
    path = write(tmp_path, f"FLX_{SITE}_FLUXNET2015_FULLSET_{step}_2005-2005_1-4.csv", table)
    site = write(tmp_path, f"FLX_{SITE}_BIF.csv", bif())
    monthly = None if step != "HH" else "monthly"
    xflux.open_towers([path, site], time_step=monthly).to_netcdf(tmp_path / "out.nc")
    assert complaints(suite, tmp_path / "out.nc", newest(suite)) == []


def test_hours_that_no_stamp_has() -> None:
    assert stamps("HR")["TIMESTAMP_START"][1] == 200501010100


@pytest.mark.parametrize(
    ("qualified", "of_two"),
    [("TA_PI_F_1_1_A", "TA_PI_F_1_1_1"), ("TA_PI_F", "TA_1_2_1"), ("TA_1_1_1", "TA_1_2_1")],
)
def test_qualifiers_of_base(tmp_path: Path, qualified: str, of_two: str) -> None:
    """Of several columns of one quantity the first position is taken, and said."""
    text = base().replace("TA_1_1_1,", f"{qualified},").replace("TA_1_2_1,", f"{of_two},")
    path = write(tmp_path, f"AMF_{SITE}_BASE_HH_1-5.csv", text)
    with pytest.warns(XfluxWarning, match="no GPP"):
        ds = xflux.open_towers(path)
    taken = ds.TA.attrs["source"].split()[-1]
    assert taken in (qualified, of_two)
    raw = pd.read_csv(path, comment="#")
    close(ds.TA, raw[taken].to_numpy().reshape(-1, 48).mean(1))


def test_stamps_with_seconds_and_hours_of_base(tmp_path: Path) -> None:
    text = base()
    path = write(tmp_path, f"AMF_{SITE}_BASE_HH_1-5.csv", text)
    table = pd.read_csv(path, comment="#")
    wanted = table["TA_1_1_1"].to_numpy().reshape(-1, 48).mean(1)
    seconds = table.assign(
        TIMESTAMP_START=table.TIMESTAMP_START * 100, TIMESTAMP_END=table.TIMESTAMP_END * 100
    )
    hours = table.iloc[::2].assign(TIMESTAMP_END=table.TIMESTAMP_END.to_numpy()[1::2])
    for name, held, ta in (
        ("HH", seconds, wanted),
        ("HR", hours, table["TA_1_1_1"].to_numpy()[::2].reshape(-1, 24).mean(1)),
    ):
        other = write(tmp_path, f"AMF_{SITE}_BASE_{name}_1-5.csv", held)
        with pytest.warns(XfluxWarning, match="no GPP"):
            close(xflux.open_towers(other).TA, ta)


def test_months_by_their_first_day(tmp_path: Path) -> None:
    table = fullset("MM")
    table["TIMESTAMP"] = table["TIMESTAMP"] * 100 + 1
    path = write(tmp_path, f"FLX_{SITE}_FLUXNET2015_FULLSET_MM_2005-2005_1-4.csv", table)
    ds = xflux.open_towers(path)
    assert ds.sizes["time"] == 12
    close(ds.GPP, table["GPP_NT_VUT_REF"])


@pytest.mark.parametrize("product", ["FULLSET_HH", "SUBSET_DD", "FULLSET_HR", "FLUXMET_DD"])
def test_the_fluxnet_product_of_ameriflux(tmp_path: Path, product: str) -> None:
    table = fullset(product[-2:])
    path = write(tmp_path, f"AMF_{SITE}_FLUXNET_{product}_2005-2005_3-5.csv", table)
    ds = xflux.open_towers(path)
    assert dict(ds.sizes) == {"site": 1, "time": 365}
    assert {"GPP", "Reco", "NEE", "TA", "SW_IN", "VPD", "P"} <= set(ds.data_vars)


@pytest.mark.parametrize("change", ["units", "iso"])
def test_times_that_are_no_numbers_name_the_row(tmp_path: Path, change: str) -> None:
    table = fullset("DD").astype(object)
    if change == "units":
        table = pd.concat([pd.DataFrame([dict.fromkeys(table.columns, "unit")]), table])
    else:
        table["TIMESTAMP"] = pd.date_range("2005", periods=365).strftime("%Y-%m-%d")
    path = write(tmp_path, f"FLX_{SITE}_FLUXNET2015_FULLSET_DD_2005-2005_1-4.csv", table)
    with pytest.raises(SchemaError, match=r"in row 1; expected numbers like 20050131"):
        xflux.open_towers(path)
