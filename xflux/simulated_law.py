"""The simulated world as formulas: an Earth of simple rules, its weather, the law of its fluxes.

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
    return Places._make(field[index] for field in places)


def _sigmoid(x: Array) -> Array:
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
def _waves(
    seed: int, stream: int, count: int, reach: float, shortest: float, longest: float
) -> Waves:
    rng = np.random.default_rng([seed, stream])
    period = np.exp(rng.uniform(np.log(shortest), np.log(longest), count))
    return Waves(
        rng.normal(0, reach, (count, 3)), 2 * np.pi / period, rng.uniform(0, 2 * np.pi, count)
    )


def _field(places: Places, day: Array, waves: Waves) -> Array:
    phi, lam = np.radians(places.lat), np.radians(places.lon)
    x, y, z = np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)
    out = np.zeros((places.lat.size, day.size))
    for (kx, ky, kz), speed, phase in zip(*waves, strict=True):
        here, now = (x * kx + y * ky + z * kz + phase)[:, None], (speed * day)[None, :]
        out += np.cos(here) * np.cos(now)
        out -= np.sin(here) * np.sin(now)
    return out * np.sqrt(2 / waves.speed.size)


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
    slow_heat = _field(places, day - 20, _waves(seed, 3, 6, 3.0, 120, 1200))
    slow_rain = _field(places, day - 25, _waves(seed, 4, 6, 3.0, 120, 1200))
    warmth, _, wet = _climate(places, day, 25)
    onset = 6.5 + 2.5 * np.tanh((places.warmth - 3) / 5)[:, None]
    warm = _sigmoid((warmth + 1.2 * slow_heat - onset) / 2)
    water = _sigmoid((wet * np.exp(0.35 * slow_rain) - 0.45) / 0.11)
    thrive = np.clip(aridity(places) / 0.8, 0, 1)[:, None]
    share = warm * (1 - row[10] * (1 - water)) * (1 - row[10] * (1 - thrive))
    side = np.where(places.lat < 0, -1.0, 1.0)[:, None]
    crop = 0.2 + 0.8 * _sigmoid(7 * (side * _season(day, 5) + 0.15))
    share = np.where((places.igbp == IGBP.index("CRO"))[:, None], share * crop, share)
    fuzz = _noise(places, day // 8, seed, 15)
    lai = (row[5] + (row[6] - row[5]) * share) * (1 + 0.04 * fuzz)
    snow = _sigmoid(-(warmth + 2) / 1.5)
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
    front = _field(places, early, _waves(seed, 1, 20, 6.0, 4, 40))
    cloud_now = 0.8 * front + 0.6 * _noise(places, early, seed, 11)
    _, rain, wet_ratio = _climate(places, early, 0)
    drought = _field(places, early, _waves(seed, 4, 6, 3.0, 120, 1200))
    rain = rain * np.exp(0.35 * drought)
    share = rain**0.8 / (rain**0.8 + 3.0)
    wet = _wet_days(share, _sigmoid(-1.702 * cloud_now), early)[:, back:]
    front, cloud_now, early = front[:, back:], cloud_now[:, back:], early[back:]
    rain, wet_ratio, share = rain[:, back:], wet_ratio[:, back:], share[:, back:]
    # Gamma amounts of shape 0.75 by the cube of a normal (doi:10.1073/pnas.17.12.684)
    cube = (0.852 + 0.385 * _noise(places, early, seed, 12)) ** 3
    precipitation = np.where(wet, rain / share * np.maximum(cube, 0.02), 0.0)

    overcast = 0.2 + 0.62 * wet_ratio / (wet_ratio + 0.45)
    cloud = np.log(overcast / (1 - overcast)) + 0.9 * cloud_now + 0.9 * (wet - share)
    cloud = _sigmoid(cloud)
    clear = 0.25 + 0.5 * (1 - cloud) + 2e-5 * places.elevation[:, None]  # FAO-56 eq. 35 and 37
    top = radiation_top(places.lat, early)
    sunny = top / 400 * (overcast - cloud) * 4

    mean, _, _ = _climate(places, early, 0)
    noise = _noise(places, np.arange(early[0] - 4, early[-1] + 1), seed, 13)
    local = 0.7 * sum(0.7**j * noise[:, 4 - j : noise.shape[1] - j] for j in range(5))
    spread = 1.0 + 0.13 * np.abs(places.swing)[:, None]
    slow = _field(places, early, _waves(seed, 3, 6, 3.0, 120, 1200))
    broad = _field(places, early, _waves(seed, 2, 20, 6.0, 5, 60))
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


# --- an Earth of simple rules -----------------------------------------------------------------

# Outlines drawn by eye, "lon lat, lon lat, ...": lands first, then the waters inside them.
_LANDS = """
-168 66,-166 68,-157 71,-141 70,-128 70,-115 68,-95 68,-94 72,-85 70,-86 66,-94 60,-92 57,-82 55,
-82 53,-80 51,-79 54,-77 57,-78 59,-78 62,-70 61,-65 60,-62 56,-56 52,-60 50,-66 50,-65 48,-61 46,
-66 44,-70 44,-70 42,-74 40,-76 37,-76 35,-81 32,-80 27,-80 25,-82 27,-84 30,-89 30,-94 30,-97 28,
-98 22,-96 18,-91 18,-90 21,-87 21,-88 16,-83 15,-84 11,-80 10,-77 9,-78 8,-80 7,-84 8,-86 10,
-88 13,-92 14,-95 16,-102 18,-106 20,-106 22,-109 26,-112 30,-115 32,-112 26,-110 23,-112 25,
-115 28,-117 32,-121 35,-122 38,-124 40,-124 46,-125 48,-123 49,-128 51,-130 54,-134 58,-140 60,
-146 61,-152 59,-158 56,-164 55,-158 59,-162 59,-165 61,-165 63,-161 64; -77 9,-75 11,-72 12,
-68 11,-62 11,-58 8,-52 4,-50 0,-44 -2,-40 -3,-35 -6,-35 -9,-39 -13,-39 -18,-41 -22,-45 -24,
-48 -26,-49 -28,-54 -34,-58 -34,-57 -36,-58 -38,-62 -39,-65 -41,-64 -43,-68 -46,-66 -48,-69 -51,
-68 -52,-66 -55,-70 -55,-74 -52,-76 -48,-74 -44,-74 -40,-74 -37,-72 -33,-71 -29,-70 -22,-70 -18,
-76 -14,-79 -8,-81 -5,-80 -2,-81 -1,-79 2,-77 4,-78 7; -9 37,-9 43,-2 43,-1 46,-5 48,2 50,4 52,
8 54,8 57,10 58,10 54,14 54,18 55,21 56,24 57,24 59,30 60,22 60,21 62,22 63,25 65,22 66,18 62,
19 60,16 57,14 56,13 56,11 59,8 58,5 60,5 62,12 66,15 68,21 70,26 71,31 70,41 67,40 66,33 67,37 64,
40 65,44 66,44 68,54 69,67 69,68 72,72 72,73 68,76 72,81 74,98 76,104 78,113 74,127 73,130 71,
140 73,152 71,160 70,170 70,180 69,190 66,187 64,179 62,170 60,164 60,162 56,157 51,156 57,164 62,
155 59,143 59,136 55,141 53,140 48,136 44,131 43,128 40,129 37,129 35,126 35,127 38,125 40,121 39,
121 41,118 39,119 37,122 37,119 35,122 32,122 29,120 26,115 23,110 21,108 22,106 19,109 14,109 12,
105 9,105 10,102 12,101 13,99 10,100 7,103 4,104 1,101 3,100 6,98 9,98 14,97 17,94 16,94 19,92 22,
88 22,87 21,82 17,80 16,80 12,79 9,78 8,75 12,73 17,73 21,70 21,69 22,67 25,62 25,57 27,54 27,
51 28,50 30,48 30,48 28,50 26,52 25,54 24,56 26,57 24,60 22,58 19,55 17,52 16,45 13,43 13,43 16,
39 22,35 28,35 30,32 30,34 31,36 36,36 37,32 36,30 37,27 37,26 39,26 41,24 40,24 38,23 37,22 37,
20 40,19 42,16 44,14 46,12 45,14 44,16 42,18 40,16 38,16 40,12 42,10 44,8 44,4 44,3 42,0 40,0 38,
-2 37,-6 36; -6 36,3 37,10 37,11 34,15 32,20 30,22 33,29 31,32 31,32 30,34 27,37 21,40 16,43 12,
51 12,48 4,42 -2,39 -5,41 -11,40 -15,35 -20,36 -24,33 -26,32 -29,27 -34,20 -35,18 -33,15 -27,
12 -18,14 -11,12 -6,9 -1,10 4,6 4,4 6,-2 5,-8 4,-13 8,-17 14,-16 21,-13 28,-10 30; 114 -22,116 -32,
115 -34,118 -35,124 -33,129 -32,134 -33,138 -33,138 -36,141 -38,146 -39,150 -37,151 -34,154 -28,
153 -25,150 -22,146 -19,145 -15,143 -11,142 -14,141 -18,139 -17,136 -15,137 -12,132 -11,130 -15,
126 -14,122 -18,119 -20; -73 78,-60 82,-32 84,-18 80,-21 74,-25 70,-38 66,-44 60,-50 62,-54 67,
-54 71,-60 76; -6 50,1 51,2 53,-2 55,-2 58,-3 59,-5 58,-6 56,-3 55,-5 53,-4 52; -10 52,-6 52,-6 54,
-8 55,-10 54; -22 64,-18 63,-14 65,-16 66,-24 66; 130 31,132 33,136 34,139 35,141 36,142 40,141 41,
140 40,137 37,133 36,130 34; 140 42,143 42,146 43,142 45,141 43; 142 46,143 49,143 54,142 53;
49 -12,50 -16,47 -25,44 -25,44 -20,47 -15; 120 -6,120 -3,123 -4,122 -1,125 2,120 1,119 -3; 109 2,
112 2,115 5,117 7,119 5,118 1,116 -4,112 -3,110 -2; 105 -7,108 -6,114 -8,110 -8; 95 6,98 4,104 0,
106 -3,105 -6,101 -2,98 2; 120 16,122 18,124 13,121 14; 131 -1,134 -1,135 -3,138 -2,145 -4,148 -6,
150 -10,146 -9,143 -9,138 -8,138 -6,133 -4; 122 7,126 6,126 8,126 10,124 8; 173 -34,178 -38,
175 -42,174 -39,175 -37; 173 -41,174 -42,171 -46,168 -47,166 -46,171 -42; 80 8,80 6,82 7,80 10;
-85 22,-80 23,-74 20,-78 20,-80 22; -74 18,-68 18,-70 20,-73 20; 145 -41,148 -41,147 -44,146 -43;
-117 70,-117 73,-105 73,-102 69,-115 69; -80 74,-76 73,-68 70,-62 66,-66 62,-73 64,-72 68,-80 70,
-89 71,-89 73; -90 77,-78 77,-65 82,-90 82; 13 80,11 78,17 77,24 79,20 80; 52 71,57 71,60 75,68 77,
60 76; -59 48,-53 47,-54 49,-56 52,-58 50
"""
_WATERS = """
28 42,30 46,33 46,34 45,36 45,42 42,41 41,36 42,32 41,29 41; 48 45,51 47,53 45,51 43,53 41,54 37,
50 37,50 40,48 43; -88 42,-86 42,-85 46,-88 45; -92 47,-88 49,-85 48,-85 46,-88 47; -84 44,-82 44,
-80 45,-81 46,-84 46; 32 -2,34 0,32 0
"""
# Smooth bumps, "lat lon height width_lat width_lon" in degrees.
_HEIGHTS = """
33 88 4800 4.5 12; 42 78 2300 2 6; 49 90 1700 3 6; 46 105 1200 4 8; 32 55 1500 5 7
39 38 1300 2.5 6; 46.5 10 1500 1.2 4; 64 12 800 5 3; 9 39.5 2200 3.5 3; -3 35 1300 7 3
-27 25 1200 7 7; 40 -109 2200 6 5; 51 -119 1500 5 4; 33 -107 1400 5 4; 22 -103 1900 4 3
63 -150 900 3 8; -5 -78 2300 5 1.8; -16 -69 3900 4 2.6; -26 -68 3400 5 2; -35 -70.5 2200 4 1.2
5 -75 1500 4 1.8; -46 -72.5 900 5 1; -18 -45 800 6 5; 73 -40 2800 6 12; -5 141 1900 1.2 5
65 135 900 5 12; 17 77 550 5 3; 38 -80 600 4 3; -32 149 500 7 2; 32 -5 1300 1.5 5; 60 95 400 7 12
"""
# Factors on precipitation by bumps: deserts and dry lands below 1, wet coasts above.
_RAINS = """
23 5 .03 8 24; 23 45 .06 8 11; 31 62 .15 6 9; 41 88 .08 6 19; 44 62 .30 5 11; 34 -112 .28 6 6
40 -113 .5 4 5; 28 -104 .45 5 4; -25 130 .17 8 12; -25 18 .18 8 7; -22 -70 .05 9 3; -45 -68 .25 6 3
5 46 .2 7 5; -8 -40 .45 5 4; 34 90 .4 4 10; 0 38 .5 6 4; 48 -108 .5 7 9; -33 21 .5 3 4
33 -85 1.9 7 11; 28 113 2.3 7 9; 35 137 2 6 5; -27 -53 2.2 7 6; 12 103 1.5 9 9; 22 91 2.2 5 5
15 75 1.5 7 3; -33 151 1.6 9 3; 48 -124 1.9 8 4; 52 5 1.2 8 14; -42 -74 2.5 6 2; -43 171 2 5 5
60 10 1.3 6 6; -19 47 1.5 6 3; -4 -62 1.4 7 12; -32 -64 .55 8 4; 55 70 .8 5 25; -22 25 .7 6 9
22 77 1.5 6 7; 27 70 .2 4 4; 66 -110 .75 6 30; 66 130 .75 6 40; 50 37 1.15 6 14; -15 20 1.3 5 14
42 -85 1.3 6 12; 46 130 1.3 6 8
"""
# Share of precipitation that moves to the local summer (above 0) or winter (below 0).
_RAIN_SEASONS = """
37 15 -1 6 28; 39 -121 -1.1 6 5; -34 -71.5 -1 5 3; -33.5 18.5 -1 3 3; -32.5 117 -.9 4 5
34 48 -.9 5 10; 37 115 .7 9 12; 23 80 .5 6 12; 52 110 .4 8 30; 50 -105 .4 6 10; 50 -125 -.5 6 5
-36 140 -.6 4 8
"""
# Warmth [K] by ocean currents and continents, and how far inland a place feels, by bumps.
_WARMTHS = """
60 5 7 10 16; 50 -126 3 8 6; 64 128 -7 8 22; 62 -80 -5 8 16; 50 112 -3 6 14; 52 -66 -3.5 7 9
24 10 2.5 9 24
"""
_INLANDS = """
63 128 2.0 9 26; 50 80 1.2 10 32; 57 -103 1.2 10 18; 45 118 1.1 8 11; 42 -97 .8 8 12; 53 40 .6 8 13
30 45 .7 9 26; -25 132 .8 7 11; 35 57 .8 7 12; 36 116 .9 6 8; 23 5 .5 7 16; 64 -145 1 5 10
50 -72 .7 7 9
"""


@functools.lru_cache(maxsize=1)
def _outlines() -> list[tuple[bool, Array]]:
    rings = [(True, ring) for ring in _LANDS.split(";")]
    rings += [(False, ring) for ring in _WATERS.split(";")]
    return [
        (dry, np.array([point.split() for point in ring.split(",")], float)) for dry, ring in rings
    ]


def is_land(lat: Array, lon: Array) -> NDArray[np.bool_]:
    """Whether each place lies on land; Antarctica is left out."""
    land = np.zeros(lat.shape, bool)
    for dry, ring in _outlines():
        for turn in (0, 360) if ring[:, 0].max() > 180 else (0,):
            west, south = ring.min(0)
            east, north = ring.max(0)
            x, y = lon + turn, lat
            near = np.flatnonzero((x >= west) & (x <= east) & (y >= south) & (y <= north))
            x, y, inside = x[near], y[near], np.zeros(near.size, bool)
            for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, 0), strict=True):
                if y0 != y1:
                    inside ^= ((y0 > y) != (y1 > y)) & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
            land[near[inside]] = dry
    return land


def _bumps(table: str, lat: Array, lon: Array) -> list[tuple[float, Array]]:
    lines = table.strip().replace("\n", ";").split(";")
    rows = [[float(word) for word in line.split()] for line in lines]
    return [
        (value, np.exp(-(((lat - y) / high) ** 2) - (((lon - x + 180) % 360 - 180) / wide) ** 2))
        for y, x, value, high, wide in rows
    ]


def _sum(table: str, lat: Array, lon: Array) -> Array:
    return np.asarray(sum(value * bump for value, bump in _bumps(table, lat, lon)), float)


def earth(lat: Array, lon: Array) -> Places:
    """Return elevation, climate and land cover of any points; open sea is treated as land.

    Parameters
    ----------
    lat, lon : array, shape (place,)
        Degrees north and east.

    Returns
    -------
    Places
    """
    lat = np.asarray(lat, float)
    lon = (np.asarray(lon, float) + 180) % 360 - 180
    far, sine = np.abs(lat), np.sin(np.radians(lat)) ** 2
    rough = _sigmoid(_mosaic(lat, lon, 1))
    elevation = 40 + 320 * rough + _sum(_HEIGHTS, lat, lon)
    inland = np.where(lat > 0, 0.35, 0.12) + _sum(_INLANDS, lat, lon)
    warmth = 27.5 - 34 * sine - 12 * sine**3 + _sum(_WARMTHS, lat, lon) - 0.0052 * elevation + 0.8
    swing = (1.5 + 0.16 * np.maximum(far - 10, 0) * (0.75 + inland)) * np.tanh(lat / 6)
    rain = 5.2 * np.exp(-((lat / 14) ** 2)) + 2.2 * np.exp(-(((far - 47) / 17) ** 2)) + 0.5
    for value, bump in _bumps(_RAINS, lat, lon):
        rain = rain * np.exp(np.log(value) * bump)
    season = 0.85 * np.exp(-(((far - 13) / 7.5) ** 2)) + 0.25 * np.minimum(inland, 1) * (far > 35)
    season = np.clip(season + _sum(_RAIN_SEASONS, lat, lon), -0.92, 0.92) * np.tanh(lat / 4)
    bare = np.zeros(lat.size, np.intp)
    places = Places(lat, lon, elevation, bare, warmth, swing, rain, season)
    return places._replace(igbp=_land_cover(places))


def _mosaic(lat: Array, lon: Array, stream: int) -> Array:
    """Patches some hundred kilometres wide: the same on every Earth, whatever the seed."""
    places = Places._make((lat, lon, *(lat,) * 6))  # only the position is looked at
    return _field(places, np.zeros(1), _waves(7, 100 + stream, 24, 28.0, 1, 2))[:, 0]


def _land_cover(places: Places) -> NDArray[np.intp]:
    lat, lon, swing, mean = places.lat, places.lon, np.abs(places.swing), places.warmth
    warmest = mean + swing
    one, two = _mosaic(lat, lon, 2), _mosaic(lat, lon, 3)
    wet = aridity(places) * np.exp(0.12 * one + 0.12 * two)
    ice = (lat > 60) & (lon > -58 - (lat - 60) * 0.4) & (lon < -20) & (places.elevation > 600)
    winter_rain = places.rain_swing * np.sign(lat) < -0.3
    rules = [
        (ice | (warmest < 1.5), "SNO"),
        (warmest < 5, "BSV"),
        (wet < 0.12, "BSV"),
        ((warmest < 11) & (lat > 50), "OSH"),
        (warmest < 12.5, "GRA"),
        (wet < 0.26, "OSH"),
        ((mean > 20) & (wet > 0.9) & (two > 1.5), "CVM"),
        ((mean > 19.5) & (wet > 0.9), "EBF"),
        ((mean > 19.5) & (wet > 0.5) & (one > 0.9), "CRO"),
        ((mean > 19.5) & (wet > 0.68), "WSA"),
        ((mean > 19.5) & (wet > 0.42), "SAV"),
        (winter_rain & (wet < 0.55) & (two < 0.4), "CSH"),
        (wet < 0.42, "GRA"),
        ((mean < 2.5) & (two > 1.25), "WET"),
        ((mean < 2.5) & (swing > 21) & (lon > 90), "DNF"),
        ((mean < 3.2) & (wet > 0.5), "ENF"),
        ((wet < 0.75) & (one > -0.3), "CRO"),
        (wet < 0.62, "GRA"),
        ((mean > 14) & (lat < 0) & (one < 0.4), "EBF"),
        (one > 0.6, "CRO"),
        ((two > 0.9) & (one > 0.2), "CVM"),
        ((mean < 7) & (two < -0.2), "ENF"),
        (two > 0.25, "DBF"),
        ((two < -1.1), "ENF"),
    ]
    names = [IGBP.index(name) for _, name in rules]
    return np.select([rule for rule, _ in rules], names, IGBP.index("MF")).astype(np.intp)


def climate_class(places: Places) -> NDArray[np.str_]:
    """Return Tropical, Arid, Temperate, Continental or Polar for each place, after Koeppen."""
    coldest = places.warmth - np.abs(places.swing)
    warmest = places.warmth + np.abs(places.swing)
    rules = [warmest < 10, aridity(places) < 0.35, coldest > 18, coldest > -3]
    return np.select(rules, ["Polar", "Arid", "Tropical", "Temperate"], "Continental")
