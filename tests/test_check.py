"""ds.flux.check(): planted faults are found, clean towers pass, and the report can be read."""

from __future__ import annotations

import warnings
from collections import defaultdict
from pathlib import Path

import half_hours
import numpy as np
import pandas as pd
import planted
import planted_others
import pytest
import xarray as xr
from planted import Defect, Outcome, Tower, outcomes, serious, sow

import xflux
from xflux.audit import blocks
from xflux.audit.kinds import KINDS, SEVERITIES
from xflux.errors import DataError, SchemaError, XfluxWarning
from xflux.readers.fluxnet_monthly import STORED_MONTHS, read_fluxnet_monthly

REAL_ODDITIES = {"CH-Fru", "FR-LBr", "IT-BCi", "RU-Cok", "SN-Dhr", "US-Atq", "US-Ivo", "US-PFa"}
"""Towers whose findings were looked at one by one and are true: docs/check.md."""


def simulated(seed: int, **options: object) -> xr.Dataset:
    return xflux.datasets.load("simulated-towers", seed=seed, **options).load()


def planted_in(
    ds: xr.Dataset, defects: tuple[Defect, ...], seed: int, least: int
) -> tuple[list[Outcome], list[object]]:
    """What becomes of faults in clean towers, and the false findings before and after."""
    clean = ds.flux.check()
    sown = sow(ds, defects, np.random.default_rng(seed), least=least)
    report = ds.flux.check()
    false = [*serious(clean), *serious(report, but=sown.values())]
    return outcomes(report, clean, defects, sown), false


@pytest.fixture(
    scope="module",
    params=[(0,), pytest.param((1, 2), marks=pytest.mark.slow)],
    ids=["one seed", "several seeds"],
)
def harvest(request: pytest.FixtureRequest) -> tuple[list[Outcome], list[object]]:
    """All faults, planted at random towers and periods."""
    found: list[Outcome] = []
    false: list[object] = []
    for seed in request.param:
        ds = simulated(seed, sites=90, years=3)
        parts = [planted_in(ds, planted.DAILY, seed, 400)]
        ds = half_hours.towers(sites=len(planted_others.HALF_HOURLY) + 4, seed=seed)
        parts.append(planted_in(ds, planted_others.HALF_HOURLY, seed, 400))
        ds = simulated(seed, sites=24, years=6, time_step="monthly")
        parts.append(planted_in(ds, planted_others.MONTHLY, seed, 24))
        for outcome, wrong in parts:
            found += outcome
            false += wrong
    return found, false


def test_planted_faults_are_found(harvest: tuple[list[Outcome], list[object]]) -> None:
    found, _ = harvest
    missed = [(o.defect.name, o.entity) for o in found if not o.found]
    assert len({o.defect.name for o in found}) >= 80
    assert len(missed) <= 0.1 * len(found), missed


def test_every_fault_is_found_somewhere(harvest: tuple[list[Outcome], list[object]]) -> None:
    by_name = defaultdict(list)
    for outcome in harvest[0]:
        by_name[outcome.defect.name].append(outcome.found)
    missed = [name for name, found in by_name.items() if not any(found)]
    assert len(missed) <= (0 if len(harvest[0]) > 150 else 8), missed


def test_clean_towers_beside_them_pass(harvest: tuple[list[Outcome], list[object]]) -> None:
    assert len(harvest[1]) <= 1, harvest[1]


def test_a_fault_is_seldom_found_twice(harvest: tuple[list[Outcome], list[object]]) -> None:
    twice = [o for o in harvest[0] if o.found and o.others]
    told = [(o.defect.name, [(f.kind, f.variable) for f in o.others]) for o in twice]
    assert len(twice) <= 0.06 * len(harvest[0]), told


@pytest.mark.parametrize("whole", planted_others.WHOLES, ids=lambda whole: whole.name)
def test_faults_of_a_whole_dataset(whole: planted_others.Whole) -> None:
    wrong, entity = whole.make(simulated(4, sites=6, years=2), np.random.default_rng(2))
    hits = [f for f in wrong.flux.check() if f.kind in whole.kinds and f.entity == entity]
    assert len(hits) == 1
    assert hits[0].advice


def test_a_tower_an_hour_off_is_the_same_tower() -> None:
    ds = half_hours.towers(sites=4, days=60)
    moved = ds.isel(site=[2]).copy(deep=True)
    for name in moved.data_vars:
        moved[name].values[:] = np.roll(moved[name].values, 2, axis=1)
    moved = moved.assign_coords(site=["COPY"])
    (found,) = [f for f in xr.concat([ds, moved], "site").flux.check() if "twice" in f.kind]
    assert found.entity == "COPY"
    assert "HH-2 is the same" in found.evidence
    assert "moved by 1 hours" in found.evidence


# --- clean and real towers ----------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"years": 3}, {"years": 5, "time_step": "monthly"}], ids=str)
def test_simulated_towers_are_quiet(options: dict[str, object]) -> None:
    report = simulated(3, sites=40, **options).flux.check()
    assert serious(report) == []
    assert "nothing suspicious" in repr(report)


@pytest.mark.slow
def test_real_towers(shared_data: Path) -> None:
    with xr.open_dataset(shared_data / "fluxnet2015_daily.nc") as towers:
        report = towers.flux.check()
    assert {finding.entity for finding in serious(report)} <= REAL_ODDITIES
    assert len(REAL_ODDITIES) <= towers.sizes["site"] / 20


@pytest.mark.slow
def test_faults_in_real_towers(shared_data: Path) -> None:
    with xr.open_dataset(shared_data / "fluxnet2015_daily.nc") as towers:
        long = towers.isel(time=slice(-3650, None)).load()
    keep = (long.TA.notnull().sum("time") > 1200) & (long.GPP_NT.notnull().sum("time") > 900)
    ds = long.isel(site=np.flatnonzero(keep)[:90])
    defects = [d for d in planted.DAILY if "P" not in d.variables]  # their rain is monthly
    clean = ds.flux.check()
    ds = ds.copy(deep=True)
    names = {"GPP": "GPP_NT", "Reco": "RECO_NT"}
    sown = sow(ds, defects, np.random.default_rng(5), names=names)
    told = outcomes(ds.flux.check(), clean, defects, sown)
    assert len(told) > 60
    missed = [(o.defect.name, o.entity) for o in told if not o.found]
    assert len(missed) <= 0.1 * len(told), missed


def mirror(shared_data: Path) -> list[Path]:
    return sorted((shared_data / "mirror").rglob("*_MM.csv"))


def as_published(paths: list[Path]) -> xr.Dataset:
    """Monthly towers with LAI and EVI in the order of the files, before the reader mends it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XfluxWarning)
        ds = read_fluxnet_monthly(paths)
    for name in ("LAI", "EVI"):
        years = ds[name].values.reshape(ds.sizes["site"], -1, 12)
        ds[name].values[:] = years[:, :, np.array(STORED_MONTHS) - 1].reshape(ds[name].shape)
    return ds


def test_months_of_the_published_files(shared_data: Path) -> None:
    paths = mirror(shared_data)[::6]
    raw = as_published(paths).flux.check().to_dataframe()
    wrong = raw[raw.kind == "months out of order"]
    order = ", ".join(map(str, STORED_MONTHS))
    assert (wrong.severity == "error").all()
    assert wrong.evidence.str.contains(order).all()
    assert (wrong.variable == "LAI").sum() >= 0.95 * len(paths)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XfluxWarning)
        mended = read_fluxnet_monthly(paths).flux.check()
    assert not [f for f in mended if f.kind in ("months out of order", "season out of step")]


def test_months_of_one_published_file(shared_data: Path) -> None:
    paths = [path for path in mirror(shared_data) if path.name.startswith(("DE-Hai", "US-Ha1"))]
    for path in paths:
        kinds = {f.kind for f in as_published([path]).flux.check() if f.variable == "LAI"}
        assert "months out of order" in kinds
    assert paths


@pytest.mark.parametrize("name", ["FLX_US-Wi7*", "FLX_IE-Cra*DD*", "FLX_ES-LM1*", "AMF_US-CRT*"])
def test_official_files_pass(shared_data: Path, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XfluxWarning)
        ds = xflux.open_towers(str(shared_data / "formats" / name))
    assert serious(ds.flux.check()) == []


def test_half_hours_of_plumber2_show_their_filling(shared_data: Path) -> None:
    formats = shared_data / "formats"
    with (
        xr.open_dataset(formats / "US-Wi7_2005-2005_FLUXNET2015_Met.nc") as weather,
        xr.open_dataset(formats / "US-Wi7_2005-2005_FLUXNET2015_Flux.nc") as fluxes,
    ):
        ds = weather.merge(fluxes, compat="override")
        found = serious(ds.flux.check())
    assert {f.kind for f in found} == {"repeated fill", "stuck"}
    light = weather.SWdown.values.ravel()
    longest = max((f for f in found if "SW_IN" in f.quantity), key=lambda f: f.end)
    times = pd.to_datetime([longest.start, longest.end])
    later = slice(*(int(step) for step in np.searchsorted(weather.time, times)))
    np.testing.assert_array_equal(light[later], light[later.start - 144 : later.stop - 144])


# --- the report ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def suspicious() -> xr.Dataset:
    ds = simulated(2, sites=5, years=2)
    ds["TA"] = ds.TA.where(ds.site != "SIM-002", ds.TA + 273.15)
    for name in ("SIM-003", "SIM-004"):
        ds["VPD"].loc[{"site": name, "time": slice("2001-08-01", "2001-08-10")}] = -9999.0
    return ds


def test_text_of_a_report(suspicious: xr.Dataset) -> None:
    text = repr(suspicious.flux.check(ignore=["few labels"]))
    assert text.splitlines()[0] == "<xflux check: 3 errors in 5 entities>"
    assert "730 daily steps, 2001-01-01 to 2002-12-31; TA, TA_MIN" in text
    assert "fill value: VPD (2 entities)" in text
    assert "SIM-003, 2001-08-01 to 2001-08-10: the fill value -9999 at 10 steps" in text
    line = 'ds["TA"] = ds["TA"].where(ds.site != "SIM-002", ds["TA"] - 273.15)'
    assert f"-> {line}" in text


def test_the_line_is_of_the_whole_variable_where_all_show_it() -> None:
    ds = simulated(2, sites=4, years=1)
    ds["TA"] = ds.TA + 273.15
    assert {f.advice for f in ds.flux.check().errors} == {'ds["TA"].attrs["units"] = "K"'}


def test_report_as_html_table_and_dataset(suspicious: xr.Dataset) -> None:
    report = suspicious.flux.check()
    assert "<table>" in report._repr_html_()
    assert "ds[&quot;TA&quot;]" in report._repr_html_()
    table = report.to_dataframe()
    ranks = [SEVERITIES.index(severity) for severity in table.severity]
    assert ranks == sorted(ranks)
    assert list(table.kind) == [finding.kind for finding in report.findings]
    assert report.to_dataset().sizes == {"finding": len(report)}
    assert set(table.kind) <= set(KINDS)


def test_the_lines_to_type_help(suspicious: xr.Dataset) -> None:
    ds = suspicious.copy(deep=True)
    ds = ds.isel(site=slice(1, None)).copy(deep=True)
    values = ds["SW_IN"].values
    values[3, 400:430] = values[3, 400]
    for finding in ds.flux.check().errors + ds.flux.check().warnings:
        names = {"ds": ds, "np": np}
        exec(finding.advice, names)
        ds = names["ds"]
    assert serious(ds.flux.check()) == []
    xr.testing.assert_allclose(ds.TA, simulated(2, sites=5, years=2).TA[1:])


def test_a_quiet_report_says_what_was_looked_at() -> None:
    ds = simulated(1, sites=3, years=1, noise=False)[["TA", "P"]]
    text = repr(ds.flux.check())
    assert text.startswith("<xflux check: nothing suspicious in 3 entities>")
    assert "not looked for: clock and place (no SW_IN); fluxes (no GPP, Reco or NEE)" in text


def test_the_dataset_is_not_changed(suspicious: xr.Dataset) -> None:
    before = suspicious.copy(deep=True)
    suspicious.flux.check()
    xr.testing.assert_identical(suspicious, before)


@pytest.mark.parametrize("chunks", [{"site": 2}, {"time": 100}, {"site": 1, "time": 365}], ids=str)
def test_lazy_data_give_the_same_and_stay_lazy(suspicious: xr.Dataset, chunks: dict) -> None:
    lazy = suspicious.chunk(chunks)
    assert lazy.flux.check().findings == suspicious.flux.check().findings
    assert lazy.TA.chunks is not None


def test_blocks_stay_within_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    ds = simulated(0, sites=12, years=1)
    whole = ds.flux.check().findings
    sizes: list[int] = []
    read = blocks.read_blocks

    def watched(*args: object, **options: object) -> object:
        for block in read(*args, **options):
            sizes.append(block.size)
            yield block

    monkeypatch.setattr("xflux.audit.auditing.read_blocks", watched)
    monkeypatch.setattr(blocks, "BUDGET", 2 * 365 * 15)
    assert ds.chunk(site=5).flux.check().findings == whole
    assert max(sizes) <= 2
    assert sum(sizes) == 12


def test_grids_tell_cells_together() -> None:
    grid = xflux.datasets.load("simulated-grid", shape=(12, 24), chunks={"lat": 4})
    report = grid.assign(TA=grid.TA + 273.15).flux.check()
    (finding,) = report.errors
    assert finding.kind == "wrong unit"
    assert finding.entities > 20
    assert serious(grid.flux.check(), but=()) == []
    few = grid.assign(TA=grid.TA + 273.15).flux.check(sample=30)
    assert few.looked.entities == 30
    assert few.looked.of == 288


def test_names_and_units_are_said_as_elsewhere() -> None:
    ds = simulated(0, sites=2, years=1).rename(TA="warmth")
    ds["warmth"] = ds.warmth + 273.15
    report = ds.flux.check(variables={"TA": "warmth"}, units={"TA": "K"})
    assert serious(report) == []
    with pytest.raises(SchemaError, match="not there"):
        ds.flux.check(variables={"TA": "nothing"})
    with pytest.raises(DataError, match="few labels"):
        ds.flux.check(ignore=["everything"])
    with pytest.raises(DataError, match="sample"):
        ds.flux.check(sample=0)


@pytest.mark.parametrize("calendar", ["noleap", "360_day", "standard"])
def test_calendars_of_models(calendar: str) -> None:
    time = xr.date_range("2001-01-01", periods=720, calendar=calendar, use_cftime=True)
    day = np.arange(720)
    ds = xr.Dataset(
        {"TA": ("time", 10 - 8 * np.cos(day / 58) + np.sin(day * 1.7), {"units": "degC"})},
        {"time": time},
    )
    assert serious(ds.flux.check()) == []
    ds["TA"].values[100:130] = ds.TA.values[100]
    (found,) = ds.flux.check().warnings
    assert (found.kind, found.start) == ("stuck", str(time[100])[:10])


def test_one_series_and_two_steps() -> None:
    ds = simulated(0, sites=2, years=1).isel(site=0, time=slice(100, 102))
    report = ds.flux.check()
    assert "short record" in {finding.kind for finding in report}
    assert serious(report) == []


def test_fills_are_told_in_the_units_of_the_file() -> None:
    ds = simulated(0, sites=2, years=1)
    ds["TA"] = (ds.TA + 273.15).assign_attrs(units="K")
    ds["TA"].values[:, 20:24] = -9999.0
    ds["TA"].values[:, 30] = 1e20
    (first, _) = ds.flux.check().errors
    assert "the fill values -9999, 1e+20 at 5 steps" in first.evidence
    names = {"ds": ds}
    exec(first.advice, names)
    assert serious(names["ds"].flux.check()) == []


def test_no_time_at_all() -> None:
    report = xr.Dataset({"TA": ("x", [1.0, 2.0], {"units": "degC"})}).flux.check()
    assert [finding.kind for finding in report.errors] == ["no time"]
    assert "no time axis" in repr(report)


@pytest.mark.parametrize("name", ["VPD", "LAI", "GPP"])
def test_a_step_that_is_missing_everywhere_is_no_fault(name: str) -> None:
    ds = simulated(0, sites=3, years=2)
    ds[name].values[:, 50:60] = np.nan
    assert serious(ds.flux.check()) == []


def test_since_when_the_balance_is_open() -> None:
    ds = simulated(0, sites=8, years=3)
    site = int(ds.GPP.notnull().sum("time").values.argmax())
    tower = Tower(ds, site, np.random.default_rng(0))
    values = tower.get("Reco")
    since = tower.time.values >= np.datetime64("2002-06-01")
    values[since] *= 44.009 / 12.011
    tower.put("Reco", values)
    (finding,) = [f for f in ds.flux.check() if f.kind == "no closure"]
    assert pd.Timestamp("2002-06-01") <= pd.Timestamp(finding.start) < pd.Timestamp("2002-07-15")
    assert finding.variable == "Reco"
    assert "grams of CO2" in finding.evidence
    names = {"ds": ds}
    exec(finding.advice, names)
    assert not [f for f in names["ds"].flux.check() if f.kind == "no closure"]
