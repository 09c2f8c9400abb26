"""The IOOS compliance checker finds nothing to correct in the files that xflux writes."""

from __future__ import annotations

import warnings
from pathlib import Path

import pandas as pd
import pytest
import xarray as xr

import xflux
from xflux.cf import metadata
from xflux.errors import XfluxWarning
from xflux.readers.fluxnet_monthly import read_fluxnet_monthly

OLDEST = "cf:1.8"
OTHER_VERSION = 'does not contain "CF-1.8"'


def complaints(suite, path: Path, test: str) -> list[str]:
    """What the checker would correct, in words; what it crashes on itself does not count."""
    checks = suite.CheckSuite()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = checks.load_dataset(str(path))
        results, _ = checks.run_all(dataset, [test], skip_checks=[])[test]
        dataset.close()
    return [
        f"{result.name}: {message}"
        for group in results
        for result in [group, *(group.children or [])]
        if result.value is not None and _lost(result.value)
        for message in result.msgs or []
    ]


def _lost(value: object) -> bool:
    """Whether a result has fewer points than there were."""
    return value[0] < value[1] if isinstance(value, tuple) else not value


def newest(suite) -> str:
    """The newest CF test of the checker."""
    versions = [name for name in suite.CheckSuite.checkers if name.startswith("cf:1.")]
    return max(versions, key=lambda name: int(name.split(".")[-1]))


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """One file of each kind that xflux writes or loads, by name."""
    folder = tmp_path_factory.mktemp("cf")
    made: dict[str, xr.Dataset] = {}
    for step in ("daily", "monthly"):
        towers = xflux.datasets.load("simulated-towers", sites=4, years=1, time_step=step)
        grid = xflux.datasets.load("simulated-grid", shape=(6, 12), years=1, time_step=step)
        model = towers.flux.train(members=2, epochs=1, hidden=4, progress=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", XfluxWarning)
            made |= {
                f"towers {step}": towers,
                f"grid {step}": grid,
                f"towers predicted {step}": towers.flux.predict(model),
                f"grid predicted {step}": grid.flux.predict(model),
                f"members {step}": grid.flux.predict(model, members=True),
            }
    paths = {name: folder / f"{name.replace(' ', '_')}.nc" for name in made}
    for name, ds in made.items():
        ds.to_netcdf(paths[name])
    return paths


@pytest.mark.parametrize("step", ["daily", "monthly"])
@pytest.mark.parametrize(
    "kind", ["towers", "grid", "towers predicted", "grid predicted", "members"]
)
def test_checker_finds_nothing(files, checker, kind: str, step: str) -> None:
    path = files[f"{kind} {step}"]
    assert complaints(checker, path, newest(checker)) == []
    old = [text for text in complaints(checker, path, OLDEST) if OTHER_VERSION not in text]
    assert old == []


def test_checker_finds_nothing_in_what_stands_beside_the_fluxes(checker, tmp_path: Path) -> None:
    towers = xflux.datasets.load("simulated-towers", sites=4, years=1)
    fluxes = towers.flux.predict(quantiles=[0.05, 0.95], applicability=True)
    fluxes.to_netcdf(tmp_path / "beside.nc")
    assert complaints(checker, tmp_path / "beside.nc", newest(checker)) == []


def test_checker_sees_a_fault(files, checker, tmp_path: Path) -> None:
    ds = xr.load_dataset(files["grid predicted monthly"])
    ds.GPP.attrs["units"] = "carbon"
    ds.to_netcdf(tmp_path / "wrong.nc")
    assert complaints(checker, tmp_path / "wrong.nc", newest(checker))


def test_real_towers_pass_the_checker(shared_data: Path, checker, tmp_path: Path) -> None:
    mirror = sorted((shared_data / "mirror").rglob("*_MM.csv"))[:8]
    read_fluxnet_monthly(mirror).to_netcdf(tmp_path / "towers.nc")
    assert complaints(checker, tmp_path / "towers.nc", newest(checker)) == []


def test_written_and_read_back_is_the_same(files) -> None:
    grid = xflux.datasets.load("simulated-grid", shape=(6, 12), years=1, time_step="monthly")
    back = xr.load_dataset(files["grid predicted monthly"])
    for name in ("time", "lat", "lon"):
        assert back[name].variable.identical(grid[name].variable)
    assert back.GPP.attrs["ancillary_variables"] == "GPP_std"
    assert "standard_name" not in back.Reco.attrs


def test_ready_to_write_leaves_the_input_alone() -> None:
    time = pd.date_range("2001-01-01", periods=3, freq="12h")
    ds = xr.Dataset({"a": ("time", [1.0, 2.0, 3.0])}, {"time": time, "lat": 50.0})
    ds.time.encoding = {"units": "hours since 1900-01-01", "dtype": "int64"}
    out = metadata.ready_to_write(ds)
    assert ds.time.encoding == {"units": "hours since 1900-01-01", "dtype": "int64"}
    assert out.time.encoding["dtype"] == "float64"
    xr.testing.assert_identical(out, ds)


@pytest.mark.parametrize("calendar", ["noleap", "360_day"])
def test_other_calendars_survive_a_file(calendar: str, tmp_path: Path) -> None:
    time = xr.date_range("2001-01-01", periods=60, calendar=calendar, use_cftime=True)
    ds = metadata.ready_to_write(xr.Dataset({"a": ("time", range(60))}, {"time": time}))
    ds.to_netcdf(tmp_path / "a.nc")
    back = xr.load_dataset(tmp_path / "a.nc")
    assert back.time.dt.calendar == calendar
    assert (back.time.values == ds.time.values).all()
