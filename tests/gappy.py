"""A small world with sea and gaps of every kind, any cuts of it, and how close is the same."""

from __future__ import annotations

import numpy as np
import xarray as xr
from hypothesis import strategies as st

import xflux
from xflux.model import FluxModel

NAN = np.float32(np.nan)
TOLERANCE = 1e-6
DRIVERS = ["TA", "TA_MIN", "TA_MAX", "SW_IN", "VPD", "P", "LAI", "EVI"]


def gappy_world(model: FluxModel, steps: int = 70) -> xr.Dataset:
    """5 by 4 cells: sea, gaps of any length, and series that start late or end early."""
    ds = xflux.datasets.load("simulated-grid", shape=(12, 18), years=1)
    ds = ds.isel(time=slice(80, 80 + steps), lat=slice(6, 11), lon=slice(8, 12))[DRIVERS].load()
    seen = next(c.classes for c in model.inputs.characteristics if c.name == "igbp")
    igbp = np.resize(np.array(seen), ds.igbp.shape)
    ds = ds.assign_coords(igbp=ds.igbp.copy(data=igbp))
    rng = np.random.default_rng(7)
    shape = (steps, 5, 4)
    for name in DRIVERS:
        values = np.nan_to_num(ds[name].values) if name != "EVI" else ds[name].values
        values = np.where(np.isfinite(values), values, 0.3).astype(np.float32)
        values = values + rng.normal(0, 0.01, shape).astype(np.float32)
        ds[name] = ds[name].copy(data=np.abs(values) if name != "TA" else values)
    sea = rng.random((5, 4)) < 0.3
    for name in DRIVERS:
        values = ds[name].values.copy()
        values[:, sea] = NAN
        ds[name] = ds[name].copy(data=values)
    holes: list[tuple[str, int, int, int, int]] = [
        (str(rng.choice(DRIVERS)), int(rng.integers(5)), int(rng.integers(4)),
         int(rng.integers(-5, steps)), int(rng.integers(1, 12)))
        for _ in range(25)
    ]  # fmt: skip
    holes += [(name, 0, 0, 0, 33) for name in DRIVERS]  # begins late
    holes += [(name, 1, 1, 40, steps) for name in DRIVERS]  # ends early
    for name, i, j, start, length in holes:
        ds[name][max(start, 0) : max(start + length, 0), i, j] = NAN
    return ds


def assert_close(found: xr.Dataset, expected: xr.Dataset, spread: float) -> None:
    """The same values and the same gaps, to a millionth of the targets' spread."""
    found = found.compute()
    assert set(found.data_vars) == set(expected.data_vars)
    for name in expected.data_vars:
        a, b = found[name].values, expected[name].values
        assert a.dtype == np.float32
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b), err_msg=str(name))
        worst = float(np.nanmax(np.abs(a - b), initial=0))
        assert worst <= TOLERANCE * spread, f"{name} differs by {worst:g}"


def cuts(size: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Any way to cut a dimension, pieces of length 1 included."""
    return st.one_of(
        st.just((1,) * size),
        st.sets(st.integers(1, size - 1), max_size=6).map(
            lambda edges: tuple(np.diff([0, *sorted(edges), size]).tolist())
        ),
    )
