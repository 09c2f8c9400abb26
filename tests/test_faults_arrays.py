"""Faults of arrays (rows 53-58): any dtype and memory, the input untouched, nothing computed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import xarray as xr
from faulty import Change, drivers_of, follow, row, same, says

from xflux.errors import SchemaError
from xflux.model import FluxModel

NoComputes = Callable[[], AbstractContextManager[Any]]


@pytest.fixture
def drivers(some_towers: xr.Dataset) -> xr.Dataset:
    return drivers_of(some_towers)


def with_values(ds: xr.Dataset, convert: Callable[[np.ndarray], np.ndarray]) -> xr.Dataset:
    return ds.assign({n: (v.dims, convert(v.values), v.attrs) for n, v in ds.data_vars.items()})


def read_only(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values.flags.writeable = False
    return values


def rounded(ds: xr.Dataset) -> xr.Dataset:
    return with_values(ds, lambda v: np.nan_to_num(v).round().clip(0, 250).astype("f4"))


EXACT = [
    row(53, "float64", lambda v: v.astype("f8")),
    row(54, "big_endian_float32", lambda v: v.astype(">f4")),
    row(54, "big_endian_float64", lambda v: v.astype(">f8")),
    row(55, "read_only", read_only),
    row(55, "read_only_float64", lambda v: read_only(v.astype("f8"))),
    row(55, "strided", lambda v: np.repeat(v, 2, axis=1)[:, ::2]),
    row(55, "fortran_order", np.asfortranarray),
]


@pytest.mark.parametrize("convert", EXACT)
@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
def test_same_numbers_from_any_memory(
    drivers: xr.Dataset, daily_model: FluxModel, convert: Any, lazy: bool
) -> None:
    ds = with_values(drivers, convert)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = (ds.chunk(site=1) if lazy else ds).flux.predict(daily_model).load()
    same(found, drivers.flux.predict(daily_model), atol=1e-6)
    assert found["GPP"].dtype == np.dtype("float32")


WHOLE = [row(53, f"whole_numbers_{kind}", kind) for kind in ("i2", "u1", "i8", ">i4", "f2")]


@pytest.mark.parametrize("kind", WHOLE)
def test_same_numbers_from_whole_numbers(
    drivers: xr.Dataset, daily_model: FluxModel, kind: str
) -> None:
    ds = rounded(drivers.assign(EVI=drivers["EVI"] * 0, LAI=drivers["LAI"].clip(0, 14)))
    found = with_values(ds, lambda v: v.astype(kind)).flux.predict(daily_model)
    same(found, ds.flux.predict(daily_model), atol=0)


@pytest.mark.parametrize("name", [row(53, "boolean", "P")])
def test_boolean_driver(drivers: xr.Dataset, daily_model: FluxModel, name: str) -> None:
    rain = (drivers[name] > 1).assign_attrs(drivers[name].attrs)
    found = drivers.assign({name: rain}).flux.predict(daily_model)
    same(found, drivers.assign({name: rain.astype("f4")}).flux.predict(daily_model), atol=0)


@pytest.mark.parametrize("packing", [row(53, "packed", {"scale_factor": 0.01, "dtype": "i2"})])
def test_packed_netcdf(
    drivers: xr.Dataset, daily_model: FluxModel, tmp_path: Any, packing: dict[str, Any]
) -> None:
    encoding = {"TA": {**packing, "_FillValue": -32767}}
    drivers.to_netcdf(tmp_path / "packed.nc", engine="netcdf4", encoding=encoding)
    with xr.open_dataset(tmp_path / "packed.nc", engine="netcdf4") as ds:
        found = ds.flux.predict(daily_model)
        assert not found["GPP"].encoding
    same(found, drivers.flux.predict(daily_model), atol=1e-2)


NO_NUMBERS = [
    row(56, "object", lambda ds: ds.assign(TA=ds["TA"].astype(object)), "object"),
    row(56, "text", lambda ds: ds.assign(TA=ds["TA"].astype(str)), "<U"),
]


@pytest.mark.parametrize(("change", "dtype"), NO_NUMBERS)
def test_drivers_that_are_no_numbers(
    drivers: xr.Dataset, daily_model: FluxModel, change: Change, dtype: str
) -> None:
    ds = change(drivers)
    with pytest.raises(SchemaError) as caught:
        ds.flux.predict(daily_model)
    says(caught.value, "'TA' (TA) holds ", dtype, "not numbers")
    mended = follow(caught.value, ds).flux.predict(daily_model)
    same(mended, drivers.flux.predict(daily_model), atol=1e-4)


TASKS = [
    row(57, "predict", lambda ds, model: ds.flux.predict(model)),
    row(57, "predict_members", lambda ds, model: ds.flux.predict(model, members=True)),
    row(57, "predict_lazily", lambda ds, model: ds.chunk(site=2).flux.predict(model).load()),
    row(57, "evaluate", lambda ds, model: ds.flux.evaluate(model)),
    row(57, "split", lambda ds, model: ds.flux.split()),
    row(57, "train", lambda ds, model: ds.flux.train(members=1, epochs=1, hidden=4)),
    row(57, "show", lambda ds, model: (repr(ds.flux), ds.flux._repr_html_())),
]


@pytest.mark.parametrize("task", TASKS)
def test_input_is_never_changed(
    some_towers: xr.Dataset, daily_model: FluxModel, task: Callable[..., Any]
) -> None:
    ds = some_towers.copy(deep=True)
    ds["TA"][0, 100] = np.nan
    ds["TA"] = (ds["TA"] + 273.15).assign_attrs(ds["TA"].attrs, units="K")
    ds["TA"].encoding = {"dtype": "int16", "scale_factor": 0.01}
    before = ds.copy(deep=True)
    task(ds, daily_model)
    xr.testing.assert_identical(ds, before)
    assert ds["TA"].encoding == before["TA"].encoding
    assert all(ds[n].dtype == before[n].dtype for n in ds.variables)


@pytest.mark.parametrize("result", [row(57, "result_is_apart", "site")])
def test_changing_the_result_leaves_the_input(
    some_towers: xr.Dataset, daily_model: FluxModel, result: str
) -> None:
    ds = some_towers.copy(deep=True)
    before = ds.copy(deep=True)
    found = ds.flux.predict(daily_model)
    found["GPP"].values[...] = 0
    found["lat"].attrs["units"] = "elsewhere"
    found.attrs["title"] = "mine"
    xr.testing.assert_identical(ds, before)


LAZY = [
    row(58, "lazy_drivers", {}),
    row(58, "lazy_characteristics", {"igbp": -1, "lat": -1}),
]


@pytest.mark.parametrize("also", LAZY)
@pytest.mark.parametrize("members", [False, True], ids=["mean", "members"])
def test_predicting_computes_nothing(
    drivers: xr.Dataset,
    daily_model: FluxModel,
    no_computes: NoComputes,
    also: dict[str, int],
    members: bool,
) -> None:
    ds = drivers.chunk(site=1)
    ds = ds.assign_coords({name: ds[name].chunk(site=size) for name, size in also.items()})
    with no_computes():
        found = ds.flux.predict(daily_model, members=members)
    expected = drivers.flux.predict(daily_model, members=members)
    same(found.load(), expected)
