"""A simulated world with a known law: towers to learn from and a grid to predict, with no network.

The formulas are in `xflux.simulated.law`, the Earth in `xflux.simulated.earth`. Here they
become Datasets:
towers are placed and measured as towers are, with gaps and noise, and grids are made eagerly or
lazily. The same seed gives the same numbers, whatever the chunks.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xflux.cf.metadata import ready_to_write
from xflux.cf.variables import BY_NAME
from xflux.errors import DataError
from xflux.simulated import earth, law

TimeStep = Literal["daily", "monthly"]
Chunks = Mapping[str, int | str] | str | None
_EPOCH = np.datetime64("2001-01-01", "D")
_DIMS = ("time", "lat", "lon")
_MIX = (
    "ENF GRA CRO DBF MF EBF SAV OSH WSA ENF GRA CRO DBF EBF WET CSH ENF GRA CRO DBF CVM MF BSV DNF"
)
_SOURCE = "simulated: process formulas on an Earth of simple rules, not measured"
_REFERENCES = (
    "Allen et al. 1998, FAO Irrigation and Drainage Paper 56; "
    "Running et al. 2004, doi:10.1641/0006-3568(2004)054[0547:ACSMOG]2.0.CO;2; "
    "Lloyd and Taylor 1994, doi:10.2307/2389824; "
    "Migliavacca et al. 2011, doi:10.1111/j.1365-2486.2010.02243.x"
)


def towers(
    *,
    sites: int = 120,
    years: int = 4,
    time_step: TimeStep = "daily",
    seed: int = 0,
    noise: bool = True,
) -> xr.Dataset:
    """Return simulated flux towers whose law is known.

    Weather, leaves and fluxes follow published process formulas: FAO-56 radiation and humidity,
    light use limited by cold, dry air and soil water, and respiration after Lloyd and Taylor
    coupled to recent productivity. The law depends on the drivers, their history and the land
    cover alone. Towers stand on land, a quarter of them within 30 km of another. Their records
    start and end at different times; long outages leave gaps in the targets, whose random error
    grows with the flux.

    Parameters
    ----------
    sites : int
        How many towers. The first towers do not depend on how many follow.
    years : int
        Length of the time axis, from 2001-01-01.
    time_step : {"daily", "monthly"}
        Monthly values are means of the daily ones, stamped on the first of the month; targets
        need half of the days.
    seed : int
        Seed of the towers, their weather and their noise.
    noise : bool
        With False, every record is whole and the targets are the law itself.

    Returns
    -------
    xr.Dataset
        Dims (site, time), float32. Drivers TA, TA_MIN, TA_MAX [degC], SW_IN [W m-2], VPD [hPa],
        P [mm d-1], LAI, EVI [1]; targets GPP, Reco, NEE [g m-2 d-1 of carbon], NEE = Reco - GPP,
        and NEE_QC [1]; the law GPP_true, Reco_true, NEE_true; coords lat, lon, elevation, igbp,
        climate.

    Raises
    ------
    DataError
        If a number is not positive, or the time step has another name.

    References
    ----------
    Allen et al. 1998 (FAO Irrigation and Drainage Paper 56); Running et al. 2004,
    doi:10.1641/0006-3568(2004)054[0547:ACSMOG]2.0.CO;2; Lloyd and Taylor 1994,
    doi:10.2307/2389824; Migliavacca et al. 2011, doi:10.1111/j.1365-2486.2010.02243.x.

    Examples
    --------
    >>> import xflux.simulated.world
    >>> ds = xflux.simulated.world.towers(sites=4, years=1, time_step="monthly")
    >>> dict(ds.sizes)
    {'site': 4, 'time': 12}
    >>> bool(abs(ds.NEE - (ds.Reco - ds.GPP)).max() < 1e-5)
    True
    """
    _check(time_step=time_step, sites=sites, years=years, seed=seed)
    days = _days(years)
    places = _placed(sites, seed)
    daily = _series(places, int(days[0]), days, seed, truth=True)
    for name in ("GPP", "Reco"):
        daily[name] = daily[f"{name}_true"].copy()
    daily["NEE_QC"] = np.ones_like(daily["GPP"])
    if noise:
        for row in range(sites):
            law.measure({name: values[row] for name, values in daily.items()}, row, seed=seed)
    if time_step == "monthly":
        daily = {name: _monthly(values, days, name) for name, values in daily.items()}
    single = {name: values.astype(np.float32) for name, values in daily.items()}
    single["NEE"] = single["Reco"] - single["GPP"]
    order = (*law.DRIVERS, "GPP", "Reco", "NEE", "NEE_QC", *law.TRUTH)
    ds = xr.Dataset(
        {name: (("site", "time"), single[name]) for name in order},
        {
            "site": [f"SIM-{i + 1:03d}" for i in range(sites)],
            "time": _stamps(days, time_step),
            "lat": ("site", places.lat),
            "lon": ("site", places.lon),
            "elevation": ("site", places.elevation.astype(np.float32)),
            "igbp": ("site", np.array(law.IGBP)[places.igbp]),
            "climate": ("site", earth.climate_class(places)),
        },
    )
    ds.site.attrs.update(long_name="tower", cf_role="timeseries_id")
    call = f"towers(sites={sites}, years={years}, time_step={time_step!r}, seed={seed})"
    ds.attrs["featureType"] = "timeSeries"
    return _described(ds, "Simulated flux towers", call, time_step)


def grid(
    *,
    shape: tuple[int, int] = (36, 72),
    years: int = 1,
    time_step: TimeStep = "daily",
    seed: int = 0,
    chunks: Chunks = None,
    truth: bool | None = None,
) -> xr.Dataset:
    """Return the simulated world as a global map, of any size, lazily when asked.

    The Earth is a coarse one made of rules: outlines drawn by eye, smooth mountains, and land
    cover from temperature and aridity. Sea, lakes and Antarctica are NaN.

    Parameters
    ----------
    shape : (int, int)
        Number of latitudes and longitudes.
    years : int
        Length of the time axis, from 2001-01-01.
    time_step : {"daily", "monthly"}
        Monthly values are means of the daily ones, stamped on the first of the month.
    seed : int
        Seed of the weather. The Earth is always the same.
    chunks : mapping or "auto", optional
        With chunks, such as ``{"time": 30}`` or ``{"lat": 30, "lon": 30}``, the Dataset is
        backed by dask and each block is made when it is computed, with the same numbers for any
        chunks. Dims that are not named stay whole; "auto" keeps time whole.
    truth : bool, optional
        Whether to add the noise-free fluxes. By default only without chunks: the fluxes
        remember, so each block of theirs runs from the first day.

    Returns
    -------
    xr.Dataset
        Dims (time, lat, lon), float32: the drivers of `towers` and, with truth, GPP_true,
        Reco_true and NEE_true [g m-2 d-1 of carbon]; coords elevation, igbp and climate.

    Raises
    ------
    DataError
        If a number is not positive, the time step has another name, or chunks name another dim.

    Examples
    --------
    >>> import xflux.simulated.world
    >>> world = xflux.simulated.world.grid(shape=(18, 36), time_step="monthly")
    >>> dict(world.sizes)
    {'time': 12, 'lat': 18, 'lon': 36}
    >>> north = world.GPP_true.sel(lat=slice(40, 60)).mean(("lat", "lon"))
    >>> bool(north[6] > 5 * north[0])
    True
    """
    rows, columns = shape
    _check(time_step=time_step, years=years, seed=seed, rows=rows, columns=columns)
    truth = chunks is None if truth is None else truth
    days = _days(years)
    stamps = _stamps(days, time_step)
    lat = (np.arange(rows) + 0.5) * 180 / rows - 90
    lon = (np.arange(columns) + 0.5) * 360 / columns - 180
    world = _World(stamps, lat, lon, time_step, seed, truth)
    if chunks is None:
        values = _block(world, (slice(None),) * 3)
    else:
        values = _lazy(world, chunks)
    land, places = _land(lat.tobytes(), lon.tobytes())
    ds = xr.Dataset(
        {name: (_DIMS, values[i]) for i, name in enumerate(world.names)},
        {
            "time": stamps,
            "lat": lat,
            "lon": lon,
            "elevation": (_DIMS[1:], _spread(land, places.elevation.astype(np.float32), np.nan)),
            "igbp": (_DIMS[1:], _spread(land, np.array(law.IGBP)[places.igbp], "WAT")),
            "climate": (_DIMS[1:], _spread(land, earth.climate_class(places), "")),
        },
    )
    call = f"grid(shape={shape}, years={years}, time_step={time_step!r}, seed={seed})"
    return _described(ds, "A simulated world", call, time_step)


def _check(*, time_step: str, **numbers: Any) -> None:
    if time_step not in ("daily", "monthly"):
        raise DataError(
            f'found time_step={time_step!r}, expected "daily" or "monthly". Type time_step="daily".'
        )
    for name, number in numbers.items():
        least = 0 if name == "seed" else 1
        if not isinstance(number, int | np.integer) or number < least:
            raise DataError(
                f"found {name}={number!r}, expected a whole number from {least} on. "
                f"Type {name}={least}."
            )


def _days(years: int) -> NDArray[np.float64]:
    """Days since 2001-01-01 of whole calendar years."""
    end = np.datetime64(f"{2001 + years}-01-01", "D")
    return np.arange(int((end - _EPOCH).astype(int))).astype(np.float64)


def _stamps(days: NDArray[np.float64], time_step: str) -> NDArray[np.datetime64]:
    dates = _EPOCH + days.astype("timedelta64[D]")
    if time_step == "monthly":
        dates = np.unique(dates.astype("datetime64[M]"))
    return dates.astype("datetime64[ns]")


def _monthly(values: law.Array, days: NDArray[np.float64], name: str = "") -> law.Array:
    """Means by calendar month of (entity, day); targets need half of the days, drivers all."""
    months = (_EPOCH + days.astype("timedelta64[D]")).astype("datetime64[M]")
    first = np.flatnonzero(np.r_[True, months[1:] != months[:-1]])
    length = np.diff(np.r_[first, days.size])
    there = np.isfinite(values)
    count = np.add.reduceat(there, first, axis=1, dtype=np.int64)
    total = np.add.reduceat(np.where(there, values, 0.0), first, axis=1)
    enough = count >= (length / 2 if name in ("GPP", "Reco") else length)
    return np.where(enough, total / np.maximum(count, 1), np.nan)


def _series(
    places: law.Places, origin: int, days: NDArray[np.float64], seed: int, *, truth: bool
) -> dict[str, law.Array]:
    """Daily values of (place, day); the states start `SPIN_UP` days before the origin."""
    begin = origin - law.SPIN_UP if truth else days[0]
    drivers = law.weather(places, np.arange(begin, days[-1] + 1), seed=seed)
    everything = drivers | (law.fluxes(places, drivers) if truth else {})
    del everything["RA"]
    return {name: values[:, -days.size :] for name, values in everything.items()}


# --- towers -----------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def _catalogue() -> law.Places:
    """Land points a degree apart on which towers may stand, nearly even in area."""
    lat, lon = np.meshgrid(np.arange(-54.5, 72), np.arange(-179.5, 180), indexing="ij")
    keep = earth.is_land(lat.ravel(), lon.ravel())
    keep &= np.arange(keep.size) * 0.618034 % 1 < np.cos(np.radians(lat.ravel()))
    return earth.earth(lat.ravel()[keep], lon.ravel()[keep])


def _placed(sites: int, seed: int) -> law.Places:
    """Towers in a fixed mix of land covers; every fourth one stands near the one before it."""
    catalogue, kinds = _catalogue(), _MIX.split()
    lat, lon, height = np.empty((3, sites))
    kind = np.empty(sites, np.intp)
    lonely = 0
    for i in range(sites):
        rng = np.random.default_rng([seed, 1, i])
        height[i] = rng.normal(0, 40)
        if i % 4 == 3:
            distance, bearing = rng.uniform(3, 20) / 111.2, rng.uniform(0, 2 * np.pi)
            lat[i] = lat[i - 1] + distance * np.cos(bearing)
            lon[i] = lon[i - 1] + distance * np.sin(bearing) / np.cos(np.radians(lat[i - 1]))
            kind[i] = kind[i - 1] if rng.random() < 0.6 else law.IGBP.index("GRA")
        else:
            kind[i] = law.IGBP.index(kinds[lonely % len(kinds)])
            lonely += 1
            point = rng.choice(np.flatnonzero(catalogue.igbp == kind[i]))
            lat[i] = catalogue.lat[point] + rng.uniform(-0.2, 0.2)
            lon[i] = catalogue.lon[point] + rng.uniform(-0.2, 0.2)
    places = earth.earth(np.round(lat, 4), np.round(lon, 4))
    elevation = np.maximum(places.elevation + height, 1.0)
    warmth = places.warmth - 0.0052 * (elevation - places.elevation)
    return places._replace(igbp=kind, elevation=elevation, warmth=warmth)


# --- the grid ---------------------------------------------------------------------------------


class _World(NamedTuple):
    stamps: NDArray[np.datetime64]
    lat: law.Array
    lon: law.Array
    time_step: str
    seed: int
    truth: bool

    @property
    def names(self) -> tuple[str, ...]:
        return law.DRIVERS + law.TRUTH if self.truth else law.DRIVERS


@functools.lru_cache(maxsize=32)
def _land(lat_bytes: bytes, lon_bytes: bytes) -> tuple[NDArray[np.bool_], law.Places]:
    """Return the land mask (lat, lon) of a block and its places."""
    lat, lon = np.meshgrid(np.frombuffer(lat_bytes), np.frombuffer(lon_bytes), indexing="ij")
    land = earth.is_land(lat.ravel(), lon.ravel())
    return land.reshape(lat.shape), earth.earth(lat.ravel()[land], lon.ravel()[land])


def _spread(land: NDArray[np.bool_], values: NDArray, sea: float | str) -> NDArray:
    out = np.full(land.shape, sea, values.dtype)
    out[land] = values
    return out


def _block(world: _World, where: tuple[slice, slice, slice]) -> NDArray[np.float32]:
    """Values (variable, time, lat, lon) of one block, a batch of places after the other."""
    when, rows, columns = where
    land, places = _land(world.lat[rows].tobytes(), world.lon[columns].tobytes())
    names, monthly = world.names, world.time_step == "monthly"
    steps = world.stamps[when].astype("datetime64[D]")
    unit = "datetime64[M]" if monthly else "datetime64[D]"
    end = (steps[-1].astype(unit) + 1).astype("datetime64[D]")
    days = (np.arange(steps[0], end) - _EPOCH).astype(np.float64)
    out = np.full((len(names), steps.size, land.size), np.nan, np.float32)
    cells = np.flatnonzero(land)
    length = days[-1] + law.SPIN_UP if world.truth else days.size
    batch = max(1, int(2**17 // length))
    for first in range(0, cells.size, batch):
        part = slice(first, first + batch)
        values = _series(law.take(places, part), 0, days, world.seed, truth=world.truth)
        for i, name in enumerate(names):
            daily = values[name]
            out[i][:, cells[part]] = (_monthly(daily, days) if monthly else daily).T
    return out.reshape(len(names), steps.size, *land.shape)


def _lazy(world: _World, chunks: Mapping[str, Any] | str) -> Any:
    """Return a dask array (variable, time, lat, lon) that makes its blocks when computed."""
    import dask.array as da

    wanted = {"lat": "auto", "lon": "auto"} if chunks == "auto" else chunks
    if not isinstance(wanted, Mapping) or not set(wanted) <= set(_DIMS):
        raise DataError(
            f'found chunks={chunks!r}, expected "auto" or sizes of time, lat and lon. '
            'Type chunks={"time": 30}.'
        )
    sizes = tuple(wanted.get(dim, -1) for dim in _DIMS)
    shape = (world.stamps.size, world.lat.size, world.lon.size)
    split = da.core.normalize_chunks(sizes, shape, dtype=np.float32)

    def block(block_info: Any = None) -> NDArray[np.float32]:
        _, when, rows, columns = block_info[None]["array-location"]
        return _block(world, (slice(*when), slice(*rows), slice(*columns)))

    every, meta = (len(world.names),), np.empty((0,) * 4, np.float32)
    return da.map_blocks(block, chunks=(every, *split), dtype=np.float32, meta=meta)


def _described(ds: xr.Dataset, title: str, call: str, time_step: str) -> xr.Dataset:
    """Write the CF attributes of every variable and of the Dataset."""
    for name in ds.variables:
        known = BY_NAME.get(str(name).removesuffix("_true"))
        if known is None:
            continue
        attrs = {"long_name": known.long_name}
        if name in law.TRUTH:
            attrs["long_name"] += ", the noise-free law"
        elif known.standard_name:
            attrs["standard_name"] = known.standard_name
        if ds[name].dtype.kind == "f":
            attrs["units"] = known.units
        if known.quantity == "temperature":
            attrs["units_metadata"] = "temperature: on_scale"
        if "time" in ds[name].dims:
            attrs["cell_methods"] = known.cell_methods
            if time_step == "monthly" and known.cell_methods != "time: mean":
                attrs["cell_methods"] += " time: mean (interval: 1 day)"
        ds[name].attrs.update(attrs)
    ds.time.attrs.update(
        standard_name="time", long_name="time", units_metadata="leap_seconds: none"
    )
    ds.attrs.update(
        Conventions="CF-1.11",
        title=title,
        license="CC0-1.0",
        source=_SOURCE,
        references=_REFERENCES,
        history=f"made by xflux.simulated.world.{call}",
    )
    return ready_to_write(ds)
