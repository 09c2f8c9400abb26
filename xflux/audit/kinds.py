"""The kinds of findings: how sure each is, what it means, and what to do.

docs/check.md shows this table.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


class Kind(NamedTuple):
    """One kind of finding.

    ``error`` is surely wrong, ``warning`` likely, ``note`` worth knowing. ``found`` says what is
    looked for, ``advice`` what to do where the finding itself has no line to type.
    """

    severity: Severity
    family: str
    found: str
    advice: str


_CUT = "leave these steps out"
_TIME, _VALUES, _REPEATS, _LEVEL = "time", "values", "repeats and filling", "level"
_SUN, _WEATHER, _FLUXES, _LEAVES = "sun and clock", "weather", "fluxes", "leaves"
_PLACES, _TOWERS, _COVER = "places", "the same tower twice", "coverage"

KINDS: dict[str, Kind] = {
    # --- time ------------------------------------------------------------------------------------
    "no time": Kind("error", _TIME, "no usable time axis", "give the time dimension dates"),
    "duplicate times": Kind(
        "error", _TIME, "stamps that come again", 'ds = ds.drop_duplicates("{time}")'
    ),
    "times out of order": Kind("error", _TIME, "time that goes back", 'ds = ds.sortby("{time}")'),
    "irregular times": Kind(
        "error", _TIME, "stamps off a regular axis, or missing", "put all values on one axis"
    ),
    "missing times": Kind(
        "warning", _TIME, "steps that are not there", 'ds = ds.resample({time}="{freq}").asfreq()'
    ),
    "other time step": Kind(
        "note", _TIME, "steps that are no days, no months and not shorter than a day",
        "resample from shorter steps",
    ),
    "short record": Kind(
        "note", _TIME, "too few steps to tell the time step for sure", "select a longer period"
    ),
    "not understood": Kind(
        "error", _TIME, "variables that xflux would not read, and why", "as the message says"
    ),
    "taken for granted": Kind(
        "note", _TIME, "units and names that were assumed", "say them in the attributes"
    ),
    # --- values ----------------------------------------------------------------------------------
    "fill value": Kind(
        "error", _VALUES, "-9999, 9999, 1e20, MODIS 249 to 255 and the like", "mask it"
    ),
    "infinite values": Kind("error", _VALUES, "infinite values", "mask them"),
    "zeros for missing": Kind(
        "warning", _VALUES, "exact zeros where season, light or leaves tell of a value", _CUT
    ),
    "wrong unit": Kind(
        "error", _VALUES, "a size that fits another unit: K, Pa, kPa, J, MJ, PAR, mm h-1, kg, CO2",
        "check the unit",
    ),
    "out of range": Kind("error", _VALUES, "values that cannot be", "mask them"),
    "negative precipitation": Kind("warning", _VALUES, "precipitation below zero", "mask it"),
    # --- repeats and filling ---------------------------------------------------------------------
    "stuck": Kind("warning", _REPEATS, "one value for longer than chance allows", _CUT),
    "straight line": Kind("warning", _REPEATS, "a gap bridged by a line", _CUT),
    "copied stretch": Kind(
        "error", _REPEATS, "a stretch that stands in the record twice, to the last digit", _CUT
    ),
    "repeated fill": Kind(
        "warning", _REPEATS, "a mean course of some days put into a gap again and again", _CUT
    ),
    "too smooth": Kind(
        "warning", _REPEATS, "a record without the change from day to day of other years", _CUT
    ),
    "filled years": Kind(
        "note", _REPEATS, "years in which NEE_QC tells that little was measured",
        "training leaves steps below qc=0.5 out",
    ),
    "repeated season": Kind(
        "note", _REPEATS, "leaves that are the same in every year", "take the years themselves"
    ),
    # --- level -----------------------------------------------------------------------------------
    "spike": Kind("warning", _LEVEL, "single values far from their neighbours", _CUT),
    "step change": Kind(
        "warning", _LEVEL, "a sudden change of level: a sensor changed or moved",
        "use one side, or bring both to one level",
    ),
    "drift": Kind(
        "warning", _LEVEL, "a gradual change of level: a sensor ages", "recalibrate or leave out"
    ),
    # --- sun and clock ---------------------------------------------------------------------------
    "too much radiation": Kind(
        "error", _SUN, "more radiation than reaches the top of the air",
        "check clock, place and sensor",
    ),
    "radiation at night": Kind(
        "error", _SUN, "radiation while the sun is down", "check clock, place and sensor"
    ),
    "clock shift": Kind(
        "error", _SUN, "radiation, warmth or uptake off solar noon", "move the stamps"
    ),
    "summer time": Kind(
        "error", _SUN, "clocks put forward in summer", "use local standard time all year"
    ),
    "shifted days": Kind(
        "warning", _SUN, "days that go with the light of the day before or after", "move the days"
    ),
    "wrong place": Kind(
        "error", _SUN, "a season or a noon of another latitude, hemisphere or longitude; 0, 0",
        "check lat and lon",
    ),
    # --- weather ---------------------------------------------------------------------------------
    "swapped extremes": Kind("error", _WEATHER, "minimum and maximum swapped", "rename them"),
    "extremes out of order": Kind("error", _WEATHER, "TA below TA_MIN or above TA_MAX", _CUT),
    "VPD above saturation": Kind(
        "error", _WEATHER, "air drier than dry", "check the unit and the sensor of humidity"
    ),
    "VPD from means": Kind(
        "note", _WEATHER, "VPD of daily means, which is too low", "average VPD of shorter steps"
    ),
    "monthly mean on each day": Kind(
        "warning", _WEATHER, "one mean of precipitation on each day of a month",
        "take daily precipitation, or say it in cell_methods",
    ),
    "running sum": Kind(
        "error", _WEATHER, "precipitation summed up over the day, month or year", "take differences"
    ),
    "no rain": Kind("warning", _WEATHER, "a season without the rain of other years", _CUT),
    # --- fluxes ----------------------------------------------------------------------------------
    "wrong sign": Kind("error", _FLUXES, "GPP or Reco below 0, NEE above 0 for uptake", "turn it"),
    "no closure": Kind(
        "warning", _FLUXES, "NEE that is not Reco - GPP: how far, since when, by which factor",
        "take the three of one product",
    ),
    "uptake in the dark": Kind("error", _FLUXES, "GPP without sun", "check the clock"),
    "uptake in frost": Kind("warning", _FLUXES, "GPP in deep frost", "check the partitioning"),
    # --- leaves ----------------------------------------------------------------------------------
    "months out of order": Kind(
        "error", _LEAVES, "LAI, EVI, NDVI or FAPAR whose months were sorted as text",
        "put the months in order",
    ),
    "season out of step": Kind(
        "warning", _LEAVES, "leaves or radiation whose season is that of other months",
        "check the months",
    ),
    # --- places ----------------------------------------------------------------------------------
    "wrong elevation": Kind(
        "warning", _PLACES, "an elevation that cannot be, or that the pressure contradicts",
        "check ds.elevation",
    ),
    "unknown land cover": Kind(
        "warning", _PLACES, "a land cover that is no IGBP class", "use the short names of IGBP"
    ),
    "no land cover": Kind("note", _PLACES, "no land cover", "add it"),
    "no place": Kind("warning", _PLACES, "no latitude", "add lat and lon"),
    "wrong climate": Kind(
        "warning", _PLACES, "a tropical climate with a cold month", "check ds.climate"
    ),
    # --- towers ----------------------------------------------------------------------------------
    "same tower twice": Kind(
        "error", _TOWERS, "one record under two names, also moved in time or with noise",
        "keep one of them",
    ),
    "shared stretch": Kind(
        "note", _TOWERS, "stretches that two towers share: gaps filled from one source",
        "nothing, if you know of it",
    ),
    "near neighbours": Kind(
        "note", _TOWERS, "towers within a kilometre with records of their own",
        "ds.flux.split() keeps them together",
    ),
    # --- coverage --------------------------------------------------------------------------------
    "driver missing": Kind(
        "note", _COVER, "a driver without any value at an entity; a warning for TA and SW_IN",
        "add it, or leave the entity out",
    ),
    "long gap": Kind("note", _COVER, "a month or more without TA or SW_IN", "fill or accept it"),
    "no labels": Kind("note", _COVER, "an entity without a label of good quality", "leave it out"),
    "few labels": Kind("note", _COVER, "years with labels on less than a quarter of the steps", ""),
    "one season only": Kind("note", _COVER, "labels in no more than four months of the year", ""),
}  # fmt: skip
"""Every kind by its name."""
