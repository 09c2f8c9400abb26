"""Training in processes of its own: the same weights, errors that arrive, nobody left behind."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors import safe_open

import xflux
from xflux.errors import ModelError, TrainingDiverged, TrainingStopped
from xflux.model import FluxModel
from xflux.training import checkpoint, fitting, members, processes, worker
from xflux.training.settings import Settings
from xflux.training.windows import Tensors

psutil = pytest.importorskip("psutil")

ROOT = Path(__file__).resolve().parents[1]
CPU, GPU = torch.device("cpu"), torch.device("cuda")
TINY = {"members": 2, "hidden": 4, "epochs": 3, "progress": False, "device": "cpu"}


@pytest.fixture(scope="module")
def monthly() -> xr.Dataset:
    """Twelve simulated towers over two years of months."""
    return xflux.datasets.load("simulated-towers", sites=12, years=2, time_step="monthly", seed=2)


@pytest.fixture(scope="module", autouse=True)
def torch_is_settled() -> None:
    """Its first optimiser makes torch name a folder of its own in the environment."""
    torch.optim.AdamW([torch.ones(1, requires_grad=True)])


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No process, no temporary folder and no change of the environment outlives a test."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    before, others = environment(), set(psutil.Process().children(recursive=True))
    yield
    assert not set(psutil.Process().children(recursive=True)) - others
    assert list(scratch.glob("xflux-*")) == []
    assert environment() == before


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}


def trained(ds: xr.Dataset, **changed: Any) -> FluxModel:
    return ds.flux.train(**{**TINY, **changed})


def after_writes(patch: pytest.MonkeyPatch, writes: int, act: Callable[[], None]) -> None:
    """Do something right after so many writes of the checkpoint."""
    write, seen = checkpoint.Checkpoint.write, []

    def counted(self: checkpoint.Checkpoint, *given: Any) -> None:
        write(self, *given)
        seen.append(1)
        if len(seen) == writes:
            act()

    patch.setattr(checkpoint.Checkpoint, "write", counted)


def interrupt() -> None:
    raise KeyboardInterrupt


# --- the same training ------------------------------------------------------------------------


def test_processes_go_on_where_one_stopped_and_end_with_the_same_bits(
    monthly: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = {"epochs": None, "settings": {"window": 12, "spin_up": 6}}
    monkeypatch.setattr(fitting, "epochs_of", lambda *given: 3)
    monkeypatch.setattr(members, "FEW_CLUSTERS", 3)
    unbroken = trained(monthly, workers=1, **wide)
    path = tmp_path / "kept.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        after_writes(patch, 4, interrupt)  # inside the second fold
        with pytest.raises(KeyboardInterrupt):
            trained(monthly, workers=1, checkpoint=path, **wide)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        resumed = trained(monthly, workers=2, checkpoint=path, **wide)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert resumed.members.data == unbroken.members.data
    assert resumed.card == unbroken.card
    assert not path.exists()


def test_towers_come_through_their_file_bit_for_bit(tmp_path: Path) -> None:
    def made(seed: int) -> Tensors:
        draw = torch.Generator().manual_seed(seed)
        targets = torch.randn(3, 5, 3, generator=draw)
        targets[0, 1] = torch.nan
        return Tensors(
            drivers=torch.randn(3, 5, 2, generator=draw),
            characteristics=torch.zeros(3, 0),
            targets=targets,
            weight=torch.rand(3, 5, 3, generator=draw),
            records=np.array([[0, 0, 5], [2, 1, 4]]),
        )

    given = replace(made(1), world=made(2))
    worker.write_tensors(tmp_path / "towers.safetensors", given)
    found = worker.read_tensors(tmp_path / "towers.safetensors")
    assert given.world is not None
    assert found.world is not None
    for before, after in ((given, found), (given.world, found.world)):
        for name in ("drivers", "characteristics", "targets", "weight", "records"):
            values, taken = getattr(before, name), getattr(after, name)
            assert type(taken) is type(values)
            assert np.asarray(taken).tobytes() == np.asarray(values).tobytes()
            assert taken.shape == values.shape


# --- what goes wrong --------------------------------------------------------------------------


def test_divergence_in_a_process_is_raised_here(monthly: xr.Dataset) -> None:
    wild = {"learning_rate": 1e30, "clip": 1e30}
    with pytest.raises(TrainingDiverged, match=r"member 1/1 is .* lower learning_rate=1e") as here:
        trained(monthly, members=1, epochs=20, settings=wild, workers=1)
    with pytest.raises(TrainingDiverged) as there:
        trained(monthly, members=1, epochs=20, settings=wild, workers=2)
    assert str(there.value) == str(here.value)


def kill_children() -> None:
    for child in psutil.Process().children():
        child.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="processes are not killed by a signal there")
def test_a_process_that_was_killed_is_named_and_nothing_is_lost(
    monthly: xr.Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "kept.safetensors"
    one = {"members": 1, "epochs": 100}
    with pytest.MonkeyPatch.context() as patch:
        after_writes(patch, 2, kill_children)
        with pytest.raises(TrainingStopped) as caught:
            trained(monthly, workers=2, checkpoint=path, **one)
    for words in ("trained member 1/1 was killed (SIGKILL)", "memory", str(path), "workers=1"):
        assert words in str(caught.value)
    with safe_open(path, framework="pt") as file:
        losses = json.loads(file.metadata()["xflux_checkpoint"])["losses"]
    assert 2 <= len(losses["member0"]) < 100
    resumed = trained(monthly, workers=1, checkpoint=path, **one)
    assert resumed.members.data == trained(monthly, workers=1, **one).members.data


@pytest.mark.skipif(not Path("/bin/false").exists(), reason="needs a command that fails")
def test_a_process_that_does_not_start_is_an_error(
    monthly: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(TrainingStopped, match=r"exit code 1.*Nothing was kept.*workers=1"):
        trained(monthly, workers=2)


def test_any_error_can_be_sent() -> None:
    class Unsendable(Exception):  # here, where dask cannot teach pickle how to send it
        def __init__(self, one: int, two: int) -> None:
            super().__init__(f"{one} and {two}")

    for error, kind in ((KeyError("radiation"), KeyError), (Unsendable(3, 4), RuntimeError)):
        try:
            raise error
        except Exception as raised:
            arrived = pickle.loads(pickle.dumps(worker._portable(raised)))
        assert type(arrived) is kind
        said = str(arrived) + "".join(getattr(arrived, "__notes__", []))
        assert "Traceback" in said
        assert str(error) in said


SCRIPT = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it in the background
import xflux
towers = xflux.datasets.load("simulated-towers", sites=12, years=2, time_step="monthly", seed=2)
model = towers.flux.train(
    members=2, hidden=4, epochs=60, progress=False, device="cpu", workers=2,
    checkpoint="kept.safetensors",
)
model.save("model.safetensors")
"""


@pytest.fixture
def script(tmp_path: Path) -> Callable[[], subprocess.Popen[bytes]]:
    """Starts a script without a ``__main__`` guard, in a folder with a trap for imports."""
    folder = tmp_path / "scripts"
    folder.mkdir()
    (folder / "train.py").write_text(SCRIPT)
    (tmp_path / "torch.py").write_text("raise ImportError('this is not torch')")
    own = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "scratch")}

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, str(folder / "train.py")]
        return subprocess.Popen(
            command, cwd=tmp_path, env=own, stderr=subprocess.PIPE, start_new_session=True
        )

    return start


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
def test_who_is_stopped_takes_its_processes_along(
    script: Callable[[], subprocess.Popen[bytes]], tmp_path: Path, monthly: xr.Dataset
) -> None:
    """kill -9 and Ctrl-C in the middle, then the same script again."""
    kept = tmp_path / "kept.safetensors"
    for stop, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, -signal.SIGINT)):
        before = kept.stat().st_mtime_ns if kept.exists() else 0
        parent = script()
        while parent.poll() is None and (not kept.exists() or kept.stat().st_mtime_ns == before):
            time.sleep(0.01)
        family = psutil.Process(parent.pid).children(recursive=True)
        assert len(family) == 2
        if stop is signal.SIGKILL:
            parent.kill()
        else:
            os.killpg(parent.pid, stop)  # a terminal sends it to all of them
        _, complaints = parent.communicate()
        assert parent.returncode == code
        assert complaints.count(b"Traceback") == (stop is signal.SIGINT)
        _, alive = psutil.wait_procs(family, timeout=20)
        assert alive == []
        assert list((tmp_path / "scratch").glob("xflux-*")) == []
    last = script()
    last.communicate()
    assert last.returncode == 0
    unbroken = trained(monthly, epochs=60)
    assert xflux.load_model(tmp_path / "model.safetensors").members.data == unbroken.members.data
    assert not kept.exists()


# --- how many ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("workers", "seconds", "cores", "networks", "expected"),
    [
        (None, 5.0, 8, 5, 0),
        (None, 500.0, 8, 5, 5),
        (None, 500.0, 2, 5, 2),
        (None, 500.0, 1, 5, 1),
        (1, 500.0, 8, 5, 0),
        (3, 5.0, 2, 5, 3),
        (9, 5.0, 2, 5, 5),
    ],
)
def test_a_process_for_each_core_where_it_is_worth_it(
    monkeypatch: pytest.MonkeyPatch,
    workers: int | None,
    seconds: float,
    cores: int,
    networks: int,
    expected: int,
) -> None:
    monkeypatch.setattr(processes, "cpu_count", lambda: cores)
    found = processes.choose_processes(workers, CPU, networks=networks, seconds=seconds)
    assert found == expected


def test_without_an_interpreter_to_start_this_process_trains(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "")
    assert processes.choose_processes(None, CPU, networks=5, seconds=500.0) == 0


def test_a_gpu_trains_in_this_process() -> None:
    for workers in (None, 1):
        assert processes.choose_processes(workers, GPU, networks=5, seconds=500.0) == 0
    with pytest.raises(ModelError, match='leave workers out, or name device="cpu"'):
        processes.choose_processes(2, GPU, networks=5, seconds=500.0)


@pytest.mark.parametrize("workers", [0, -2])
def test_fewer_than_one_worker_is_refused(monthly: xr.Dataset, workers: int) -> None:
    with pytest.raises(ModelError, match=f"workers={workers} must be at least 1"):
        trained(monthly, workers=workers)


def test_longer_trainings_are_expected_to_take_longer() -> None:
    towers = Tensors(
        drivers=torch.zeros(4, 1000, 16),
        characteristics=torch.zeros(4, 13),
        targets=torch.zeros(4, 1000, 3),
        weight=torch.ones(4, 1000, 3),
        records=np.array([[tower, 0, 1000] for tower in range(4)]),
    )
    seconds = [
        processes.expected_seconds(towers, Settings(**settings), networks=networks)
        for settings, networks in (({}, 1), ({}, 5), ({"epochs": 60}, 5), ({"hidden": 128}, 5))
    ]
    assert seconds[1] == pytest.approx(5 * seconds[0])
    assert seconds[2] == pytest.approx(2 * seconds[1])
    assert seconds[3] > 1.5 * seconds[1]
