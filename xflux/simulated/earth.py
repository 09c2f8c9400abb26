"""The Earth of the simulated world: outlines, mountains, climate and land cover by simple rules.

Everything here works on plain numpy arrays, one value a place.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from xflux.simulated.law import IGBP, Array, Places, aridity, field, sigmoid, waves

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
    rough = sigmoid(_mosaic(lat, lon, 1))
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
    return field(places, np.zeros(1), waves(7, 100 + stream, 24, 28.0, 1, 2))[:, 0]


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
