"""The simulated world as formulas: its weather, the law of its fluxes, and how towers see them.

Everything here works on plain numpy arrays, a row an entity and a column a day. Drivers are direct
functions of (seed, place, day), so that any part of the world can be made without the rest of it.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
DRIVERS = ("TA", "TA_MIN", "TA_MAX", "SW_IN", "VPD", "P", "LAI", "EVI")
TRUTH = ("GPP_true", "Reco_true", "NEE_true")
SPIN_UP = 180  # days the states run before the first day that is returned
YEAR = 365.2425

# One row a land cover: light use [g MJ-1], TA_MIN limits [degC] and VPD limits [hPa] near those of
# the MOD17 biome table (doi:10.1641/0006-3568(2004)054[0547:ACSMOG]2.0.CO;2); then our choices:
# LAI at its least and most, room for soil water [mm], respiration [g m-2 d-1] and its share of
# recent GPP, both at the reference temperature, and how far water governs the leaves.
_TABLE = """
ENF 1.11 -8  8.3 6.5 46 2.0 4.2 220 0.40 0.66 0.2
EBF 1.40 -8  9.1 8.0 31 2.6 5.6 260 0.45 0.64 0.3
DNF 1.30 -8 10.4 6.5 23 0.3 3.4 180 0.30 0.66 0.3
DBF 1.38 -6  9.9 6.5 24 0.4 5.0 240 0.45 0.70 0.4
MF  1.20 -7  9.5 6.5 24 1.2 4.6 230 0.45 0.70 0.3
CSH 1.20 -8  8.6 6.5 47 0.7 2.2 150 0.30 0.76 0.7
OSH 1.05 -8  8.8 6.5 48 0.1 1.5 110 0.12 0.68 0.8
WSA 1.20 -8 11.4 6.5 32 0.7 2.9 220 0.35 0.66 0.8
SAV 1.20 -8 11.4 6.5 31 0.3 2.5 190 0.25 0.66 0.9
GRA 1.32 -8 12.0 6.5 45 0.3 3.0 140 0.32 0.70 0.8
WET 1.25 -8 10.0 6.5 40 0.4 3.2 300 0.40 0.64 0.2
CRO 1.42 -8 12.0 6.5 40 0.3 4.2 190 0.45 0.70 0.6
URB 0.80 -8 12.0 6.5 40 0.3 1.2 100 0.30 0.68 0.5
CVM 1.25 -8 12.0 6.5 41 0.6 3.6 190 0.45 0.68 0.6
SNO 0.60 -8 12.0 6.5 40 0.0 0.0 100 0.01 0.60 0.0
BSV 0.80 -8 10.0 6.5 46 0.0 0.5  80 0.02 0.65 0.9
WAT 0.00 -8 12.0 6.5 40 0.0 0.0 100 0.00 0.60 0.0
"""
_WORDS = _TABLE.split()
IGBP = tuple(_WORDS[::12])
_PARAMETERS = np.array([word for i, word in enumerate(_WORDS) if i % 12], float).reshape(-1, 11)


class Places(NamedTuple):
    """Entities of the simulated Earth: one value a place in each field."""

    lat: Array  # degrees north
    lon: Array  # degrees east, -180 to 180
    elevation: Array  # m
    igbp: NDArray[np.intp]  # position in IGBP
    warmth: Array  # mean temperature [degC]
    swing: Array  # half the range of the seasonal temperature [K], negative in the south
    rain: Array  # mean precipitation [mm d-1]
    rain_swing: Array  # seasonality of precipitation, -1 to 1, positive with rain in July


def take(places: Places, index: slice | NDArray[np.intp]) -> Places:
    """Return some of the places."""
    return Places._make(part[index] for part in places)


def sigmoid(x: Array) -> Array:
    """Logistic function, 0 to 1."""
    return 1.0 / (1.0 + np.exp(-x))


def _parameters(places: Places) -> Array:
    return _PARAMETERS[places.igbp].T[:, :, None]  # (parameter, place, 1)


# --- randomness: waves shared by neighbours, and hashes of (seed, place, day) -----------------


class Waves(NamedTuple):
    """Random plane waves through the sphere; their sum is a smooth field of unit variance."""

    vector: Array
    speed: Array
    phase: Array


@functools.lru_cache(maxsize=64)
def waves(
    seed: int, stream: int, count: int, reach: float, shortest: float, longest: float
) -> Waves:
    """Random waves of some count, wave number on the unit sphere, and range of periods [days]."""
    rng = np.random.default_rng([seed, stream])
    period = np.exp(rng.uniform(np.log(shortest), np.log(longest), count))
    return Waves(
        rng.normal(0, reach, (count, 3)), 2 * np.pi / period, rng.uniform(0, 2 * np.pi, count)
    )


def field(places: Places, day: Array, sea: Waves) -> Array:
    """Sum of the waves at places and days [1], shape (place, day)."""
    phi, lam = np.radians(places.lat), np.radians(places.lon)
    x, y, z = np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)
    out = np.zeros((places.lat.size, day.size))
    for (kx, ky, kz), speed, phase in zip(*sea, strict=True):
        here, now = (x * kx + y * ky + z * kz + phase)[:, None], (speed * day)[None, :]
        out += np.cos(here) * np.cos(now)
        out -= np.sin(here) * np.sin(now)
    return out * np.sqrt(2 / sea.speed.size)


def _noise(places: Places, day: Array, seed: int, stream: int) -> Array:
    """White noise, nearly normal, by the SplitMix64 hash (doi:10.1145/2660193.2660195)."""
    lat = np.round((places.lat + 90) * 1e4).astype(np.uint64)
    lon = np.round((places.lon + 360) * 1e4).astype(np.uint64)
    place = lat * np.uint64(0x9E3779B97F4A7C15) ^ lon * np.uint64(0xC2B2AE3D27D4EB4F)
    salt = np.uint64((seed * 0xD6E8FEB86659FD93 + stream * 0xA0761D6478BD642F) % 2**64)
    step = day.astype(np.int64).astype(np.uint64) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = place[:, None] ^ (step + salt)[None, :]
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    halves = mixed.view(np.uint16).reshape(*mixed.shape, 4)
    total = sum(halves[..., i].astype(np.float64) for i in range(4))
    return (total / 65536.0 - 2.0) * np.sqrt(3.0)


# --- weather ----------------------------------------------------------------------------------


def radiation_top(lat: Array, day: Array) -> Array:
    """Daily mean radiation above the air [W m-2], by FAO-56 equation 21, shape (place, day)."""
    angle = 2 * np.pi * (day % YEAR + 1) / YEAR
    phi, tilt = np.radians(lat)[:, None], (0.409 * np.sin(angle - 1.39))[None, :]
    sunset = np.arccos(np.clip(-np.tan(phi) * np.tan(tilt), -1, 1))
    path = sunset * np.sin(phi) * np.sin(tilt) + np.cos(phi) * np.cos(tilt) * np.sin(sunset)
    return 1366.7 / np.pi * (1 + 0.033 * np.cos(angle))[None, :] * np.maximum(path, 0)


def saturation(temperature: Array) -> Array:
    """Saturation vapour pressure [hPa] by the Magnus form of FAO-56 equation 11."""
    return 6.108 * np.exp(17.27 * temperature / (temperature + 237.3))


def _season(day: Array, lag: float) -> Array:
    """From -1 in the northern winter to 1 in its summer, `lag` days behind 1 January."""
    return -np.cos(2 * np.pi * (day - lag) / YEAR)[None, :]


def _climate(places: Places, day: Array, lag: float) -> tuple[Array, Array, Array]:
    """Return expected temperature [degC], rain [mm d-1] and its ratio to demand, each day."""
    warmth = places.warmth[:, None] + places.swing[:, None] * _season(day, 20 + lag)
    rain = places.rain[:, None] * (1 + places.rain_swing[:, None] * _season(day, 20 + lag))
    return warmth, rain, rain / np.maximum(0.3, 0.35 + 0.16 * warmth)


def aridity(places: Places) -> Array:
    """Mean precipitation over mean demand for water, shape (place,)."""
    warmth, rain, _ = _climate(places, np.arange(15.0, YEAR, 30.4), 0)
    return rain.mean(1) / np.maximum(0.3, 0.35 + 0.16 * warmth).mean(1)


def _wet_days(share: Array, luck: Array, day: Array) -> NDArray[np.bool_]:
    """Wet days of a two-state Markov chain that is drawn afresh every 16 days."""
    follow = 0.35
    wet = np.empty(share.shape, bool)
    for i, number in enumerate(day.astype(np.int64)):
        if i == 0 or number % 16 == 0:
            wet[:, i] = luck[:, i] < share[:, i]
        else:
            chance = share[:, i] * (1 - follow) + follow * wet[:, i - 1]
            wet[:, i] = luck[:, i] < chance
    return wet


def _leaves(places: Places, day: Array, seed: int) -> tuple[Array, Array]:
    """LAI and EVI: warmth and water of the season, slow anomalies, and 8-day retrieval noise."""
    row = _parameters(places)
    slow_heat = field(places, day - 20, waves(seed, 3, 6, 3.0, 120, 1200))
    slow_rain = field(places, day - 25, waves(seed, 4, 6, 3.0, 120, 1200))
    warmth, _, wet = _climate(places, day, 25)
    onset = 6.5 + 2.5 * np.tanh((places.warmth - 3) / 5)[:, None]
    warm = sigmoid((warmth + 1.2 * slow_heat - onset) / 2)
    water = sigmoid((wet * np.exp(0.35 * slow_rain) - 0.45) / 0.11)
    thrive = np.clip(aridity(places) / 0.8, 0, 1)[:, None]
    share = warm * (1 - row[10] * (1 - water)) * (1 - row[10] * (1 - thrive))
    side = np.where(places.lat < 0, -1.0, 1.0)[:, None]
    crop = 0.2 + 0.8 * sigmoid(7 * (side * _season(day, 5) + 0.15))
    share = np.where((places.igbp == IGBP.index("CRO"))[:, None], share * crop, share)
    fuzz = _noise(places, day // 8, seed, 15)
    lai = (row[5] + (row[6] - row[5]) * share) * (1 + 0.04 * fuzz)
    snow = sigmoid(-(warmth + 2) / 1.5)
    evi = (0.07 + 0.56 * (1 - np.exp(-0.42 * lai))) * (1 - 0.5 * snow) + 0.012 * fuzz
    return np.maximum(lai, 0), np.maximum(evi, 0.0)


def weather(places: Places, day: Array, *, seed: int) -> dict[str, Array]:
    """Return the drivers of consecutive days, a direct function of seed, place and day.

    Parameters
    ----------
    places : Places
    day : array, shape (day,)
        Days since 2001-01-01, consecutive.
    seed : int

    Returns
    -------
    dict of arrays, shape (place, day)
        ``DRIVERS`` in the package's units, and ``RA``, the radiation above the air [W m-2].
    """
    back = int(day[0] % 16)  # to a day on which the Markov chain is drawn afresh
    early = np.arange(day[0] - back, day[-1] + 1)
    front = field(places, early, waves(seed, 1, 20, 6.0, 4, 40))
    cloud_now = 0.8 * front + 0.6 * _noise(places, early, seed, 11)
    _, rain, wet_ratio = _climate(places, early, 0)
    drought = field(places, early, waves(seed, 4, 6, 3.0, 120, 1200))
    rain = rain * np.exp(0.35 * drought)
    share = rain**0.8 / (rain**0.8 + 3.0)
    wet = _wet_days(share, sigmoid(-1.702 * cloud_now), early)[:, back:]
    front, cloud_now, early = front[:, back:], cloud_now[:, back:], early[back:]
    rain, wet_ratio, share = rain[:, back:], wet_ratio[:, back:], share[:, back:]
    # Gamma amounts of shape 0.75 by the cube of a normal (doi:10.1073/pnas.17.12.684)
    cube = (0.852 + 0.385 * _noise(places, early, seed, 12)) ** 3
    precipitation = np.where(wet, rain / share * np.maximum(cube, 0.02), 0.0)

    overcast = 0.2 + 0.62 * wet_ratio / (wet_ratio + 0.45)
    cloud = np.log(overcast / (1 - overcast)) + 0.9 * cloud_now + 0.9 * (wet - share)
    cloud = sigmoid(cloud)
    clear = 0.25 + 0.5 * (1 - cloud) + 2e-5 * places.elevation[:, None]  # FAO-56 eq. 35 and 37
    top = radiation_top(places.lat, early)
    sunny = top / 400 * (overcast - cloud) * 4

    mean, _, _ = _climate(places, early, 0)
    noise = _noise(places, np.arange(early[0] - 4, early[-1] + 1), seed, 13)
    local = 0.7 * sum(0.7**j * noise[:, 4 - j : noise.shape[1] - j] for j in range(5))
    spread = 1.0 + 0.13 * np.abs(places.swing)[:, None]
    slow = field(places, early, waves(seed, 3, 6, 3.0, 120, 1200))
    broad = field(places, early, waves(seed, 2, 20, 6.0, 5, 60))
    temperature = mean + spread * (0.75 * broad + 0.45 * local + 0.4 * slow) + sunny
    half = np.clip((clear / 0.17) ** 2, 2.5, 22) / 2  # FAO-56 eq. 50, read the other way
    low, high = temperature - half, temperature + half
    dry = 1 / (1 + 1.8 * wet_ratio * np.exp(0.35 * drought[:, back:]))
    dew = low - 0.4 - 13 * dry**2 + 0.9 * _noise(places, early, seed, 14)
    deficit = (saturation(low) + saturation(high)) / 2 - saturation(dew)
    lai, evi = _leaves(places, early, seed)
    return {
        "TA": temperature,
        "TA_MIN": low,
        "TA_MAX": high,
        "SW_IN": clear * top,
        "VPD": np.maximum(deficit, 0.05),
        "P": precipitation,
        "LAI": lai,
        "EVI": evi,
        "RA": top,
    }


# --- the law of the fluxes --------------------------------------------------------------------


def lloyd_taylor(temperature: Array) -> Array:
    """Respiration relative to that at 15 degC (Lloyd and Taylor 1994, doi:10.2307/2389824)."""
    return np.exp(308.56 * (1 / 61.02 - 1 / (np.maximum(temperature, -35.0) + 46.02)))


def fluxes(places: Places, drivers: dict[str, Array]) -> dict[str, Array]:
    """Return GPP, Reco and NEE [g m-2 d-1 of carbon] that the drivers and their history make.

    GPP is light use limited by the cold and by dry air (Monteith; MOD17,
    doi:10.1641/0006-3568(2004)054[0547:ACSMOG]2.0.CO;2), by a bucket of soil water, and by the
    slow acclimation to temperature (doi:10.1093/treephys/24.4.369). Reco follows temperature
    (doi:10.2307/2389824), recent GPP (doi:10.1111/j.1365-2486.2010.02243.x) and soil water; its
    base rate acclimates to the temperature of the last months (doi:10.1016/S1360-1385(03)00136-5).

    Parameters
    ----------
    places : Places
    drivers : dict of arrays, shape (place, day)
        What `weather` returned; the first `SPIN_UP` days only settle the states.

    Returns
    -------
    dict of arrays, shape (place, day)
        ``TRUTH``, of every day given.
    """
    light_use, cold, mild, humid, parched, _, _, room, base, coupled, _ = _parameters(places)
    green = 1 - np.exp(-0.5 * drivers["LAI"])
    light = 0.45 * 0.0864 * drivers["SW_IN"]
    potential = light_use * green * light
    potential *= np.clip((drivers["TA_MIN"] - cold) / (mild - cold), 0, 1)
    potential *= np.clip((parched - drivers["VPD"]) / (parched - humid), 0.05, 1)
    span = np.maximum(drivers["TA_MAX"] - drivers["TA_MIN"], 0)
    demand = 0.0023 * np.maximum(drivers["TA"] + 17.8, 0) * np.sqrt(span)  # FAO-56 eq. 52
    demand *= drivers["RA"] * 0.0864 / 2.45 * (0.3 + 0.7 * green)
    warmth = np.ascontiguousarray(drivers["TA"].T)
    rates = [np.ascontiguousarray(a.T) for a in (potential, demand, drivers["P"])]
    room, base, coupled = room[:, 0], base[:, 0], coupled[:, 0]

    water, recent = 0.6 * room, np.zeros(room.size)
    acclimated, past = warmth[0].copy(), warmth[:90].mean(0)
    gpp, reco = np.empty_like(warmth), np.empty_like(warmth)
    effect = lloyd_taylor(warmth)
    for i, (possible, thirst, supply) in enumerate(zip(*rates, strict=True)):
        moist = np.clip(water / (0.5 * room), 0, 1)
        acclimated += (warmth[i] - acclimated) / 12
        past += (warmth[i] - past) / 60
        ready = 0.25 + 0.75 * np.clip((acclimated + 3) / 15, 0, 1)
        gpp[i] = possible * ready * (0.25 + 0.75 * moist)
        recent += (gpp[i] - recent) / 15
        rate = (base + coupled * recent) * (0.4 + 0.6 * moist)
        reco[i] = rate * effect[i] / lloyd_taylor(np.maximum(past, 5.0)) ** 0.6
        water = np.clip(water + supply - thirst * moist, 0, room)
    return {"GPP_true": gpp.T, "Reco_true": reco.T, "NEE_true": (reco - gpp).T}


# --- what a tower records ---------------------------------------------------------------------


def measure(row: dict[str, Array], site: int, *, seed: int) -> None:
    """Turn one tower's law into a record, in place: its span, outages, quality and errors.

    Random errors are of the Laplace kind and grow with the flux (Richardson et al. 2006,
    doi:10.1016/j.agrformet.2006.01.007); each tower keeps a few percent of bias.

    Parameters
    ----------
    row : dict of arrays, shape (day,)
        Every variable of the tower: ``DRIVERS``, ``TRUTH``, GPP and Reco equal to the law, NEE_QC.
    site, seed : int
        Number of the tower, and seed of its errors.
    """
    rng = np.random.default_rng([seed, 2, site])
    size = row["TA"].size
    slow = np.convolve(rng.normal(size=size + 19), np.ones(20) / 20**0.5, "valid")
    quality = rng.uniform(0.72, 0.95) + 0.07 * slow + 0.08 * rng.normal(size=size)
    quality -= 0.15 * (row["P"] > 5) + 0.08 * (row["TA"] < -5)
    quality = np.clip(quality, 0, 1)
    out = np.zeros(size, bool)
    for _ in range(rng.poisson(1.5 * size / 365)):
        begin, length = int(rng.integers(size)), int(8 + rng.gamma(1.2, 20))
        out[begin : begin + length] = True
    quality[out] = 0
    for name in ("GPP", "Reco"):
        flux = row[name]
        scale = (0.12 + 0.07 * np.abs(flux)) * (1 + 1.5 * (1 - quality))
        error = rng.laplace(0, 1, size) * scale / np.sqrt(2)
        flux *= np.exp(rng.normal(0, 0.03))
        flux += error
        flux[out | (rng.random(size) < 0.02)] = np.nan
    row["NEE_QC"][:] = quality
    spare = max(size - 365, 0)
    start = int(spare * 0.5 * max(rng.uniform(-0.6, 1), 0))
    end = size - int(spare * 0.5 * max(rng.uniform(-0.6, 1), 0))
    for values in row.values():
        values[:start] = np.nan
        values[end:] = np.nan
    lost = np.isnan(row["GPP"]) | np.isnan(row["Reco"])
    row["GPP"][lost] = row["Reco"][lost] = np.nan
