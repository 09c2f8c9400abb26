"""What the tests of the fault table share: its rows, and ways to look at errors and results."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import xarray as xr

from xflux.errors import XfluxWarning

ROWS = range(1, 86)
"""Rows of the table in docs/faults.md; each has at least one test whose id starts with it."""

TARGETS = ("GPP", "Reco", "NEE")

Change = Callable[[xr.Dataset], xr.Dataset]


def row(number: int, name: str, *values: Any) -> Any:
    """A row of a table-driven test, with the row of the fault table as its id."""
    return pytest.param(*values, id=f"R{number:02d}_{name}")


def drivers_of(towers: xr.Dataset, count: int = 3) -> xr.Dataset:
    """A few entities with their drivers alone, in memory, free to be changed."""
    names = ["TA", "TA_MIN", "TA_MAX", "SW_IN", "VPD", "P", "LAI", "EVI"]
    return towers[names].isel(site=slice(0, count)).copy(deep=True)


def same(found: xr.Dataset, expected: xr.Dataset, *, atol: float = 1e-5) -> None:
    """The same fluxes, in the same places: missing values count."""
    for name in TARGETS:
        aligned = found[name].transpose(*expected[name].dims)
        np.testing.assert_allclose(
            aligned.values, expected[name].values, rtol=0, atol=atol, err_msg=name
        )


def with_units(ds: xr.Dataset, name: str, units: str | None) -> xr.Dataset:
    """The same with another ``units`` attribute on one variable, or none."""
    changed = ds.copy(deep=True)
    if units is None:
        del changed[name].attrs["units"]
    else:
        changed[name].attrs["units"] = units
    return changed


def in_units(ds: xr.Dataset, name: str, units: str, factor: float, offset: float = 0.0) -> Any:
    """The same values in another unit, in double precision, rightly labelled."""
    values = ds[name].astype("float64") * factor + offset
    return ds.assign({name: values.assign_attrs({**ds[name].attrs, "units": units})})


def mislabelled(ds: xr.Dataset, name: str, factor: float, offset: float = 0.0) -> xr.Dataset:
    """Other values under the old unit."""
    changed = ds.copy(deep=True)
    changed[name].values[...] = changed[name].values * factor + offset
    return changed


def put(ds: xr.Dataset, name: str, value: float, **where: Any) -> xr.Dataset:
    """One value at some positions of one variable."""
    changed = ds.copy(deep=True)
    changed[name][where] = value
    return changed


def follow(error: BaseException, ds: xr.Dataset) -> xr.Dataset:
    """Type the line that an error ends with, and return the Dataset after it.

    Alternatives (", or ...") and remarks after the line are left out.
    """
    found = re.search(r"[:,] (ds(?: = |\[|\.).*?)(?:, or .*|, its fills.*|, with .*)?$", str(error))
    assert found, f"no line to type in: {error}"
    names = {"ds": ds.copy(deep=True), "xr": xr, "np": np}
    exec(found[1], names)
    return names["ds"]  # type: ignore[return-value]


@contextmanager
def warned(*words: str, count: int = 1) -> Iterator[None]:
    """So many warnings of xflux, one by default, with all of these words between them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", XfluxWarning)
        yield
    texts = [str(w.message) for w in caught if issubclass(w.category, XfluxWarning)]
    assert len(texts) == count, texts
    for word in words:
        assert any(word in text for text in texts), f"{word!r} is not in: {texts}"


def says(error: BaseException, *words: str) -> None:
    """The error holds all of these words."""
    for word in words:
        assert word in str(error), f"{word!r} is not in: {error}"
