"""The public datasets: the real downloader against a server on loopback, and the monthly reader."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from loopback import Loopback

from xflux import datasets
from xflux.errors import DataError, DownloadError, XfluxWarning
from xflux.readers.fluxnet_monthly import STORED_MONTHS, calendar_order, read_fluxnet_monthly

MONTHLY = "fluxnet2015-monthly"
SITES = {"XX-One": "base", "XX-Two": "base", "XX-Tri": "target"}
UNREACHABLE = "http://127.0.0.1:9/"


def tower_table(site: str, *, first: str = "2004-01", months: int = 24) -> pd.DataFrame:
    """A table as the source publishes it; LAI is the month, EVI a tenth, both out of order."""
    stamps = pd.period_range(first, periods=months, freq="M")
    number = np.arange(months, dtype=float)
    stored = np.array(STORED_MONTHS, dtype=float)[stamps.month - 1]
    weather = {"TA": number - 5, "SW_IN": 100 + number, "VPD": number / 4, "P": number / 8}
    table = {
        "TIMESTAMP": [stamp.strftime("%Y%m") for stamp in stamps],
        "Site": site,
        "Lat": 50.5,
        "Lon": -7.25,
        "PFT": "GRA",
        "Climate": "Arctic",
        "GPP_NT_VUT_REF": 4 + number / 10,
        "GPP_DT_VUT_REF": 4.5 + number / 10,
        "NEE_VUT_REF": -1.0,
        "NEE_VUT_REF_QC": 0.9,
        "LAI": stored,
        "EVI": stored / 10,
        "RECO": 3 + number / 10,
    }
    for name, values in weather.items():
        table |= {f"{name}_F": values, f"{name}_ERA": values + 0.5}
    return pd.DataFrame(table)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """A server with three made-up towers, and the environment that points to it."""
    root = tmp_path / "server"
    registry = {}
    for number, (site, role) in enumerate(SITES.items()):
        name = f"{role}/{site}_MM.csv"
        file = root / datasets._MONTHLY_PATH / name
        file.parent.mkdir(parents=True, exist_ok=True)
        tower_table(site, months=24 + 12 * number).to_csv(file)
        registry[name] = "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setattr(datasets, "_registry", lambda: registry)
    monkeypatch.setattr(datasets, "_PAUSES", (0.0, 0.0, 0.0))
    with Loopback(root) as loopback:
        point_to(monkeypatch, loopback.url, tmp_path / "cache")
        yield loopback


def point_to(monkeypatch: pytest.MonkeyPatch, url: str, cache: Path) -> None:
    monkeypatch.setenv("XFLUX_DATA_URL", url)
    monkeypatch.setenv("XFLUX_DATA_DIR", str(cache))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def kept(tmp_path: Path) -> list[str]:
    """Names of all files in the cache, half-written ones included."""
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file())


ALL_KEPT = sorted(f"{site}_MM.csv" for site in SITES)


def test_names_and_unknown_name() -> None:
    assert datasets.names() == (MONTHLY, "simulated-grid", "simulated-towers")
    with pytest.raises(DataError, match=r"fluxnet2015-monthly, simulated-grid, simulated-towers"):
        datasets.load("towers")
    with pytest.raises(DataError, match=r"Type xflux\.datasets\.load\('simulated-towers'\)"):
        datasets.load("simulated-tower")


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [(MONTHLY, "years", 2), ("simulated-grid", "sites", 3), ("simulated-towers", "chunks", {})],
)
def test_option_of_another_dataset(name: str, option: str, value: object) -> None:
    with pytest.raises(DataError, match=f"has no option {option}; it has"):
        datasets.load(name, **{option: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "function", "options"),
    [
        ("simulated-towers", "towers", {"sites": 4, "years": 2, "seed": 3, "noise": False}),
        ("simulated-grid", "grid", {"shape": (6, 12), "time_step": "monthly", "chunks": {}}),
        ("simulated-grid", "grid", {}),
    ],
)
def test_simulated_options_are_handed_on(
    monkeypatch: pytest.MonkeyPatch, name: str, function: str, options: dict[str, object]
) -> None:
    seen: list[dict[str, object]] = []

    def simulated(**given: object) -> xr.Dataset:
        seen.append(given)
        return xr.Dataset()

    world = types.ModuleType("xflux.simulated.world")
    setattr(world, function, simulated)
    monkeypatch.setitem(sys.modules, "xflux.simulated.world", world)
    monkeypatch.setattr("xflux.simulated.world", world, raising=False)
    datasets.load(name, progress=False, **options)  # type: ignore[arg-type]
    assert seen == [options]


def test_simulated_towers_want_a_number() -> None:
    with pytest.raises(DataError, match="how many towers to simulate"):
        datasets.load("simulated-towers", sites=["DE-Hai"])


def test_import_is_light() -> None:
    code = (
        "import sys, xflux.datasets;"
        "print([m for m in ('torch', 'pooch', 'requests') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_download_then_cache(
    server: Loopback, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first = datasets.load(MONTHLY)
    assert first.sizes == {"site": 3, "time": 48}
    assert list(first.site.values) == list(SITES)
    assert list(first.role.values) == list(SITES.values())
    assert kept(tmp_path) == ALL_KEPT
    assert set(server.requests.values()) == {1}
    again = datasets.load(MONTHLY)
    assert set(server.requests.values()) == {1}, "a kept file was asked for again"
    xr.testing.assert_identical(first, again)
    assert capfd.readouterr() == ("", ""), "quiet where there is no terminal"


def test_progress_bar_on_request(server: Loopback, capfd: pytest.CaptureFixture[str]) -> None:
    datasets.load(MONTHLY, progress=True)
    assert "3/3" in capfd.readouterr().err


@pytest.mark.parametrize("fault", ["503", "truncated", "corrupted", "dropped"])
def test_passing_fault_is_retried(server: Loopback, tmp_path: Path, fault: str) -> None:
    server.faults["XX-Two_MM.csv"] = [fault, fault]
    assert datasets.load(MONTHLY).sizes["site"] == 3
    assert max(server.requests.values()) == 3
    assert kept(tmp_path) == ALL_KEPT


@pytest.mark.parametrize(
    ("fault", "reason", "attempts"),
    [
        ("503", "the server answered 503", 4),
        ("404", "the server answered 404", 1),
        ("truncated", "the transfer failed (IncompleteRead)", 4),
        ("corrupted", "the sha256 is not the one expected", 4),
        ("dropped", "no connection (RemoteDisconnected)", 4),
    ],
)
def test_lasting_fault(
    server: Loopback, tmp_path: Path, fault: str, reason: str, attempts: int
) -> None:
    server.faults["XX-Two_MM.csv"] = [fault] * 9
    with pytest.raises(DownloadError) as caught:
        datasets.load(MONTHLY)
    message = str(caught.value)
    assert "1 of 3 files could not be downloaded" in message
    assert f"{reason}: base/XX-Two_MM.csv" in message
    assert max(server.requests.values()) == attempts
    assert kept(tmp_path) == ["XX-One_MM.csv", "XX-Tri_MM.csv"], "nothing half-written is left"


def test_all_failures_in_one_error(server: Loopback) -> None:
    server.faults["XX-One_MM.csv"] = ["404"]
    server.faults["XX-Tri_MM.csv"] = ["corrupted"] * 4
    with pytest.raises(DownloadError) as caught:
        datasets.load(MONTHLY)
    message = str(caught.value)
    assert "2 of 3 files" in message
    assert "404: base/XX-One_MM.csv" in message
    assert "sha256 is not the one expected: target/XX-Tri_MM.csv" in message


def test_offline_without_a_cache(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XFLUX_DATA_URL", UNREACHABLE)
    with pytest.raises(DownloadError) as caught:
        datasets.load(MONTHLY)
    message = str(caught.value)
    assert "3 of 3 files could not be downloaded" in message
    assert "no connection (ConnectionRefusedError)" in message
    assert f"From: {UNREACHABLE}{datasets._MONTHLY_PATH}" in message
    assert f"To: {tmp_path / 'cache' / MONTHLY}" in message
    assert "export XFLUX_DATA_DIR=" in message
    assert "export XFLUX_DATA_URL=" in message
    assert 'xflux.datasets.load("simulated-towers")' in message


def test_offline_is_said_early(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = {f"base/YY-{i:03d}_MM.csv": "sha256:" + "0" * 64 for i in range(200)}
    monkeypatch.setattr(datasets, "_registry", lambda: registry)
    server.always = "dropped"
    with pytest.raises(DownloadError, match="not tried, as the server was out of reach"):
        datasets.load(MONTHLY)
    assert len(server.requests) < 40, "the rest should be left untried"


def test_offline_with_a_cache(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    online = datasets.load(MONTHLY)
    monkeypatch.setenv("XFLUX_DATA_URL", UNREACHABLE)
    xr.testing.assert_identical(datasets.load(MONTHLY), online)


def test_offline_with_a_part_of_the_cache(
    server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets.load(MONTHLY, sites=["XX-Two"])
    monkeypatch.setenv("XFLUX_DATA_URL", UNREACHABLE)
    assert list(datasets.load(MONTHLY, sites="XX-Two").site.values) == ["XX-Two"]
    with pytest.raises(DownloadError, match="2 of 2 files could not be downloaded"):
        datasets.load(MONTHLY)


def test_damaged_cache_is_mended(server: Loopback, tmp_path: Path) -> None:
    whole = datasets.load(MONTHLY)
    damaged = tmp_path / "cache" / MONTHLY / "base" / "XX-Two_MM.csv"
    damaged.write_bytes(damaged.read_bytes()[:-40])
    xr.testing.assert_identical(datasets.load(MONTHLY), whole)
    assert sorted(server.requests.values()) == [1, 1, 2]


def test_sites(server: Loopback, tmp_path: Path) -> None:
    ds = datasets.load(MONTHLY, sites=["XX-Tri", "XX-One", "XX-Tri"])
    assert list(ds.site.values) == ["XX-Tri", "XX-One"]
    assert kept(tmp_path) == ["XX-One_MM.csv", "XX-Tri_MM.csv"]


def test_unknown_sites(server: Loopback) -> None:
    with pytest.raises(DataError) as caught:
        datasets.load(MONTHLY, sites=["xx-one", "XX-Two", "Q"])
    message = str(caught.value)
    assert "'xx-one' is none of the 3 sites. Close to it: XX-One" in message
    assert "Type sites=['XX-One']" in message
    assert "'Q' is none of the 3 sites. Known: XX-One, XX-Two, XX-Tri" in message
    assert not server.requests, "nothing is fetched before the question is clear"


@pytest.mark.parametrize("sites", [[], 3])
def test_sites_that_are_no_names(server: Loopback, sites: list[str] | int) -> None:
    with pytest.raises(DataError, match="expected names of towers"):
        datasets.load(MONTHLY, sites=sites)


def test_cache_folder_that_cannot_be_made(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XFLUX_DATA_DIR", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match="export XFLUX_DATA_DIR="):
        datasets.load(MONTHLY)


def test_read_only_cache_folder(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: object, env: object = None) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pooch.core.make_local_storage", denied)
    with pytest.raises(DownloadError, match="Permission denied") as caught:
        datasets.load(MONTHLY)
    assert str(tmp_path / "cache" / MONTHLY) in str(caught.value)
    assert "export XFLUX_DATA_DIR=" in str(caught.value)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write to any folder"
)
def test_read_only_cache_folder_on_disk(server: Loopback, tmp_path: Path) -> None:
    datasets.load(MONTHLY, sites="XX-One")
    folders = [tmp_path / "cache" / MONTHLY, tmp_path / "cache" / MONTHLY / "base"]
    for folder in folders:
        folder.chmod(0o500)
    try:
        assert datasets.load(MONTHLY, sites="XX-One").sizes["site"] == 1
        with pytest.raises(DownloadError, match="export XFLUX_DATA_DIR="):
            datasets.load(MONTHLY)
    finally:
        for folder in folders:
            folder.chmod(0o700)


def test_address_that_is_no_address(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XFLUX_DATA_URL", "/folder/mirror")
    with pytest.raises(DownloadError, match="begins with http:// or https://"):
        datasets.load(MONTHLY)


def test_files_come_in_parallel(server: Loopback) -> None:
    server.always = "slow"
    datasets.load(MONTHLY)
    assert server.peak == 3


def test_registry_of_the_package() -> None:
    registry = datasets._registry()
    assert len(registry) == 206
    assert {name.split("/")[0] for name in registry} == {"base", "target"}
    assert all(len(value.removeprefix("sha256:")) == 64 for value in registry.values())


def test_registry_is_the_mirrors(shared_data: Path) -> None:
    listing = (shared_data / "mirror" / "registry.txt").read_text().split()
    assert datasets._registry() == dict(zip(listing[::2], listing[1::2], strict=True))


def write(folder: Path, site: str, table: pd.DataFrame) -> Path:
    path = folder / "base" / f"{site}_MM.csv"
    path.parent.mkdir(exist_ok=True)
    table.to_csv(path)
    return path


def test_reader_values_and_metadata(tmp_path: Path) -> None:
    early = write(tmp_path, "XX-One", tower_table("XX-One", first="2004-01", months=12))
    late = write(tmp_path, "XX-Two", tower_table("XX-Two", first="2006-01", months=24))
    ds = read_fluxnet_monthly([early, late])
    assert ds.sizes == {"site": 2, "time": 48}
    assert str(ds.time.values[0])[:10] == "2004-01-01"
    assert all(variable.dtype == np.float32 for variable in ds.data_vars.values())
    assert ds.TA.isel(site=1).notnull().values.nonzero()[0].tolist() == list(range(24, 48))
    np.testing.assert_allclose(ds.TA.isel(site=0)[:12], np.arange(12) - 4.5)
    np.testing.assert_allclose(ds.LAI.isel(site=0)[:12], np.arange(1, 13))
    np.testing.assert_allclose(ds.EVI.isel(site=1)[36:], np.arange(1, 13) / 10, rtol=1e-6)
    np.testing.assert_allclose(ds.NEE, ds.Reco - ds.GPP, atol=1e-6)
    assert ds.igbp.values.tolist() == ["GRA", "GRA"]
    assert ds.climate.values.tolist() == ["Polar", "Polar"]
    assert ds.TA.attrs["standard_name"] == "air_temperature"
    assert ds.GPP.attrs["units"] == "g m-2 d-1"
    assert all(variable.attrs["cell_methods"] == "time: mean" for variable in ds.values())
    assert all({"units", "long_name"} <= set(variable.attrs) for variable in ds.values())
    assert ds.attrs["Conventions"] == "CF-1.11"
    ds.to_netcdf(tmp_path / "towers.nc")
    with xr.open_dataset(tmp_path / "towers.nc") as back:
        xr.testing.assert_equal(back.load(), ds)


def test_reader_drivers(tmp_path: Path) -> None:
    path = write(tmp_path, "XX-One", tower_table("XX-One"))
    tower = read_fluxnet_monthly([path], drivers="tower")
    reanalysis = read_fluxnet_monthly([path], drivers="reanalysis")
    for name in ("TA", "SW_IN", "VPD", "P"):
        np.testing.assert_allclose(reanalysis[name] - tower[name], 0.5, atol=1e-5)
    assert tower.attrs["drivers"].startswith("tower:")
    with pytest.raises(DataError, match='drivers="reanalysis"'):
        read_fluxnet_monthly([path], drivers="era5")


def test_reader_keeps_gaps_in_their_month(tmp_path: Path) -> None:
    table = tower_table("XX-One", months=12)
    table.loc[table.LAI == 2, "LAI"] = np.nan
    ds = read_fluxnet_monthly([write(tmp_path, "XX-One", table)])
    assert ds.LAI.isnull().values.nonzero()[1].tolist() == [1]


def test_reader_warns_of_years_it_cannot_order(tmp_path: Path) -> None:
    path = write(tmp_path, "XX-One", tower_table("XX-One", first="2004-07", months=20))
    with pytest.warns(XfluxWarning, match="set to NaN in XX-One 2004, XX-One 2006:"):
        ds = read_fluxnet_monthly([path])
    assert ds.LAI.notnull().values.nonzero()[1].tolist() == list(range(6, 18))
    assert ds.TA.notnull().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns=["LAI", "RECO"]), "no column LAI, RECO"),
        (lambda t: t.iloc[::-1], "does not ascend"),
        (lambda t: pd.concat([t, t.tail(1)]), "does not ascend"),
        (lambda t: t.assign(TIMESTAMP="2004-1-1"), "expected YYYYMM"),
        (lambda t: t.assign(Lat=np.arange(len(t))), "expected one tower in a file"),
        (lambda t: t.head(0), "found no row"),
    ],
)
def test_reader_refuses(tmp_path: Path, change: object, message: str) -> None:
    assert callable(change)
    path = write(tmp_path, "XX-One", change(tower_table("XX-One")))
    with pytest.raises(DataError, match=message):
        read_fluxnet_monthly([path])


def test_reader_refuses_no_file_and_the_same_site_twice(tmp_path: Path) -> None:
    path = write(tmp_path, "XX-One", tower_table("XX-One"))
    with pytest.raises(DataError, match="no file"):
        read_fluxnet_monthly([])
    with pytest.raises(DataError, match="XX-One: more than one file"):
        read_fluxnet_monthly([path, path])


def test_calendar_order_wants_twelve() -> None:
    stored = np.stack([STORED_MONTHS, np.array(STORED_MONTHS) * 2])
    np.testing.assert_array_equal(
        calendar_order(stored), np.stack([np.arange(1, 13), np.arange(2, 26, 2)])
    )
    with pytest.raises(DataError, match="twelve"):
        calendar_order(np.arange(11))


@pytest.fixture(scope="module")
def real(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[xr.Dataset]:
    """Every tower of the mirror, through the real downloader and registry."""
    mirror = shared_data / "mirror"
    served = mirror / datasets._MONTHLY_PATH
    files = [name for name in datasets._registry() if (served / name).is_file()]
    sites = [Path(name).name.removesuffix("_MM.csv") for name in files]
    with pytest.MonkeyPatch.context() as patch, Loopback(mirror) as loopback:
        point_to(patch, loopback.url, tmp_path_factory.mktemp("cache"))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield datasets.load(MONTHLY, sites=sites)


def test_real_towers(real: xr.Dataset, shared_data: Path) -> None:
    assert real.sizes["site"] == len(list((shared_data / "mirror").rglob("*_MM.csv")))
    assert len(np.unique(real.site)) == real.sizes["site"]
    recorded = real.TA.notnull()
    for name in ("SW_IN", "VPD", "P"):
        assert (real[name].notnull() == recorded).all(), f"{name} has gaps"
    first = recorded.argmax("time")
    assert (recorded.sum("time") % 12 == 0).all()
    assert (real.time.dt.month[first] == 1).all()
    assert real.LAI.sel(time=slice(None, "2000-12")).isnull().all()
    assert real.LAI.isel(site=real.site == "US-LWW").isnull().all()
    assert set(real.role.values) == {"base", "target"}
    assert set(real.climate.values) <= {"Tropical", "Arid", "Temperate", "Continental", "Polar"}
    assert float(np.nanmax(np.abs(real.NEE - (real.Reco - real.GPP)))) < 1e-5


def test_real_vegetation_follows_productivity(real: xr.Dataset) -> None:
    assert real.sizes["time"] % 12 == 0
    years = real.LAI.values.reshape(real.sizes["site"], -1, 12)
    published = xr.DataArray(
        years[:, :, np.array(STORED_MONTHS) - 1].reshape(real.LAI.shape), real.LAI.coords
    )

    def median(lai: xr.DataArray) -> float:
        return float(xr.corr(lai, real.GPP, "time").median())

    assert median(published) == pytest.approx(-0.18, abs=0.01)
    assert median(real.LAI) == pytest.approx(0.78, abs=0.01)


def test_real_evi_begins_when_modis_does(real: xr.Dataset) -> None:
    count = real.EVI.sel(time="2000").notnull().sum("site").values
    assert count[0] == 0, "MODIS has no January 2000"
    assert count[1] < count[2:].min(), "and only a part of its February"
