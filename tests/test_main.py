"""The command line and the demo, at a tiny size and without a network."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import xarray as xr

import xflux
from xflux import __main__ as cli
from xflux import demo
from xflux.errors import DataError, DownloadError, XfluxWarning

pytest.importorskip("matplotlib")

TINY = {
    "simulated-towers": demo.Size(
        time_step="daily",
        towers={"sites": 8, "years": 1},
        shape=(6, 12),
        epochs=1,
        hidden=4,
    ),
    "fluxnet2015-monthly": demo.Size(
        time_step="monthly", towers={}, shape=(6, 12), epochs=1, hidden=4
    ),
}


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """A job of seconds, with a small model in place of each bundled ensemble."""

    def stand_in(time_step: str) -> xflux.model.FluxModel:
        towers = xflux.datasets.load("simulated-towers", sites=8, years=1, time_step=time_step)
        return towers.flux.train(members=2, epochs=1, hidden=4, progress=False)

    monkeypatch.setattr(demo, "SIZES", TINY)
    monkeypatch.setattr(demo, "model_for", stand_in)


def test_demo_writes_what_it_says(tmp_path: Path, capsys) -> None:
    assert cli.main(["demo", "--output", str(tmp_path), "--members", "2", "--quiet"]) == 0
    printed = capsys.readouterr().out
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == [
        "model.safetensors",
        "towers.nc",
        "towers.png",
        "world_bundled.nc",
        "world_bundled.png",
        "world_trained.nc",
        "world_trained.png",
    ]
    assert all(str(tmp_path / name) in printed for name in files)
    assert "RMSE" in printed
    assert "bundled (daily)" in printed
    assert "against the law without noise" in printed


def test_demo_files_hold_the_fluxes(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XfluxWarning)
        paths = demo.run(output=tmp_path, members=2, progress=False, say=lambda _: None)
    for name in ("world trained", "world bundled"):
        world = xr.load_dataset(paths[name])
        assert dict(world.sizes) == {"time": 365, "lat": 6, "lon": 12}
        assert world.GPP.attrs["units"] == "g m-2 d-1"
        assert {"GPP_std", "Reco_std", "NEE_std"} <= set(world.data_vars)
        assert abs(world.NEE - (world.Reco - world.GPP)).max() < 1e-4
    assert len(xflux.load_model(paths["model"]).weights) == 2
    assert xr.load_dataset(paths["towers"]).sizes["time"] == 365


def test_demo_with_one_member_has_no_spread(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XfluxWarning)
        paths = demo.run(output=tmp_path, members=1, progress=False, say=lambda _: None)
    assert "GPP_std" not in xr.load_dataset(paths["world trained"])
    assert paths["map trained"].stat().st_size > 10_000


def test_demo_says_which_towers_the_bundled_ensemble_has_seen(tmp_path: Path, capsys) -> None:
    assert cli.main(["demo", "--output", str(tmp_path), "--members", "1", "--quiet"]) == 0
    assert "bundled (daily), has seen 2 of them" in capsys.readouterr().out


def test_demo_on_real_towers(tmp_path: Path, shared_data: Path, monkeypatch, capsys) -> None:
    from xflux.readers.fluxnet_monthly import read_fluxnet_monthly

    files = sorted((shared_data / "mirror").rglob("*_MM.csv"))[::12]
    load = xflux.datasets.load

    def from_mirror(name: str, **options: object) -> xr.Dataset:
        return read_fluxnet_monthly(files) if "fluxnet" in name else load(name, **options)

    monkeypatch.setattr(demo.datasets, "load", from_mirror)
    arguments = ["demo", "--data", "fluxnet2015-monthly", "--members", "2", "--quiet"]
    assert cli.main([*arguments, "--output", str(tmp_path)]) == 0
    assert "fluxnet2015-monthly, monthly" in capsys.readouterr().out
    assert xr.load_dataset(tmp_path / "world_trained.nc").sizes["time"] == 12


def test_demo_offline_says_so_in_one_message(tmp_path: Path) -> None:
    environment = os.environ | {
        "XFLUX_DATA_DIR": str(tmp_path / "cache"),
        "XFLUX_DATA_URL": "http://127.0.0.1:9/",
    }
    arguments = ["demo", "--data", "fluxnet2015-monthly", "--output", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "xflux", *arguments, "--quiet"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[1],
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "could not be downloaded" in done.stderr
    assert "XFLUX_DATA_DIR" in done.stderr


@pytest.mark.parametrize(
    "error",
    [
        DownloadError("no connection"),
        DataError("too few"),
        ImportError("drawing needs matplotlib"),
        PermissionError("not yours"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_are_one_message_and_exit_code_1(error, monkeypatch, capsys) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(demo, "run", fail)
    assert cli.main(["demo"]) == 1
    printed = capsys.readouterr()
    assert printed.err == f"xflux: {error}\n"


def test_faults_of_xflux_itself_keep_their_traceback(monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(demo, "run", fail)
    with pytest.raises(ZeroDivisionError):
        cli.main(["demo"])


def test_ctrl_c_ends_quietly(monkeypatch, capsys) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run", stop)
    assert cli.main(["demo"]) == 130
    assert "stopped" in capsys.readouterr().err


def test_warnings_are_notes_said_once(monkeypatch, capsys) -> None:
    def warn(*_: object, **__: object) -> None:
        for _ in range(2):
            warnings.warn("two classes are new", XfluxWarning, stacklevel=1)

    monkeypatch.setattr(demo, "run", warn)
    assert cli.main(["demo"]) == 0
    assert capsys.readouterr().err == "note: two classes are new\n"


def test_unknown_data_is_named() -> None:
    with pytest.raises(DataError, match="simulated-towers"):
        demo.run("fluxnet2030")


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"]])
def test_help_has_examples(arguments, capsys) -> None:
    with pytest.raises(SystemExit) as done:
        cli.main(arguments)
    assert done.value.code == 0
    assert "python -m xflux demo --data fluxnet2015-monthly" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [[], ["demo", "--members", "0"], ["demo", "--data", "x"], ["fly"]]
)
def test_wrong_arguments_are_refused(arguments, capsys) -> None:
    with pytest.raises(SystemExit) as done:
        cli.main(arguments)
    assert done.value.code == 2
    assert "usage:" in capsys.readouterr().err.lower()


def test_version(capsys) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"xflux {xflux.__version__}\n"


def test_help_does_not_load_torch() -> None:
    code = "import sys, xflux.__main__ as m\ntry: m.main(['--help'])\nexcept SystemExit: pass\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}print('torch' in sys.modules)"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "False"
