"""Hypothesis profiles, the shared data, a dask cluster and the watch on what dask computes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    import xarray as xr

    from xflux.model import FluxModel

settings.register_profile(
    "default", max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=500)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "default")
)


@pytest.fixture(scope="session")
def shared_data(pytestconfig: pytest.Config) -> Path:
    """Folder of the real towers beside the project; the test is skipped where it is absent."""
    folder = pytestconfig.rootpath.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real towers (../shared/data beside the project) are not on this machine")
    return folder


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A dask.distributed client with one worker process, all of it on the loopback interface.

    A cluster without ``host`` may look up its own address, which the tests' guard against the
    network takes for a connection to the outside.
    """
    from distributed import Client, LocalCluster

    where = {"host": "127.0.0.1", "dashboard_address": None}
    with LocalCluster(n_workers=1, threads_per_worker=1, **where) as local, Client(local) as client:
        yield client


class ComputeCount:
    """A dask scheduler that counts how often something computes, and refuses beyond a limit."""

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed
        self.total = 0

    def __call__(self, graph: Any, keys: Any, **options: Any) -> Any:
        self.total += 1
        assert self.total <= self.allowed, self.complaint()
        return dask.get(graph, keys, **options)

    def complaint(self) -> str:
        return f"dask computed {self.total} times where at most {self.allowed} was allowed"


@pytest.fixture
def count_computes() -> Callable[[int], AbstractContextManager[ComputeCount]]:
    """``with count_computes(1) as count: ...`` fails when dask computes more than once in it."""

    @contextmanager
    def watch(allowed: int) -> Iterator[ComputeCount]:
        count = ComputeCount(allowed)
        with dask.config.set(scheduler=count):
            yield count
        assert count.total <= count.allowed, count.complaint()

    return watch


@pytest.fixture
def no_computes(
    count_computes: Callable[[int], AbstractContextManager[ComputeCount]],
) -> Callable[[], AbstractContextManager[ComputeCount]]:
    """``with no_computes(): ...`` fails when dask computes anything in it."""
    return lambda: count_computes(0)


@pytest.fixture(scope="session")
def checker() -> Any:
    """The suite of the IOOS compliance checker, with its tests loaded."""
    suite = pytest.importorskip("compliance_checker.suite", reason="compliance-checker is missing")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        suite.CheckSuite.load_all_available_checkers()
    return suite


@pytest.fixture(scope="session")
def some_towers() -> xr.Dataset:
    """Eight simulated towers over a year, daily, with noise, gaps and every driver."""
    import xflux

    return xflux.datasets.load("simulated-towers", sites=8, years=1, seed=1)


@pytest.fixture(scope="session")
def daily_model(some_towers: xr.Dataset) -> FluxModel:
    """A daily model of two small members, trained for moments only."""
    return some_towers.flux.train(members=2, epochs=2, hidden=8, progress=False)


@pytest.fixture(scope="session")
def monthly_model() -> FluxModel:
    """A monthly model of two small members, trained for moments only."""
    import xflux

    towers = xflux.datasets.load("simulated-towers", sites=8, years=2, time_step="monthly")
    return towers.flux.train(members=2, epochs=2, hidden=8, progress=False)
