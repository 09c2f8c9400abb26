"""Training: the same for a seed, resumable after any kill, and stopped when it diverges."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import xflux
from xflux import features
from xflux.cf.schema import resolve
from xflux.errors import DataError, ModelError, ModelFileError, TrainingDiverged
from xflux.features import Characteristic, Inputs
from xflux.model import FluxModel
from xflux.skill.clusters import clusters
from xflux.training import checkpoint, fitting, jobs, members, recipe, validation, windows
from xflux.training import supervised as training
from xflux.training.losses import multi_loss
from xflux.training.settings import Settings
from xflux.training.towers import Towers, describe_inputs, read_towers
from xflux.training.windows import Batch, Tensors

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")
TINY = {"members": 2, "hidden": 4, "progress": False, "device": "cpu"}


@pytest.fixture(scope="module")
def monthly() -> xr.Dataset:
    """Twelve simulated towers over two years of months."""
    return xflux.datasets.load("simulated-towers", sites=12, years=2, time_step="monthly", seed=2)


@pytest.fixture(scope="module")
def read(monthly: xr.Dataset) -> tuple[Towers, Inputs]:
    towers = read_towers(monthly, resolve(monthly))
    return towers, describe_inputs(towers, derived=fitting.DERIVED)


def small(**changed: Any) -> Settings:
    return Settings(
        **{"members": 2, "hidden": 4, "epochs": 3, "window": 12, "spin_up": 6} | changed
    )


def trained(monthly: xr.Dataset, **changed: Any) -> FluxModel:
    return monthly.flux.train(**{**TINY, "epochs": 3, **changed})


# --- seeds, threads and the user's random state -----------------------------------------------


def test_a_seed_gives_the_same_bits_and_another_does_not(monthly: xr.Dataset) -> None:
    one, same, other = (trained(monthly, seed=seed) for seed in (3, 3, 4))
    assert one.members.data == same.members.data
    assert one.card["training_loss"] == same.card["training_loss"]
    assert one.members.data != other.members.data


def test_members_differ_and_the_first_do_not_depend_on_how_many_follow(
    monthly: xr.Dataset,
) -> None:
    two, three = trained(monthly), trained(monthly, members=3)
    for few, many in zip(two.weights, three.weights, strict=False):
        for name, values in few.items():
            np.testing.assert_array_equal(values, many[name])
    first, second = two.weights
    assert any(not np.array_equal(first[name], second[name]) for name in first)


def test_random_state_and_threads_of_the_user_stay(monthly: xr.Dataset) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        before = torch.random.get_rng_state()
        numpy_before = np.random.get_state()[1].copy()
        model = trained(monthly, epochs=1)
        monthly.flux.predict(model)
        assert torch.get_num_threads() == 2
        assert torch.equal(torch.random.get_rng_state(), before)
        np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)
        assert torch.is_grad_enabled()
    finally:
        torch.set_num_threads(threads)


def test_the_random_state_of_the_user_does_not_matter(monthly: xr.Dataset) -> None:
    found = []
    for seed in (1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            found.append(trained(monthly, epochs=1).members.data)
    assert found[0] == found[1]


def test_state_and_threads_come_back_when_training_fails() -> None:
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()

    def fail() -> None:
        with training.private_randomness((1, 2)):
            torch.rand(3)
            raise KeyError("anything")

    with pytest.raises(KeyError):
        fail()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_training_leaves_its_input_alone(monthly: xr.Dataset) -> None:
    before = monthly.copy(deep=True)
    trained(monthly, epochs=1)
    xr.testing.assert_identical(monthly, before)


def test_training_learns(monthly: xr.Dataset) -> None:
    model = trained(monthly, epochs=40, members=1, hidden=16)
    losses = model.card["training_loss"][0]
    assert len(losses) == 40
    assert losses[-1] < 0.7 * losses[0]


# --- divergence -------------------------------------------------------------------------------


def test_divergence_is_caught(monthly: xr.Dataset) -> None:
    with pytest.raises(TrainingDiverged, match="lower learning_rate=1e"):
        trained(monthly, epochs=20, settings={"learning_rate": 1e30, "clip": 1e30})


def test_weights_that_became_nan_are_caught(
    read: tuple[Towers, Inputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    towers, inputs = read
    tensors = training.to_tensors(towers, inputs, small(), CPU)
    build = training.build_network

    def broken(inputs: Inputs, settings: Settings) -> torch.nn.Module:
        network = build(inputs, settings)
        next(network.parameters()).data.fill_(math.nan)
        return network

    monkeypatch.setattr(training, "build_network", broken)
    with pytest.raises(TrainingDiverged, match=r"member 0 is nan in epoch 1"):
        training.train_member(tensors, inputs, small(), 0)


# --- the checkpoint ---------------------------------------------------------------------------


class Interrupted(Exception):
    """Stands for a crash."""


def crash(ds: xr.Dataset, writes: int, **call: Any) -> None:
    """Train until right after so many writes of the checkpoint."""
    write, seen = checkpoint.Checkpoint.write, []

    def counted(self: checkpoint.Checkpoint, *arguments: Any) -> None:
        write(self, *arguments)
        seen.append(1)
        if len(seen) == writes:
            raise Interrupted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint.Checkpoint, "write", counted)
        with pytest.raises(Interrupted):
            trained(ds, **call)


@pytest.mark.parametrize("writes", range(1, 7))
def test_resumed_after_each_write_ends_the_same(
    monthly: xr.Dataset, tmp_path: Path, writes: int
) -> None:
    path = tmp_path / "kept.safetensors"
    unbroken = trained(monthly)
    crash(monthly, writes, checkpoint=path)
    assert path.exists()
    resumed = trained(monthly, checkpoint=path)
    assert resumed.members.data == unbroken.members.data
    assert resumed.card == unbroken.card
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("writes", [1, 3, 4, 9, 11])
def test_the_choice_of_epochs_is_resumed_too(
    monthly: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    wide = {"epochs": None, "settings": {"window": 12, "spin_up": 6}}
    monkeypatch.setattr(fitting, "epochs_of", lambda *given: 3)
    monkeypatch.setattr(members, "FEW_CLUSTERS", 3)
    unbroken = trained(monthly, **wide)
    assert len(unbroken.card["validation_loss"]) == 3
    path = tmp_path / "kept.safetensors"
    crash(monthly, writes, checkpoint=path, **wide)
    run, epochs = training._one_epoch, []
    monkeypatch.setattr(training, "_one_epoch", lambda *given: (epochs.append(1), run(*given))[1])
    resumed = trained(monthly, checkpoint=path, **wide)
    assert resumed.members.data == unbroken.members.data
    assert resumed.card == unbroken.card
    every = 3 * 3 + 2 * unbroken.settings.last_epoch
    assert len(epochs) == every - writes, "what was done is trained again"


def test_a_checkpoint_of_chosen_epochs_is_none_of_given_ones(
    monthly: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "epochs_of", lambda *given: 3)
    monkeypatch.setattr(members, "FEW_CLUSTERS", 3)
    path = tmp_path / "kept.safetensors"
    crash(monthly, 10, checkpoint=path, epochs=None)
    with pytest.raises(ModelError, match="other data or settings"):
        trained(monthly, checkpoint=path, epochs=3)


NURSERY = """
import os, sys
import torch
torch.set_num_threads(1)
import xflux
from xflux import model
from xflux.training import fitting, members, towers as reading
from xflux.cf.schema import resolve
towers = xflux.datasets.load("simulated-towers", sites=6, years=1, seed=5)
reading.read_towers(towers, resolve(towers))
weight = torch.ones(1, requires_grad=True)
weight.grad = torch.ones(1)
torch.optim.AdamW([weight]).step()  # what is imported on first use is there before a fork
print("ready", flush=True)
for line in sys.stdin:
    kept, result = line.split()
    child = os.fork()
    if child == 0:
        model = towers.flux.train(
            members=2, epochs=6, hidden=6, progress=False, device="cpu", checkpoint=kept,
            settings={"batch": 4, "window": 90, "spin_up": 30},
        )
        model.save(result)
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Nursery:
    """A process that is past its imports and forks one that trains as often as it is asked."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", NURSERY],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.read() == "ready"

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def train(self, kept: Path, result: Path, *, kill_after: float | None = None) -> int:
        """Exit code of a training, which is killed after some seconds where they are given."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{kept} {result}\n")
        self.process.stdin.flush()
        child = int(self.read())
        if kill_after is not None:
            time.sleep(kill_after)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        return int(self.read())


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    assert nursery.process.stdin is not None
    nursery.process.stdin.close()
    assert nursery.process.wait(timeout=60) == 0


@pytest.mark.slow
def test_killed_at_twenty_random_moments_ends_the_same(nursery: Nursery, tmp_path: Path) -> None:
    """kill -9 at moments spread over the training, and each time the same call again."""
    unbroken, resumed = tmp_path / "unbroken.safetensors", tmp_path / "resumed.safetensors"
    kept = tmp_path / "kept.safetensors"
    began = time.perf_counter()
    assert nursery.train(tmp_path / "none", unbroken) == 0
    lasted = time.perf_counter() - began
    rng = np.random.default_rng(20)
    kills, states = 0, set()
    while kills < 20:
        code = nursery.train(kept, resumed, kill_after=rng.uniform(0.1, 0.6) * lasted)
        if code == -signal.SIGKILL:
            kills += 1
            states.add(kept.stat().st_mtime_ns if kept.exists() else 0)
        else:
            assert code == 0
            assert resumed.read_bytes() == unbroken.read_bytes()
            resumed.unlink()
    assert nursery.train(kept, resumed) == 0
    assert resumed.read_bytes() == unbroken.read_bytes()
    assert len(states) > 5, "the kills all fell before the first checkpoint"
    assert sorted(tmp_path.iterdir()) == [resumed, unbroken]


@pytest.fixture
def kept(monthly: xr.Dataset, tmp_path: Path) -> Path:
    """The checkpoint of a training that crashed."""
    path = tmp_path / "kept.safetensors"
    crash(monthly, 2, checkpoint=path)
    return path


def test_a_checkpoint_of_other_data_is_refused(monthly: xr.Dataset, kept: Path) -> None:
    other = monthly.copy()
    other["GPP"] = other.GPP + 1e-3
    before = kept.read_bytes()
    for ds, changed in ((other, {}), (monthly, {"seed": 9}), (monthly, {"hidden": 5})):
        with pytest.raises(ModelError, match="other data or settings: remove it"):
            trained(ds, checkpoint=kept, **changed)
    assert kept.read_bytes() == before


@pytest.mark.parametrize("size", [0, 7, 8, 100, -1])
def test_a_truncated_checkpoint_is_refused(monthly: xr.Dataset, kept: Path, size: int) -> None:
    kept.write_bytes(kept.read_bytes()[:size])
    with pytest.raises(ModelFileError, match="remove it, or name another file"):
        trained(monthly, checkpoint=kept)


def test_a_flipped_bit_in_a_checkpoint_is_refused(monthly: xr.Dataset, kept: Path) -> None:
    content = kept.read_bytes()
    length = int.from_bytes(content[:8], "little")
    bits = np.random.default_rng(0).integers(64, 8 * len(content), 200).tolist()
    for bit in [*bits, 8 * (8 + length) + 3, 8 * len(content) - 1]:
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        kept.write_bytes(damaged)
        with pytest.raises((ModelFileError, ModelError)):
            checkpoint.Checkpoint(kept, "a key")
    kept.write_bytes(content)


def test_another_file_is_no_checkpoint(monthly: xr.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    trained(monthly, epochs=1).save(path)
    before = path.read_bytes()
    with pytest.raises(ModelFileError, match="not a checkpoint"):
        trained(monthly, checkpoint=path)
    assert path.read_bytes() == before
    save_file({"x": torch.zeros(2)}, path, metadata={"xflux_checkpoint": "[]"})
    with pytest.raises(ModelFileError, match="not a checkpoint"):
        trained(monthly, checkpoint=path)


def test_a_checkpoint_holds_whole_states_only(kept: Path) -> None:
    tensors = load_file(kept)
    assert any(name.startswith("member0/weights.") for name in tensors)
    assert any(name.startswith("member0/moments.") for name in tensors)
    assert [file.name for file in kept.parent.iterdir()] == [kept.name]


# --- what the network is taught ---------------------------------------------------------------


def test_towers_without_any_label_are_an_error(monthly: xr.Dataset) -> None:
    empty = monthly.assign(GPP=np.nan * monthly.GPP, Reco=np.nan * monthly.Reco)
    empty = empty.assign(NEE=np.nan * monthly.NEE)
    for name in ("GPP", "Reco", "NEE"):
        empty[name].attrs = dict(monthly[name].attrs)
    with pytest.raises(DataError):
        trained(empty)


def test_entities_weigh_by_the_power_of_their_steps(read: tuple[Towers, Inputs]) -> None:
    towers, inputs = read
    for power in (0.0, 0.5, 1.0):
        weight = training.to_tensors(towers, inputs, small(entity_power=power), CPU).weight.numpy()
        steps = (weight > 0).any(axis=-1).sum(axis=1)
        each = weight.max(axis=(1, 2))
        total = each * steps
        np.testing.assert_allclose(total / total.sum(), steps**power / (steps**power).sum(), 1e-5)
        assert float((each * steps).sum() / steps.sum()) == pytest.approx(1.0, rel=1e-5)


def test_no_weight_without_target_or_driver(read: tuple[Towers, Inputs]) -> None:
    towers, inputs = read
    drivers = {name: values.copy() for name, values in towers.drivers.items()}
    drivers["TA"][0, 3:8] = np.nan
    tensors = training.to_tensors(replace(towers, drivers=drivers), inputs, small(), CPU)
    weight = tensors.weight.numpy()
    assert (weight[~np.isfinite(towers.targets)] == 0).all()
    assert (weight[0, 4:8] == 0).all()
    assert bool(torch.isfinite(tensors.drivers).all())


def test_spread_is_the_standard_deviation_of_the_labels(read: tuple[Towers, Inputs]) -> None:
    towers, inputs = read
    tensors = training.to_tensors(towers, inputs, small(), CPU)
    found = training.target_spread(tensors).numpy()
    weight = tensors.weight.numpy() > 0
    for k in range(3):
        expected = towers.targets[..., k][weight[..., k]].std(ddof=1)
        assert found[k] == pytest.approx(expected, rel=1e-5)


def test_spread_of_a_target_that_is_not_there(read: tuple[Towers, Inputs]) -> None:
    towers, inputs = read
    targets = towers.targets.copy()
    targets[..., 1:] = np.nan
    only_gpp = training.to_tensors(replace(towers, targets=targets), inputs, small(), CPU)
    found = training.target_spread(only_gpp)
    assert bool((found > 0).all())
    assert found[1] == found[0]


@pytest.mark.parametrize("names", [["GPP"], ["Reco"], ["NEE"], ["GPP", "NEE"]])
def test_any_target_alone_can_be_learnt(monthly: xr.Dataset, names: list[str]) -> None:
    gone = [name for name in ("GPP", "Reco", "NEE") if name not in names]
    model = trained(monthly.drop_vars(gone), epochs=1)
    out = monthly.flux.predict(model)
    assert bool(np.isfinite(out.NEE).any())
    np.testing.assert_array_equal(out.NEE, out.Reco - out.GPP)


def test_learning_rate_rises_and_falls() -> None:
    rates = [recipe.learning_rate(share, 1.0) for share in np.linspace(0, 1, 101)]
    assert max(rates) == pytest.approx(1.0, abs=1e-6)
    assert int(np.argmax(rates)) == 15
    assert all(np.diff(rates[:15]) > 0)
    assert all(np.diff(rates[16:]) < 0)
    assert 0 < rates[-1] < 1e-3


# --- spatial validation -----------------------------------------------------------------------


def test_epochs_are_where_the_loss_on_clusters_kept_out_is_least(
    read: tuple[Towers, Inputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    towers, inputs = read
    monkeypatch.setattr(members, "FEW_CLUSTERS", 3)
    monkeypatch.setattr(members, "spatial_validation", lambda *_, **__: (3.0, 1.0, 2.0))
    found = members.train_ensemble(
        towers, inputs, small(), validation_folds=3, device="cpu", progress=False
    )
    assert found.settings.stop == found.settings.last_epoch == 2
    assert found.settings.epochs == 3
    assert found.validation == (3.0, 1.0, 2.0)
    assert [len(losses) for losses in found.losses] == [2, 2]


def test_validation_keeps_whole_clusters_out(read: tuple[Towers, Inputs]) -> None:
    towers, inputs = read
    tensors = training.to_tensors(towers, inputs, small(), CPU)
    cluster = clusters(towers.latitude, towers.longitude)
    tested = np.zeros(len(towers.labels), dtype=int)
    for job in validation.validation_jobs(towers, small(), 3):
        assert job.kept_out is not None
        tested += job.kept_out
        assert not {*cluster[job.kept_out]} & {*cluster[~job.kept_out]}
        learnt = training.only(tensors, ~job.kept_out, 0.5)
        assert not learnt.weight[torch.from_numpy(job.kept_out)].any()
        assert not job.kept_out[learnt.records[:, 0]].any()
    assert (tested == 1).all()


def test_only_some_towers_are_the_same_as_those_towers_alone(read: tuple[Towers, Inputs]) -> None:
    towers, inputs = read
    settings, chosen = small(), np.arange(len(towers.labels)) % 3 > 0
    whole = training.to_tensors(towers, inputs, settings, CPU)
    some = training.only(whole, chosen, settings.entity_power)
    alone = training.to_tensors(towers.subset(chosen), inputs, settings, CPU)
    torch.testing.assert_close(some.weight[torch.from_numpy(chosen)], alone.weight)
    assert training.target_spread(some).equal(training.target_spread(alone))
    seed = (0, 0, 1)
    pairs = zip(
        windows.epoch(some, inputs, settings, seed),
        windows.epoch(alone, inputs, settings, seed),
        strict=True,
    )
    for one, other in pairs:
        torch.testing.assert_close(one, other, equal_nan=True)


def test_the_score_is_the_loss_of_undisturbed_windows(read: tuple[Towers, Inputs]) -> None:
    towers, inputs = read
    settings = small(window=24, spin_up=0)  # a window is a whole record
    tensors = training.to_tensors(towers, inputs, settings, CPU)
    spread = training.target_spread(tensors)
    network = training.build_network(inputs, settings)
    found = jobs.score(network, tensors, inputs, settings, spread)
    predicted, observed, weight = [], [], []
    for tower, start, end in tensors.records.tolist():
        here = slice(tower, tower + 1), slice(start, end)
        with torch.no_grad():
            both, _ = network.eval()(tensors.drivers[here], tensors.characteristics[here[0]])
        predicted.append(both.mean(dim=0)[0])
        observed.append(tensors.targets[here][0])
        weight.append(tensors.weight[here][0])
    whole = (torch.cat(parts) for parts in (predicted, observed, weight))
    assert found == pytest.approx(float(multi_loss(*whole, spread, (1, 1, 1))), rel=1e-5)


def test_with_few_clusters_the_given_epochs_hold(monthly: xr.Dataset) -> None:
    few = monthly.isel(site=slice(0, 4))
    model = few.flux.train(**{**TINY, "members": 1, "settings": {"batch": 64}})
    assert model.settings.last_epoch == 60
    assert model.card["validation_loss"] == []


# --- windows ----------------------------------------------------------------------------------


def tensors_with(usable: np.ndarray, labelled: np.ndarray) -> Tensors:
    """Towers (N, T) whose only driver is the number of the step."""
    count, steps = usable.shape
    number = np.arange(count * steps, dtype=np.float32).reshape(count, steps)
    targets = np.where(labelled, number, np.nan).astype(np.float32)
    weight = (labelled & usable).astype(np.float32)
    return Tensors(
        drivers=torch.from_numpy(number[..., None].copy()),
        characteristics=torch.zeros(count, 0),
        targets=torch.from_numpy(np.repeat(targets[..., None], 3, axis=-1)),
        weight=torch.from_numpy(np.repeat(weight[..., None], 3, axis=-1)),
        records=features.stretches(usable),
    )


@st.composite
def any_towers(draw: st.DrawFn) -> Tensors:
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    shape = draw(st.integers(1, 4)), draw(st.integers(1, 60))
    share = draw(st.sampled_from([0.3, 0.9, 1.0]))
    return tensors_with(rng.random(shape) < share, rng.random(shape) < draw(st.floats(0, 1)))


ONE_DRIVER = Inputs(
    time_step="daily", drivers=("TA",), required=("TA",), derived=(), characteristics=()
)
QUIET = {
    "driver_offset": 0.0,
    "characteristic_noise": 0.0,
    "characteristic_dropout": 0.0,
    "driver_dropout": 0.0,
}


@given(
    tensors=any_towers(),
    window=st.integers(1, 30),
    spin_up=st.integers(0, 20),
    batch=st.integers(1, 7),
    seed=st.integers(0, 100),
)
def test_an_epoch_scores_every_labelled_step_exactly_once(
    tensors: Tensors, window: int, spin_up: int, batch: int, seed: int
) -> None:
    settings = small(window=window, spin_up=spin_up, batch=batch, **QUIET)
    scored: list[float] = []
    batches = 0
    for part in windows.epoch(tensors, ONE_DRIVER, settings, (seed, 0, 1)):
        batches += 1
        assert part.drivers.shape[:2] == part.targets.shape[:2]
        assert part.drivers.shape[1] <= window + spin_up
        counted = part.weight[..., 0] > 0
        scored += part.drivers[..., 0][counted].tolist()
        assert torch.equal(part.drivers[..., 0][counted], part.targets[..., 0][counted])
    expected = tensors.drivers[..., 0][tensors.weight[..., 0] > 0].tolist()
    assert sorted(scored) == sorted(expected)
    assert batches <= windows.batches_in_epoch(tensors, settings)


@given(tensors=any_towers(), window=st.integers(1, 30), spin_up=st.integers(0, 20))
def test_windows_stay_in_their_record_and_spin_up_precedes_them(
    tensors: Tensors, window: int, spin_up: int
) -> None:
    settings = small(window=window, spin_up=spin_up)
    generator = np.random.default_rng(0)
    for entity, start, scored, end in windows.cut(tensors, settings, generator).tolist():
        inside = [
            (low, high) for row, low, high in tensors.records.tolist()
            if row == entity and low <= start and end <= high
        ]  # fmt: skip
        assert len(inside) == 1
        low, _ = inside[0]
        assert start == max(low, scored - spin_up)
        assert 0 < end - scored <= window


def test_epochs_differ_and_repeat(read: tuple[Towers, Inputs]) -> None:
    towers, inputs = read
    settings = small(window=5, spin_up=2)
    tensors = training.to_tensors(towers, inputs, settings, CPU)
    first, again, other = (
        list(windows.epoch(tensors, inputs, settings, (0, 0, number))) for number in (1, 1, 2)
    )
    assert all(torch.equal(a.drivers, b.drivers) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0].drivers, other[0].drivers)


# --- disturbances -----------------------------------------------------------------------------

INPUTS = Inputs(
    time_step="daily",
    drivers=("TA", "SW_IN", "LAI", "EVI"),
    required=("TA", "SW_IN"),
    derived=("absorbed_light",),
    characteristics=(Characteristic(name="igbp", classes=("DBF", "ENF")),
                     Characteristic(name="lat", absolute=True)),
)  # fmt: skip
LAI, EVI, ABSORBED, LAI_FLAG, EVI_FLAG = 2, 3, 4, 5, 6


def a_batch(count: int = 200, *, lai: float = 1.0) -> Batch:
    """Windows of ones; ``lai=0`` is a batch in which LAI is missing."""
    drivers = torch.ones(count, 6, INPUTS.width)
    drivers[..., [LAI, ABSORBED, LAI_FLAG]] = lai
    characteristics = torch.tensor([[1.0, 0.0, 0.5]]).repeat(count, 1)
    return Batch(drivers, characteristics, torch.zeros(count, 6, 3), torch.ones(count, 6, 3))


def disturbed(batch: Batch, **changed: float) -> Batch:
    settings = small(**QUIET | changed)
    return windows.disturb(batch, INPUTS, settings, np.random.default_rng(0))


def test_without_disturbance_nothing_changes() -> None:
    batch = a_batch()
    after_all = disturbed(batch)
    assert after_all.undisturbed is not None
    pairs = [*zip(batch[:4], after_all[:4], strict=True), (batch.drivers, after_all.undisturbed)]
    for before, after in pairs:
        torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_absent_drivers_stay_at_zero() -> None:
    batch = disturbed(a_batch(lai=0.0), driver_offset=2.0, driver_dropout=0.5)
    assert bool((batch.drivers[..., [LAI, ABSORBED, LAI_FLAG]] == 0).all())


def test_the_offset_is_constant_over_a_window_and_spares_flags() -> None:
    batch = disturbed(a_batch(), driver_offset=0.5)
    offset = batch.drivers - 1.0
    assert bool((offset == offset[:, :1]).all())
    assert bool((offset[..., [ABSORBED, LAI_FLAG, EVI_FLAG]] == 0).all())
    np.testing.assert_allclose(offset[:, 0, :4].std(dim=0), 0.5, atol=0.1)


def test_dropped_drivers_vanish_with_flag_and_all_that_is_derived() -> None:
    drivers = disturbed(a_batch(), driver_dropout=0.5, driver_offset=0.5).drivers
    lai_gone = drivers[:, 0, LAI_FLAG] == 0
    evi_gone = drivers[:, 0, EVI_FLAG] == 0
    assert 0.1 < float(lai_gone.float().mean()) < 0.9
    assert bool((drivers[lai_gone][..., [LAI, ABSORBED]] == 0).all())
    assert bool((drivers[~lai_gone][..., ABSORBED] == 1).all())
    assert bool((drivers[evi_gone][..., EVI] == 0).all())
    assert bool(evi_gone[lai_gone].all()), "LAI goes with what comes from the same satellite"
    assert bool((drivers[..., :2] != 0).all()), "compulsory drivers stay"


def test_characteristics_are_noisy_and_hidden() -> None:
    batch = disturbed(a_batch(), characteristic_noise=0.3, characteristic_dropout=0.4)
    shown = batch.characteristics[:, 0]
    assert set(shown.tolist()) == {0.0, 1.0}
    assert 0.2 < float((shown == 0).float().mean()) < 0.6
    assert bool((batch.characteristics[:, 1] == 0).all())
    assert float(batch.characteristics[:, 2].std()) == pytest.approx(0.3, abs=0.06)


# --- settings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"members": 0}, {"hidden": 0}, {"epochs": -1}, {"seed": -1}, {"batch": 0},
        {"dropout": 1.0}, {"driver_dropout": -0.1}, {"learning_rate": 0.0}, {"clip": 0.0},
        {"learning_rate": math.nan}, {"loss_shares": (0.0, 0.0, 0.0)}, {"stop": 9, "epochs": 3},
        {"loss_shares": (1.0, 1.0)}, {"spin_up": -1}, {"window": 0},
    ],
    ids=str,
)  # fmt: skip
def test_settings_out_of_range_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=next(iter(wrong))):
        Settings(**wrong)


def test_a_setting_nobody_knows_and_epochs_of_zero_are_refused(monthly: xr.Dataset) -> None:
    with pytest.raises((ModelError, TypeError), match="epoch_count"):
        trained(monthly, settings={"epoch_count": 3})
    with pytest.raises(ModelError, match="epochs"):
        trained(monthly, epochs=0)
