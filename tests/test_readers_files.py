"""Real files of each format load in one call, and agree with a plain pandas reading of them."""

from __future__ import annotations

from pathlib import Path

import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xflux
from xflux.errors import XfluxWarning

CARBON = 12.011e-6 * 86400
COLUMNS = {
    "TA": "TA_F",
    "SW_IN": "SW_IN_F",
    "VPD": "VPD_F",
    "P": "P_F",
    "NEE": "NEE_VUT_REF",
    "NEE_QC": "NEE_VUT_REF_QC",
    "TA_QC": "TA_F_QC",
}


@pytest.fixture(scope="module")
def formats(shared_data: Path) -> Path:
    folder = shared_data / "formats"
    if not folder.is_dir():
        pytest.skip("the example files (../shared/data/formats) are not on this machine")
    return folder


def one(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if not found:
        pytest.skip(f"no file {pattern}")
    return found[0]


def agrees(ours: xr.DataArray, theirs: np.ndarray) -> None:
    """float32 as good as it gets, gaps in the same places."""
    ours = np.asarray(ours.values, dtype=np.float64).ravel()
    assert np.array_equal(np.isnan(ours), np.isnan(theirs))
    assert np.isfinite(theirs).any()
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("partitioning", ["NT", "DT"])
@pytest.mark.parametrize(
    "pattern",
    ["FLX_US-Wi7*DD*", "FLX_IE-Cra*DD*", "FLX_IE-Cra*MM*", "FLX_ES-LM1*MM*", "FLX_US-AR1*"],
)
def test_fluxnet2015(formats: Path, pattern: str, partitioning: str) -> None:
    path = one(formats, pattern)
    if path.suffix == ".xlsx":
        pytest.importorskip("openpyxl")
        raw = pd.read_excel(path)
    else:
        raw = pd.read_csv(path)
    raw = raw.mask(raw == -9999)
    ds = xflux.open_towers(path, partitioning=partitioning)
    assert list(ds.site.values) == [path.name.split("_")[1]]
    kind = "%Y%m" if "_MM_" in path.name else "%Y%m%d"
    stamps = raw["TIMESTAMP"].astype("int64").astype(str)
    assert (pd.to_datetime(stamps, format=kind).to_numpy() == ds.time.values).all()
    columns = COLUMNS | {
        "GPP": f"GPP_{partitioning}_VUT_REF",
        "Reco": f"RECO_{partitioning}_VUT_REF",
    }
    for name, column in columns.items():
        agrees(ds[name], raw[column].to_numpy(float))
        assert ds[name].dtype == np.float32
    assert ds.attrs["partitioning"].startswith(partitioning)
    assert ds.attrs["reco"] == "as published"


def test_monthly_means_of_a_daily_file(formats: Path) -> None:
    path = one(formats, "FLX_IE-Cra*DD*")
    raw = pd.read_csv(path, index_col="TIMESTAMP", na_values=[-9999])
    raw.index = pd.to_datetime(raw.index.astype(str))
    ds = xflux.open_towers(path, time_step="monthly")
    for name, column in COLUMNS.items():
        agrees(ds[name], raw[column].resample("MS").mean().to_numpy())


def test_ameriflux_base(formats: Path) -> None:
    path = one(formats, "AMF_*BASE_HH*")
    raw = pd.read_csv(path, comment="#", na_values=[-9999])
    raw.index = pd.to_datetime(raw["TIMESTAMP_START"].astype(str), format="%Y%m%d%H%M")
    with pytest.warns(XfluxWarning, match="no GPP and Reco in the files of US-CRT"):
        ds = xflux.open_towers(path, completeness=0.3)
    days = raw.resample("D")
    assert ds.sizes == {"site": 1, "time": len(days)}
    for name, values in {
        "TA": days["TA"].mean(),
        "TA_MIN": days["TA"].min(),
        "TA_MAX": days["TA"].max(),
        "SW_IN": days["SW_IN"].mean(),
        "P": days["P"].mean() * 48,
    }.items():
        enough = days[name[:2] if name.startswith("TA") else name].count() >= 0.3 * 48
        agrees(ds[name], values.where(enough).to_numpy())
    enough = days["NEE_PI"].count() >= 0.3 * 48
    nee = (days["NEE_PI"].mean() * CARBON).where(enough).to_numpy()
    np.testing.assert_allclose(ds.NEE.values[0], nee, rtol=1e-6)
    assert "GPP" not in ds
    assert ds.attrs["reco"] == "none in the files"
    assert "half-hourly TA and RH" in ds.VPD.attrs["source"]


def test_plumber2(formats: Path) -> None:
    met, flux = one(formats, "*_Met.nc"), one(formats, "*_Flux.nc")
    ds = xflux.open_towers([met, flux])
    with netCDF4.Dataset(met) as a, netCDF4.Dataset(flux) as b:

        def days(held: netCDF4.Dataset, name: str) -> np.ndarray:
            return np.ma.filled(held[name][:].astype(float), np.nan).reshape(-1, 48)

        agrees(ds.TA, days(a, "Tair").mean(1) - 273.15)
        agrees(ds.TA_MIN, days(a, "Tair").min(1) - 273.15)
        agrees(ds.TA_MAX, days(a, "Tair").max(1) - 273.15)
        agrees(ds.SW_IN, days(a, "SWdown").mean(1))
        agrees(ds.VPD, days(a, "VPD").mean(1))
        agrees(ds.P, (days(a, "Precip") * 1800).sum(1))
        agrees(ds.LAI, days(a, "LAI").mean(1))
        agrees(ds.NEE, days(b, "NEE").mean(1) * CARBON)
        agrees(ds.GPP, days(b, "GPP").mean(1) * CARBON)
        agrees(ds.Reco, days(b, "Resp").mean(1) * CARBON)
        agrees(ds.NEE_QC, (days(b, "NEE_qc") <= 1).mean(1))
        day_time = xflux.open_towers([met, flux], partitioning="DT")
        agrees(day_time.GPP, days(b, "GPP_DT").mean(1) * CARBON)
        agrees(day_time.Reco, (days(b, "GPP_DT") + days(b, "NEE")).mean(1) * CARBON)
    assert "NEE + GPP" in day_time.attrs["reco"]
    assert ds.igbp.item() in ("OSH", "ENF")
    assert ds.utc_offset.item() == -6.0
    assert ds.GPP.attrs["units"] == "g m-2 d-1"


def test_site_information(formats: Path) -> None:
    ds = xflux.open_towers(one(formats, "BIF_fluxnet2015*.csv")).set_xindex("site")
    how = ds.sel(site="AU-How")
    assert (how.lat, how.lon, how.utc_offset) == (-12.4943, 131.1523, 9.5)
    assert how.igbp == "WSA"
    assert ds.sel(site="DE-Tha").elevation == 380
    pytest.importorskip("openpyxl")
    ds = xflux.open_towers(one(formats, "BIF_ameriflux*.xlsx"))
    assert list(ds.site.values) == ["US-Ha1", "US-Ton"]
    assert ds.igbp.values.tolist() == ["DBF", "WSA"]
    assert ds.climate.values.tolist() == ["Continental", "Temperate"]
    assert ds.utc_offset.values.tolist() == [-5, -8]


def test_all_at_once(formats: Path) -> None:
    pytest.importorskip("openpyxl")
    with pytest.warns(XfluxWarning):
        ds = xflux.open_towers(formats)
    assert list(ds.site.values) == ["ES-LM1", "IE-Cra", "US-AR1", "US-CRT", "US-Wi7"]
    assert ds.attrs["featureType"] == "timeSeries"
    months = xflux.open_towers(sorted(formats.glob("FLX_ES*")))
    agrees(ds.GPP.sel(site="ES-LM1", time=months.time), months.GPP.values.ravel().astype(float))


def test_monthly_files_of_metaflux_are_put_in_order(shared_data: Path) -> None:
    files = sorted((shared_data / "mirror").rglob("base/DE-*_MM.csv"))[:2]
    if not files:
        pytest.skip("the monthly towers are not on this machine")
    ours = xflux.open_towers(files)
    theirs = xflux.readers.fluxnet_monthly.read_fluxnet_monthly(files).sortby("site")
    for name in ("LAI", "GPP", "NEE", "TA"):
        np.testing.assert_array_equal(ours[name].values, theirs[name].values)
