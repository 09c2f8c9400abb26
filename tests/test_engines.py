"""Both engines against the members as they are trained, their choice, and the way to a device."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import itertools
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xflux
from xflux.errors import ModelError
from xflux.features import Assembled
from xflux.model import FluxModel
from xflux.networks.ct_lstm import Member, State
from xflux.prediction import engines, ensemble, kernel, transfer
from xflux.prediction.kernel import Memory

TOLERANCE = 1e-6
SPANS = (3.0, 30.0)
DRIVERS, AVERAGED, CHARACTERISTICS, MEMBERS = 5, 3, 4, 2

needs_llvmlite = pytest.mark.skipif(
    importlib.util.find_spec("llvmlite") is None or not engines._lanes()[0],
    reason=f"compiled code does not run here: {engines._lanes()[1]}",
)
ENGINES = [
    "torch",
    pytest.param("fused", marks=needs_llvmlite),
    pytest.param("fused, 16 lanes", marks=needs_llvmlite),
]


@functools.cache
def members_of(hidden: int, characteristics: int = CHARACTERISTICS) -> tuple[Member, ...]:
    with torch.random.fork_rng():
        torch.manual_seed(hidden)
        made = [
            Member(DRIVERS, AVERAGED, characteristics, hidden, spans=SPANS) for _ in range(MEMBERS)
        ]
    for number, member in enumerate(made):
        member.spread.copy_(torch.tensor([1.0, 0.5 + number]))
    return tuple(member.eval().requires_grad_(False) for member in made)


def weights_of(members: tuple[Member, ...]) -> list[dict[str, np.ndarray]]:
    return [{name: v.numpy() for name, v in member.state_dict().items()} for member in members]


@functools.cache
def engine_of(name: str, hidden: int, characteristics: int = CHARACTERISTICS) -> Any:
    members = members_of(hidden, characteristics)
    if name == "torch":
        return kernel.Engine(members, drivers=DRIVERS)
    from xflux.prediction import fused

    lanes = 16 if "16" in name else engines._lanes()[0]
    return fused.Engine(weights_of(members), drivers=DRIVERS, lanes=lanes)


def beginning(hidden: int, count: int) -> Memory:
    state = torch.zeros(MEMBERS, count, hidden)
    return Memory(state, state.clone(), torch.zeros(count, len(SPANS), AVERAGED))


def inputs_of(seed: int, count: int, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    drivers = rng.normal(size=(count, steps, DRIVERS)).astype(np.float32)
    fixed = rng.normal(size=(count, CHARACTERISTICS)).astype(np.float32)
    return torch.from_numpy(drivers), torch.from_numpy(fixed)


def advance(
    engine: Any, drivers: torch.Tensor, fixed: torch.Tensor, hidden: int, edges: list[int]
) -> tuple[torch.Tensor, Memory]:
    """Run over a series, cut at ``edges`` and wherever the engine's stride ends."""
    count, steps, _ = drivers.shape
    memory, parts = beginning(hidden, count), []
    cuts = sorted({0, *edges, *range(0, steps, engine.stride), steps})
    with torch.inference_mode():
        for first, last in itertools.pairwise(cuts):
            run = torch.full((count,), float(first), dtype=torch.float64)
            fluxes, memory = engine.advance(drivers[:, first:last], fixed, memory, run)
            parts.append(fluxes)
    return torch.cat(parts, dim=2), memory


# --- the numbers ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENGINES)
@settings(max_examples=12)
@given(
    seed=st.integers(0, 1000),
    hidden=st.sampled_from([1, 7, 20, 64]),
    count=st.integers(1, 130),
    steps=st.integers(1, 200),
    data=st.data(),
)
def test_an_engine_equals_the_members(
    name: str, seed: int, hidden: int, count: int, steps: int, data: st.DataObject
) -> None:
    hidden = 20 if "16" in name else hidden
    drivers, fixed = inputs_of(seed, count, steps)
    edges = data.draw(st.lists(st.integers(0, steps), max_size=4))
    found, end = advance(engine_of(name, hidden), drivers, fixed, hidden, edges)
    for m, member in enumerate(members_of(hidden)):
        fluxes, after = member(drivers, fixed)
        torch.testing.assert_close(found[m], fluxes.mean(dim=0), rtol=0, atol=2 * TOLERANCE)
        assert isinstance(after, State)
        torch.testing.assert_close(end.hidden[m], after.hidden[0], rtol=0, atol=2 * TOLERANCE)
        # a cell adds up over all steps and has no bound: what counts is the share
        torch.testing.assert_close(
            end.cell[m], after.cell[0], rtol=2 * TOLERANCE, atol=4 * TOLERANCE
        )
        torch.testing.assert_close(end.sums, after.sums, rtol=0, atol=2 * TOLERANCE)


@needs_llvmlite
@given(seed=st.integers(0, 1000), count=st.integers(1, 60), data=st.data())
def test_compiled_code_gives_a_series_the_same_bits_in_any_company(
    seed: int, count: int, data: st.DataObject
) -> None:
    drivers, fixed = inputs_of(seed, count, 9)
    engine = engine_of("fused", 8)
    together, end = advance(engine, drivers, fixed, 8, [])
    some = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1)))
    alone, last = advance(engine, drivers[some], fixed[some], 8, [])
    assert torch.equal(together[:, some], alone)
    assert torch.equal(end.cell[:, some], last.cell)


@needs_llvmlite
@pytest.mark.parametrize(("count", "steps"), [(0, 3), (3, 0)])
def test_no_series_or_no_steps_leave_the_memory_as_it_was(count: int, steps: int) -> None:
    drivers, fixed = inputs_of(0, count, steps)
    before = beginning(8, count)
    before.cell.fill_(0.5)
    run = torch.zeros(count, dtype=torch.float64)
    fluxes, after = engine_of("fused", 8).advance(drivers, fixed, before, run)
    assert fluxes.shape == (MEMBERS, count, steps, 2)
    assert torch.equal(after.cell, before.cell)


@needs_llvmlite
def test_a_missing_number_stays_missing_and_alone() -> None:
    drivers, fixed = inputs_of(0, 30, 6)
    drivers[4, 3, 1] = math.nan
    found, _ = advance(engine_of("fused", 8), drivers, fixed, 8, [])
    expected = torch.zeros(30, 6, dtype=torch.bool)
    expected[4, 3:] = True
    assert torch.equal(found.isnan().all(dim=(0, 3)), expected)


@pytest.mark.parametrize("name", ENGINES)
def test_members_without_characteristics(name: str) -> None:
    drivers, _ = inputs_of(0, 5, 6)
    fixed = torch.zeros(5, 0)
    found, _ = advance(engine_of(name, 8, 0), drivers, fixed, 8, [])
    for m, member in enumerate(members_of(8, 0)):
        wanted = member(drivers, fixed)[0].mean(dim=0)
        torch.testing.assert_close(found[m], wanted, rtol=0, atol=TOLERANCE)


@needs_llvmlite
@pytest.mark.parametrize("wrong", range(6))
def test_compiled_code_is_never_given_arrays_of_other_sizes(wrong: int) -> None:
    drivers, fixed = inputs_of(0, 5, 6)
    arrays = [drivers, fixed, *beginning(8, 5), torch.zeros(5, dtype=torch.float64)]
    arrays[wrong] = arrays[wrong][..., :-1]
    drivers, fixed, *state, run = arrays
    with pytest.raises(ValueError, match="was expected"):
        engine_of("fused", 8).advance(drivers, fixed, Memory(*state), run)


@needs_llvmlite
def test_threads_do_not_disturb_each_other() -> None:
    drivers, fixed = inputs_of(0, 100, 40)
    engine = engine_of("fused", 20)
    expected = advance(engine, drivers, fixed, 20, [])[0]
    found: dict[int, torch.Tensor] = {}

    def work(number: int) -> None:
        found[number] = advance(engine, drivers, fixed, 20, [])[0]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[number], expected) for number in range(4))


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


REFERENCES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "exp": np.exp,
    "sigmoid": sigmoid,
    "silu": lambda x: x * sigmoid(x),
    "softplus": softplus,
    "tanh": np.tanh,
}


@needs_llvmlite
@pytest.mark.parametrize("name", REFERENCES)
def test_activations_equal_those_of_numpy(name: str) -> None:
    from llvmlite import binding

    from xflux.prediction.fused_step import compile_function
    from xflux.prediction.vector_code import I64, POINTER, Code, Tile

    code = Code(Tile(8, 2, 4))
    count, given_rows, found_rows = code.function("apply", [I64, POINTER, POINTER]).args
    with code.loop(count) as turn:
        values = code.load(given_rows, turn.index)
        function = getattr(code, name)
        code.store([function(value) for value in values], found_rows, turn.index)
    code.builder.ret_void()
    address, owner = compile_function(code.module, "apply")
    assert isinstance(owner, binding.ExecutionEngine)
    x = np.concatenate([np.linspace(-85, 85, 8000), np.geomspace(1e-8, 1, 96), [np.nan] * 16])
    x = x.astype(np.float32)
    found = np.empty_like(x)
    kind = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)
    kind(address)(len(x) // 16, x.ctypes.data, found.ctypes.data)
    assert np.isnan(found[-16:]).all()
    x, found = x[:-16].astype(np.float64), found[:-16]
    expected = REFERENCES[name](x)
    allowed = 2e-7 if name == "tanh" else 1e-7 * (3 + np.abs(x)) * np.abs(expected)
    assert (np.abs(found - expected) <= allowed).all()
    assert name in ("tanh", "silu") or (found >= 0).all()


# --- the whole prediction ---------------------------------------------------------------------


@pytest.fixture
def with_engine(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda name: monkeypatch.setenv("XFLUX_ENGINE", name)


@needs_llvmlite
@pytest.mark.filterwarnings("ignore:.*predicted without it there")
def test_two_years_of_the_bundled_ensemble(with_engine: Callable[[str], None]) -> None:
    model = xflux.load_model("daily")
    towers = xflux.datasets.load("simulated-towers", sites=20, years=2, seed=3)
    towers = towers.assign_coords(igbp=("site", np.resize(["ENF", "GRA", "CRO", "EBF"], 20)))
    found = {}
    for name in ("torch", "fused"):
        with_engine(name)
        found[name] = towers.flux.predict(model, members=True)
    for flux, spread in zip(("GPP", "Reco"), model.weights[0]["spread"], strict=True):
        differs = np.abs(found["fused"][flux].values - found["torch"][flux].values)
        assert np.isfinite(differs).sum() > 20 * 500
        worst = float(np.nanmax(differs)) / float(spread)
        assert worst <= TOLERANCE, f"{flux} differs by {worst:.1e} of its spread"


@needs_llvmlite
@settings(max_examples=10)
@given(seed=st.integers(0, 1000), steps=st.integers(1, 150), gaps=st.sampled_from([0, 0.02, 0.5]))
def test_blocks_with_gaps_by_both_engines(
    daily_model: FluxModel, seed: int, steps: int, gaps: float
) -> None:
    rng = np.random.default_rng(seed)
    inputs, count = daily_model.inputs, 30
    drivers = rng.normal(size=(count, steps, inputs.width)).astype(np.float32)
    fixed = rng.normal(size=(count, inputs.characteristic_width)).astype(np.float32)
    usable = rng.random((count, steps)) >= gaps
    block = Assembled(drivers, fixed, usable, ~usable)
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        for name in ("torch", "fused"):
            patch.setenv("XFLUX_ENGINE", name)
            found[name] = ensemble.run(daily_model.members, block, keep=True)
    spread = float(daily_model.weights[0]["spread"].max())
    (one, memory), (two, other) = found.values()
    np.testing.assert_allclose(one, two, rtol=0, atol=TOLERANCE * spread)
    for name in ("hidden", "cell", "sums"):
        np.testing.assert_allclose(
            getattr(memory, name), getattr(other, name), rtol=0, atol=4 * TOLERANCE
        )


def test_bfloat16_is_close_and_float32_is_what_is_kept(
    some_towers: xr.Dataset, daily_model: FluxModel
) -> None:
    ds = some_towers.isel(time=slice(120))
    exact = ds.flux.predict(daily_model)
    rough, state = ds.flux.predict(daily_model, precision="bfloat16", return_state=True)
    assert state.hidden_state.dtype == rough.GPP.dtype == np.float32
    spread = float(daily_model.weights[0]["spread"].min())
    worst = float(np.abs(rough.GPP - exact.GPP).max()) / spread
    assert 1e-5 < worst < 0.05


@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
def test_an_unknown_precision_is_refused(
    some_towers: xr.Dataset, daily_model: FluxModel, lazy: bool
) -> None:
    ds = some_towers.chunk(time=50) if lazy else some_towers
    with pytest.raises(ModelError, match="precision='half' is not known: give \"float32\""):
        ds.flux.predict(daily_model, precision="half")


def test_members_with_different_spans_are_refused() -> None:
    members = [Member(5, 3, 4, 8, spans=spans) for spans in ((3.0, 7.0), (3.0, 8.0))]
    with pytest.raises(ModelError, match="different spans"):
        engines.build(weights_of(tuple(members)), 5, device="cpu")


# --- which engine -----------------------------------------------------------------------------


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Lets a test pretend to be on another machine."""
    monkeypatch.delenv("XFLUX_ENGINE", raising=False)
    engines._lanes.cache_clear()
    yield monkeypatch
    engines._lanes.cache_clear()


def test_without_llvmlite_torch_predicts_and_says_why(processor: pytest.MonkeyPatch) -> None:
    processor.setattr("importlib.util.find_spec", lambda name: None)
    name, reason, _ = engines.choose()
    assert (name, reason) == ("torch", "llvmlite is not installed: pip install 'xflux[fast]'")
    processor.setenv("XFLUX_ENGINE", "fused")
    with pytest.raises(ModelError, match=r"XFLUX_ENGINE=fused cannot be: llvmlite is not inst"):
        engines.choose()


@needs_llvmlite
@pytest.mark.parametrize(
    ("machine", "features", "expected"),
    [
        ("x86_64", {"avx2": True, "fma": True, "avx512f": True}, ("fused", "AVX-512", 16)),
        ("AMD64", {"avx2": True, "fma": True, "avx512f": False}, ("fused", "AVX2", 8)),
        ("x86_64", {"avx": True}, ("torch", r"has no AVX2", 0)),
        ("arm64", {"neon": True}, ("torch", "not for arm64", 0)),
    ],
)
def test_the_processor_decides(
    processor: pytest.MonkeyPatch, machine: str, features: dict[str, bool], expected: Any
) -> None:
    processor.setattr("platform.machine", lambda: machine)
    processor.setattr("llvmlite.binding.get_host_cpu_features", lambda: features)
    name, reason, lanes = engines.choose()
    assert (name, lanes) == (expected[0], expected[2])
    assert expected[1] in reason


def test_torch_where_compiled_code_cannot_or_must_not_run(processor: pytest.MonkeyPatch) -> None:
    assert engines.choose("cuda") == ("torch", "the device is cuda", 0)
    assert engines.choose("cpu", "bfloat16") == ("torch", "the precision is bfloat16", 0)
    processor.setenv("XFLUX_ENGINE", "torch")
    assert engines.choose() == ("torch", "XFLUX_ENGINE=torch", 0)
    processor.setenv("XFLUX_ENGINE", "fast")
    with pytest.raises(ModelError, match="XFLUX_ENGINE='fast' is no engine"):
        engines.choose()


# --- the way to a device ----------------------------------------------------------------------


def test_each_piece_is_read_when_the_next_is_under_way() -> None:
    events: list[str] = []

    def made() -> Iterator[int]:
        for number in range(3):
            events.append(f"begin {number}")
            yield number

    for number in transfer.one_behind(made()):
        events.append(f"read {number}")
    assert events == ["begin 0", "begin 1", "read 0", "begin 2", "read 1", "read 2"]
    assert list(transfer.one_behind([])) == []


class FakeGPU:
    """Stands for the parts of torch.cuda that `Transfer` uses, and writes down what happens."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.events: list[str] = []
        patch.setattr(torch.cuda, "Stream", lambda device: self.stream("copying"))
        patch.setattr(torch.cuda, "current_stream", lambda device: self.stream("computing"))
        patch.setattr(torch.cuda, "stream", contextlib.nullcontext)
        patch.setattr(torch.cuda, "Event", lambda: self)
        patch.setattr(torch.Tensor, "pin_memory", lambda tensor: self.note("pin") or tensor)
        patch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: self.note("keep"))
        empty = torch.empty
        patch.setattr(torch, "empty", lambda shape, dtype, pin_memory: empty(shape, dtype=dtype))

    def note(self, event: str) -> None:
        self.events.append(event)

    def stream(self, name: str) -> Any:
        gpu = self

        class Stream:
            def wait_stream(self, other: Any) -> None:
                gpu.note(f"{name} waits")

        return Stream()

    def record(self, stream: Any) -> None:
        self.note("mark")

    def synchronize(self) -> None:
        self.note("wait")


def test_copies_to_a_gpu_wait_only_where_numbers_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGPU(monkeypatch)
    way = transfer.Transfer(torch.device("cuda"))
    way.device = torch.device("cpu")
    sent = way.send(np.arange(3.0))
    arriving = way.fetch(sent * 2)
    assert gpu.events == ["pin", "computing waits", "keep", "mark"]
    np.testing.assert_array_equal(arriving(), [0, 2, 4])
    assert gpu.events[-1] == "wait"


def test_a_gpu_has_one_block_at_a_time_and_no_tf32() -> None:
    before = torch.backends.cudnn.allow_tf32
    with transfer.alone(torch.device("cuda")):
        assert not torch.backends.cudnn.allow_tf32
        assert torch.backends.cudnn.enabled
        assert not transfer._GPU.acquire(blocking=False)
    assert torch.backends.cudnn.allow_tf32 == before
    assert not transfer._GPU.locked()
    with transfer.alone(torch.device("cpu")):
        assert not transfer._GPU.locked()


def test_a_gpu_takes_as_many_series_as_its_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = kernel.Engine(members_of(8), drivers=DRIVERS)
    engine.device = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**30, 2**34))
    many = engine.at_once(1000)
    assert 1e3 < many < 1e5
    assert engine.at_once(1) > 10 * many
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**14, 2**34))
    assert engine.at_once(1000) == kernel.TILE


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("lazy", [False, True])
def test_a_device_that_is_not_there(lazy: bool) -> None:
    grid = xflux.datasets.load("simulated-grid", shape=(2, 3), years=1)
    with pytest.raises(ModelError, match='leave it out, or device="cpu"'):
        (grid.chunk(lat=1) if lazy else grid).flux.predict(device="cuda").compute()
