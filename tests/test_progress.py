"""Bars where somebody watches and nowhere else; a log for those who ask; nothing is printed."""

from __future__ import annotations

import ast
import logging
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import xflux
from xflux.__main__ import commands
from xflux.progress import watch_tasks

PACKAGE = Path(xflux.__file__).parent


def test_nothing_is_shown_where_nobody_watches(some_towers, tmp_path, capfd) -> None:
    model = some_towers.flux.train(members=1, epochs=1, hidden=4)
    some_towers.flux.predict_to_zarr(tmp_path / "out.zarr", model)
    with watch_tasks("adding", None):
        xr.DataArray(np.ones(4)).chunk(2).sum().compute()
    assert capfd.readouterr() == ("", "")


def test_a_bar_says_how_far_it_is(some_towers, capfd) -> None:
    some_towers.flux.train(members=2, epochs=1, hidden=4, progress=True)
    assert "member 2/2" in capfd.readouterr().err
    with watch_tasks("adding", True):
        xr.DataArray(np.ones(4)).chunk(2).sum().compute()
    assert "adding" in capfd.readouterr().err


def test_bars_of_a_cross_validation_name_the_fold(some_towers, capfd) -> None:
    some_towers.flux.cross_validate(folds=2, members=1, epochs=1, hidden=4, progress=True)
    shown = capfd.readouterr().err
    assert "1/2 fold 0: member 1/1" in shown
    assert "2/2 fold 1: member 1/1" in shown


def test_the_log_tells_begin_and_end(some_towers, tmp_path, caplog) -> None:
    with caplog.at_level(logging.INFO, logger="xflux"):
        model = some_towers.flux.train(members=1, epochs=2, hidden=4)
        some_towers.flux.predict_to_zarr(tmp_path / "out.zarr", model)
    lines = [record.getMessage() for record in caplog.records]
    assert any("training 1 members of ct-lstm on 8 entities" in line for line in lines)
    assert any(line.startswith("trained in") for line in lines)
    assert any("blocks to write" in line for line in lines)


def test_the_command_line_shows_the_log_when_asked(tmp_path: Path, some_towers) -> None:
    some_towers.to_netcdf(tmp_path / "towers.nc")
    line = ["train", str(tmp_path / "towers.nc"), "-o", str(tmp_path / "m.safetensors")]
    line += ["--members", "1", "--epochs", "1", "--hidden", "4", "--overwrite"]
    assert "training 1 members" in CliRunner().invoke(commands, ["-v", *line]).output
    assert "training 1 members" not in CliRunner().invoke(commands, line).output


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix()
)
def test_nothing_is_printed(path: Path) -> None:
    calls = (
        node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if type(node) is ast.Call
    )
    assert not [call.lineno for call in calls if getattr(call.func, "id", "") == "print"]
