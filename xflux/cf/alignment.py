"""What lies in another Dataset, characteristics above all: put beside, nothing joined silently."""

from __future__ import annotations

import math
from collections.abc import Hashable

import numpy as np
import xarray as xr

from xflux.errors import SchemaError


def align_characteristics(
    ds: xr.Dataset, given: xr.Dataset, *, tolerance: float | None
) -> xr.Dataset:
    """Put characteristics of another Dataset beside the drivers, without losing an entity.

    Parameters
    ----------
    ds : xr.Dataset
        Drivers.
    given : xr.Dataset
        Characteristics on the same entity dimensions.
    tolerance : float, optional
        Coordinates that differ by no more than this are the same place.

    Returns
    -------
    xr.Dataset
        ``ds`` with the characteristics; its coordinates are kept.

    Raises
    ------
    SchemaError
        The coordinates differ: nothing is joined silently.
    """
    problems = differences(ds, given, tolerance=tolerance, what="characteristics")
    if problems:
        raise SchemaError(problems, where="the characteristics")
    same = given.assign_coords({dim: ds[dim] for dim in given.dims if dim in ds.coords})
    return ds.assign({n: v for n, v in same.data_vars.items() if n not in ds.dims})


def differences(
    ds: xr.Dataset, given: xr.Dataset, *, tolerance: float | None, what: str
) -> list[str]:
    """What keeps another Dataset from lying beside the drivers, each with the line that mends it.

    Parameters
    ----------
    ds, given : xr.Dataset
    tolerance : float, optional
        Coordinates that differ by no more than this are the same place.
    what : str
        What the other Dataset holds, for the messages.
    """
    problems = []
    for dim in given.dims:
        if dim not in ds.dims:
            problems.append(
                f"{what} have the dimension {dim!r}, which the drivers have not "
                f"({', '.join(map(str, ds.dims))}): rename it, "
                f'given = given.rename({{"{dim}": "..."}})'
            )
        elif dim in ds.coords and dim in given.coords:
            problems += _differences(ds, given, dim, tolerance, what)
        elif ds.sizes[dim] != given.sizes[dim]:
            problems.append(_other_count(dim, ds.sizes[dim], given.sizes[dim], what))
    return problems


def _other_count(dim: Hashable, ours: int, theirs: int, what: str) -> str:
    return (
        f"{dim!r} has {ours} entries in the drivers and {theirs} in the {what}: select "
        f'the same, given = given.sel({dim}=ds["{dim}"])'
    )


def _differences(
    ds: xr.Dataset, given: xr.Dataset, dim: Hashable, tolerance: float | None, what: str
) -> list[str]:
    """What differs between two coordinates of one name, and the line that mends it."""
    ours, theirs = ds[dim].values, given[dim].values
    if ours.shape != theirs.shape:
        return [_other_count(dim, ours.size, theirs.size, what)]
    if (ours == theirs).all():
        return []
    if ours.dtype.kind not in "fiu" or theirs.dtype.kind not in "fiu":
        return [
            f"{dim!r} names other entities in the drivers than in the {what}, or the "
            f'same in another order: given = given.sel({dim}=ds["{dim}"])'
        ]
    largest = float(np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max())
    if tolerance is not None and largest <= tolerance:
        return []
    found = f"from {ours[0]:g} to {ours[-1]:g} in the drivers and from {theirs[0]:g} to "
    found = f"{dim!r} runs {found}{theirs[-1]:g} in the {what}"
    if np.array_equal(np.sort(ours), np.sort(theirs)):
        return [f'{found}: put them in the same order, given = given.sel({dim}=ds["{dim}"])']
    if "lon" in str(dim) and _same_meridians(ours, theirs):
        turn = f'given["{dim}"] % 360'
        if ours.min() < 0:
            turn = f'(given["{dim}"] + 180) % 360 - 180'
        return [f'{found}: turn them, given = given.assign_coords({dim}={turn}).sortby("{dim}")']
    return [
        f"{dim!r} differs by up to {largest:.3g} between drivers and {what}: if these are "
        f"the same places, tolerance={_rounded_up(largest):g}; if not, "
        f'given = given.sel({dim}=ds["{dim}"], method="nearest")'
    ]


def _same_meridians(ours: np.ndarray, theirs: np.ndarray) -> bool:
    return bool(np.allclose(np.sort(ours % 360), np.sort(theirs % 360), atol=1e-4))


def _rounded_up(number: float) -> float:
    """The next number above with one digit: 1.2e-7 gives 2e-7."""
    power = 10.0 ** math.floor(math.log10(number))
    return (math.floor(number / power) + 1) * power
