"""Clusters of entities: who is so near to whom that they must not be told apart."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from xflux.errors import DataError, XfluxWarning

EARTH_RADIUS_KM = 6371.0088
_PAIRS_AT_ONCE = 2_000_000


def clusters(lat: ArrayLike, lon: ArrayLike, *, distance_km: float = 30.0) -> np.ndarray:
    """Group entities that are linked by steps shorter than a distance.

    Two entities closer than `distance_km` on the sphere are in one cluster, and so are all that
    a chain of such neighbours connects (single linkage).

    Parameters
    ----------
    lat, lon : array_like
        Latitude in degrees north and longitude in degrees east (either convention), in any
        shape, the same for both.
    distance_km : float, default 30
        Length of a link in km, on a sphere with the mean Earth radius of 6371.0088 km.

    Returns
    -------
    numpy.ndarray of int
        The cluster of each entity, in the shape of `lat`, numbered by first appearance.

    Raises
    ------
    DataError
        Shapes differ, a latitude is outside -90..90, or the distance is not positive.

    Warns
    -----
    XfluxWarning
        Some coordinates are missing: each of those entities is a cluster of its own.

    Examples
    --------
    Two towers 11 km apart, and one on another continent:

    >>> clusters([50.0, 50.1, -35.0], [11.0, 11.0, 150.0]).tolist()
    [0, 0, 1]
    """
    north, east = np.asarray(lat, dtype=float), np.asarray(lon, dtype=float)
    if north.shape != east.shape:
        raise DataError(
            f"lat has shape {north.shape} and lon {east.shape}; expected one of each for every "
            "entity. For a grid, broadcast first: lat, lon = xr.broadcast(ds.lat, ds.lon)"
        )
    if not (np.isfinite(distance_km) and distance_km > 0):
        raise DataError(
            f"distance_km={distance_km!r}; expected a positive number of kilometres, for example "
            "clusters(lat, lon, distance_km=30)"
        )
    if np.any(np.abs(north) > 90):
        raise DataError(
            f"latitudes reach {np.nanmin(north):g} to {np.nanmax(north):g}; expected degrees "
            "north within -90..90. Were they swapped? clusters(lat=ds.lat, lon=ds.lon)"
        )
    known = np.isfinite(north) & np.isfinite(east)
    if not known.all():
        warnings.warn(
            f"{(~known).sum()} of {known.size} entities have no coordinates: each is taken as a "
            "cluster of its own, although it may lie beside another. Give them lat and lon to "
            "have them grouped",
            XfluxWarning,
            stacklevel=2,
        )
    labels = np.arange(north.size)
    labels[known.ravel()] = north.size + _linked(north[known], east[known], distance_km)
    return pd.factorize(labels)[0].astype(int).reshape(north.shape)


def _linked(lat: np.ndarray, lon: np.ndarray, distance_km: float) -> np.ndarray:
    """Label the connected components of points (n,) in degrees, in blocks of pairs."""
    phi, lam = np.radians(lat), np.radians(lon)
    points = np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)
    points, place = np.unique(points, axis=0, return_inverse=True)
    labels = np.arange(len(points))
    if len(points) < 2:
        return labels[place.ravel()]
    angle = min(distance_km / (2.0 * EARTH_RADIUS_KM), np.pi / 2)
    chord = 2.0 * np.sin(angle)
    tree = cKDTree(points)
    near = tree.count_neighbors(tree, chord) / len(points)
    step = max(1, math.ceil(len(points) * near / _PAIRS_AT_ONCE))
    for start in range(step):
        some = cKDTree(points[start::step])
        pairs = some.sparse_distance_matrix(tree, chord, output_type="ndarray")
        pairs = pairs[pairs["v"] < chord]
        one, other = labels[pairs["i"] * step + start], labels[pairs["j"]]
        links = coo_array((np.ones(one.size, bool), (one, other)), shape=(len(points),) * 2)
        labels = connected_components(links, directed=False)[1][labels]
        if labels.max() == 0:
            break
    return labels[place.ravel()]
