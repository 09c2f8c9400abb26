"""The fault table itself: every row has a test and a line in the document; real files resolve."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from faulty import ROWS, drivers_of, follow, row, warned

from xflux.cf.schema import Schema, resolve
from xflux.errors import ModelError, XfluxWarning
from xflux.features import as_text
from xflux.model import FluxModel

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "faults.md"


def rows_in_tests() -> set[int]:
    """Rows that occur as an id in the tests of faults."""
    files = (path for path in HERE.glob("test_faults_*.py"))
    return {
        int(n) for path in files for n in re.findall(r"\brow\(\s*(\d+),", path.read_text("utf-8"))
    }


def test_every_row_has_a_test() -> None:
    assert sorted(set(ROWS) - rows_in_tests()) == []
    assert sorted(rows_in_tests() - set(ROWS)) == []


def test_every_row_is_in_the_document() -> None:
    text = PAGE.read_text("utf-8")
    listed = [int(n) for n in re.findall(r"^\| (\d+) \|", text, flags=re.MULTILINE)]
    assert sorted(listed) == sorted(ROWS), "each row once"
    verdicts = re.findall(r"^\| \d+ \| [^|]+ \| ([^|]+) \|", text, flags=re.MULTILINE)
    assert {v.strip() for part in verdicts for v in part.split(",")} <= {
        "error",
        "handled",
        "warned",
    }


@pytest.mark.parametrize("name", [row(5, "warnings_name_the_users_line", "TA")])
def test_warnings_point_at_the_user(
    some_towers: xr.Dataset, daily_model: FluxModel, name: str
) -> None:
    ds = drivers_of(some_towers)
    del ds[name].attrs["units"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", XfluxWarning)
        ds.flux.predict(daily_model, assume_units=True)
        some_towers.assign(P=some_towers["P"] * 0).flux.train(members=1, epochs=1, hidden=4)
    assert len(caught) == 2
    assert {Path(w.filename).name for w in caught} == {Path(__file__).name}


REAL: list[object] = [
    ("fluxnet2015_daily.nc", "daily", "TA TA_MIN TA_MAX SW_IN VPD P LAI EVI GPP Reco NEE NEE_QC "
     "lat lon igbp climate elevation", {"GPP": "GPP_NT", "Reco": "RECO_NT"}),
    ("gridded/dvmdostem_toolik/historic-climate.nc", "monthly", "TA SW_IN P EA lat lon",
     {"TA": "tair", "SW_IN": "nirr", "EA": "vapor_press"}),
    ("gridded/xclim_era5_cities/daily_surface_cancities_1990-1993.nc", "daily",
     "TA TA_MIN TA_MAX SW_IN P TD RH QA PA lat lon", {"TA": "tas", "TD": "tdps", "PA": "ps"}),
    ("gridded/oggm_oetztal/sel_era5_monthly_t2m_1979-2018.nc", "monthly", "TA lat lon",
     {"TA": "t2m", "lat": "latitude"}),
    ("gridded/oggm_oetztal/sel_era5_monthly_prcp_1979-2018.nc", "monthly", "P lat lon",
     {"P": "tp"}),
]  # fmt: skip


@pytest.mark.parametrize(("file", "step", "names", "called"), REAL)
def test_real_files_are_understood(
    shared_data: Path, file: str, step: str, names: str, called: dict[str, str]
) -> None:
    with xr.open_dataset(shared_data / file) as ds:
        schema = resolve(ds)
        text = repr(ds.flux)
    assert schema.problems == {}
    assert schema.time_step == step
    assert sorted(schema.matches) == sorted(names.split())
    assert {name: schema.matches[name].variable for name in called} == called
    assert "problems" not in text


def rule_of(schema: Schema, name: str) -> Callable[[float], float]:
    rule = schema.matches[name].conversion
    return lambda value: value * rule.factor + rule.offset


def test_monthly_precipitation_of_era5_is_that_of_the_alps(shared_data: Path) -> None:
    with xr.open_dataset(
        shared_data / "gridded/oggm_oetztal/sel_era5_monthly_prcp_1979-2018.nc"
    ) as ds:
        mean = rule_of(resolve(ds), "P")(float(ds["tp"].mean()))
    assert 1000 < 365.25 * mean < 2000, "mm a year"


def test_half_hourly_plumber2_becomes_daily(shared_data: Path, daily_model: FluxModel) -> None:
    name = "formats/US-Wi7_2005-2005_FLUXNET2015_{}.nc"
    with (
        xr.open_dataset(shared_data / name.format("Met")) as weather,
        xr.open_dataset(shared_data / name.format("Flux")) as fluxes,
    ):
        ds = xr.merge([weather, fluxes], compat="override", join="outer").load()
    schema = resolve(ds)
    assert schema.problems == {}
    assert schema.time_step == "sub-daily"
    called = {"TA": "Tair", "SW_IN": "SWdown", "P": "Precip", "igbp": "IGBP_veg_short",
              "GPP": "GPP", "NEE": "NEE", "PA": "Psurf", "FAPAR": "FPAR"}  # fmt: skip
    assert {name: schema.matches[name].variable for name in called} == called
    assert rule_of(schema, "GPP")(1.0) == pytest.approx(1.0377504)
    assert as_text(ds["IGBP_veg_short"].values) == "OSH"
    with pytest.raises(ModelError) as caught:
        ds.flux.predict(daily_model)
    daily = follow(caught.value, ds)
    assert resolve(daily).time_step == "daily"
    with warned("predicting without EVI", "not seen (OSH)", count=2):
        found = daily.flux.predict(daily_model)
    assert found["GPP"].dims == ("time", "y", "x")
    assert np.isfinite(found["GPP"]).all()


@pytest.mark.parametrize("characteristic", ["igbp"])
def test_real_weather_is_predicted(
    shared_data: Path, daily_model: FluxModel, characteristic: str
) -> None:
    file = "gridded/xclim_era5_cities/daily_surface_cancities_1990-1993.nc"
    with xr.open_dataset(shared_data / file) as ds:
        cities = ds.load().assign_coords({characteristic: "GRA"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XfluxWarning)
        found = cities.flux.predict(daily_model)
    assert found["GPP"].dims == ("location", "time")
    assert np.isfinite(found["GPP"]).all()
