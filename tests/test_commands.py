"""The commands on files: each gives what the accessor gives, and leaves nothing half done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner, Result

import xflux
from xflux.__main__ import commands
from xflux.model import FluxModel

COMMANDS = ("demo", "check", "train", "evaluate", "predict", "models", "card")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(commands, [str(argument) for argument in arguments])


@pytest.fixture
def model(tmp_path: Path, daily_model: FluxModel) -> Path:
    return daily_model.save(tmp_path / "carbon.safetensors")


@pytest.fixture
def towers(tmp_path: Path, some_towers: xr.Dataset) -> Path:
    some_towers.to_netcdf(tmp_path / "towers.nc")
    return tmp_path / "towers.nc"


@pytest.fixture
def drivers(tmp_path: Path, some_towers: xr.Dataset) -> Path:
    labels = [name for name in some_towers if str(name).startswith(("GPP", "Reco", "NEE"))]
    some_towers.drop_vars(labels).to_netcdf(tmp_path / "drivers.nc")
    return tmp_path / "drivers.nc"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_examples(command: str) -> None:
    done = run(command, "--help")
    assert done.exit_code == 0
    assert f"python -m xflux {command}" in done.output.split("examples:")[1]


def test_help_names_every_command() -> None:
    assert set(COMMANDS) == set(commands.commands)
    assert all(name in run("--help").output for name in COMMANDS)


def test_train_is_the_accessors(tmp_path: Path, towers: Path) -> None:
    out = tmp_path / "m.safetensors"
    sizes = ("--members", "1", "--epochs", "1", "--hidden", "4", "--seed", "3", "--quiet")
    done = run("train", towers, "-o", out, *sizes)
    assert done.exit_code == 0, done.output
    assert str(out) in done.output
    expected = xr.load_dataset(towers).flux.train(members=1, epochs=1, hidden=4, seed=3)
    assert xflux.load_model(out).sha256 == expected.sha256


def test_predict_writes_netcdf(tmp_path: Path, drivers: Path, model: Path) -> None:
    out = tmp_path / "fluxes.nc"
    done = run("predict", drivers, "-o", out, "--model", model, "--quiet")
    assert done.exit_code == 0, done.output
    expected = xr.load_dataset(drivers).flux.predict(xflux.load_model(model))
    xr.testing.assert_allclose(xr.load_dataset(out), expected)
    assert sorted(p.name for p in tmp_path.iterdir() if "fluxes" in p.name) == ["fluxes.nc"]


def test_predict_gives_members(tmp_path: Path, drivers: Path, model: Path) -> None:
    out = tmp_path / "fluxes.nc"
    assert run("predict", drivers, "-o", out, "--model", model, "--members").exit_code == 0
    assert xr.load_dataset(out).sizes["realization"] == 2


def test_predict_writes_zarr_and_goes_on_from_a_state(
    tmp_path: Path, drivers: Path, model: Path
) -> None:
    pytest.importorskip("zarr")
    whole = xr.load_dataset(drivers)
    parts = {"a": whole.isel(time=slice(0, 200)), "b": whole.isel(time=slice(200, None))}
    for name, part in parts.items():
        part.to_netcdf(tmp_path / f"{name}.nc")
    first = ("predict", tmp_path / "a.nc", "-o", tmp_path / "a.zarr", "--model", model)
    done = run(*first, "--final-state", tmp_path / "state.zarr", "--quiet")
    assert done.exit_code == 0, done.output
    then = ("predict", tmp_path / "b.nc", "-o", tmp_path / "b.zarr", "--model", model)
    done = run(*then, "--initial-state", tmp_path / "state.zarr", "--quiet")
    assert done.exit_code == 0, done.output
    found = xr.concat([xr.open_zarr(tmp_path / f"{name}.zarr").load() for name in "ab"], "time")
    expected = whole.flux.predict(xflux.load_model(model))
    np.testing.assert_allclose(found.GPP, expected.GPP, atol=1e-4)


def test_an_output_that_exists_is_kept(tmp_path: Path, drivers: Path, model: Path) -> None:
    out = tmp_path / "fluxes.nc"
    out.write_bytes(b"mine")
    done = run("predict", drivers, "-o", out, "--model", model)
    assert done.exit_code == 1
    assert "--overwrite" in done.output
    assert out.read_bytes() == b"mine"
    assert run("predict", drivers, "-o", out, "--model", model, "--overwrite").exit_code == 0
    assert "GPP" in xr.load_dataset(out)


def test_a_prediction_that_fails_leaves_nothing(tmp_path: Path, drivers: Path, model: Path) -> None:
    hot = xr.load_dataset(drivers)
    hot["TA"] = (hot.TA + 273.15).assign_attrs(units="degC")
    hot.to_netcdf(tmp_path / "hot.nc")
    out = tmp_path / "fluxes.nc"
    done = run("predict", tmp_path / "hot.nc", "-o", out, "--model", model)
    assert done.exit_code == 1
    assert done.output.startswith("xflux: ")
    assert not [p for p in tmp_path.iterdir() if "fluxes" in p.name]


def test_names_and_units_are_said_on_the_line(tmp_path: Path, drivers: Path, model: Path) -> None:
    ds = xr.load_dataset(drivers).rename(TA="warmth")
    ds["warmth"] = (ds.warmth + 273.15).drop_attrs()
    ds.to_netcdf(tmp_path / "odd.nc")
    out = tmp_path / "fluxes.nc"
    line = ("predict", tmp_path / "odd.nc", "-o", out, "--model", model)
    assert "On the command line: --variable NAME=VARIABLE" in run(*line).output
    done = run(*line, "--variable", "TA=warmth", "--unit", "TA=K")
    assert done.exit_code == 0, done.output
    expected = xr.load_dataset(drivers).flux.predict(xflux.load_model(model))
    np.testing.assert_allclose(xr.load_dataset(out).GPP, expected.GPP, atol=1e-3)


def test_evaluate_prints_and_writes_scores(tmp_path: Path, towers: Path, model: Path) -> None:
    out = tmp_path / "scores.nc"
    done = run("evaluate", towers, "--model", model, "-o", out)
    assert done.exit_code == 0, done.output
    expected = xr.load_dataset(towers).flux.evaluate(xflux.load_model(model))
    xr.testing.assert_allclose(xr.load_dataset(out).rmse, expected.rmse)
    shown = next(line for line in done.output.splitlines() if line.startswith("GPP"))
    assert f"{float(expected.rmse_pooled.sel(target='GPP')):.3f}" in shown


def test_evaluate_takes_a_prediction(tmp_path: Path, towers: Path, model: Path) -> None:
    xr.load_dataset(towers).flux.predict(xflux.load_model(model)).to_netcdf(tmp_path / "p.nc")
    by_model = run("evaluate", towers, "--model", model, "--by-scale").output
    by_file = run("evaluate", towers, "--prediction", tmp_path / "p.nc", "--by-scale").output
    assert by_model == by_file
    assert "seasonal" in by_file


def test_check_reports_and_is_strict_when_asked(tmp_path: Path, towers: Path) -> None:
    ds = xr.load_dataset(towers)
    ds["TA"] = ds.TA.where(ds.site != "SIM-002", ds.TA + 273.15)
    ds.to_netcdf(tmp_path / "hot.nc")
    table = tmp_path / "findings.csv"
    done = run("check", tmp_path / "hot.nc", "-o", table)
    assert done.exit_code == 0, done.output
    assert "wrong unit" in done.output
    assert "SIM-002" in table.read_text(encoding="utf-8")
    assert run("check", tmp_path / "hot.nc", "--strict").exit_code == 1
    assert run("check", towers, "--strict").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["predict", "x.nc", "-o", "out.csv"], ".zarr"),
        (["predict", "x.nc", "-o", "out.nc", "--final-state", "s.zarr"], "--final-state"),
        (["predict", "x.nc", "-o", "out.nc", "--unit", "TA"], "NAME=VALUE"),
        (["evaluate", "x.nc", "--model", "m", "--prediction", "p.nc"], "not both"),
        (["predict", "-o", "out.nc"], "DRIVERS"),
        (["train", "x.nc"], "--output"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert said in done.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["predict", "no.nc", "-o", "out.nc"], "no such file: no.nc"),
        (["predict", "no.nc", "-o", "no/such/out.nc"], "mkdir -p"),
        (["check", "no.csv"], "no.csv"),
        (["card", "no.safetensors"], "no.safetensors"),
    ],
)
def test_files_that_are_not_there(arguments: list[str], said: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.exit_code == 1
    assert said in done.output
    assert "Traceback" not in done.output


def test_tower_files_are_read_as_they_are(tmp_path: Path) -> None:
    header = "TIMESTAMP,TA_F,SW_IN_F,NEE_VUT_REF,NEE_VUT_REF_QC,GPP_NT_VUT_REF,RECO_NT_VUT_REF\n"
    rows = "20050101,1.5,40,0.6,1,0.4,1.0\n20050102,2.5,50,0.5,0.8,0.6,1.1\n"
    path = tmp_path / "FLX_XX-One_FLUXNET2015_FULLSET_DD_2005-2005_1-4.csv"
    path.write_text(header + rows)
    done = run("check", path, "--quiet")
    assert done.exit_code == 0, done.output
    assert "2005-01-01 to 2005-01-02" in done.output


def test_a_grid_may_be_called_like_a_tower(tmp_path: Path, towers: Path) -> None:
    xr.load_dataset(towers).to_netcdf(tmp_path / "EU-2020.nc")
    assert "8 entities" in run("check", tmp_path / "EU-2020.nc").output
    one = xr.load_dataset(towers).isel(site=[0]).rename(TA="Tair")
    one.to_netcdf(tmp_path / "DE-Hai_2001.nc")
    done = run("check", tmp_path / "DE-Hai_2001.nc")
    assert "in the tower files" in done.output  # of PLUMBER2, which these are not


def test_from_a_shell_it_is_the_same(tmp_path: Path, drivers: Path, model: Path) -> None:
    command = [sys.executable, "-m", "xflux", "predict", drivers.name, "-o", "fluxes.nc"]
    command += ["--model", model.name]
    options = {
        "cwd": tmp_path,
        "env": os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        "capture_output": True,
        "text": True,
        "check": False,
    }
    done = subprocess.run(command, **options)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "written: fluxes.nc\n"
    assert xr.load_dataset(tmp_path / "fluxes.nc").sizes["site"] == 8
    done = subprocess.run(command, **options)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("xflux: fluxes.nc exists")
