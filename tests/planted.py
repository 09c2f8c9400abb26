"""Faults to be planted in clean towers: each as it comes about, and the kinds that may find it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from xflux.audit.findings import Finding, Report
from xflux.audit.leaves import TEXT
from xflux.audit.sun import daily_top
from xflux.cf.derived import saturation_pressure


@dataclass
class Tower:
    """One tower of a Dataset whose values may be changed, and what is needed to do it."""

    ds: xr.Dataset
    site: int
    rng: np.random.Generator
    names: dict[str, str] = field(default_factory=dict)

    def get(self, name: str) -> np.ndarray:
        """A copy of a variable of this tower."""
        return self.ds[self.names.get(name, name)].values[self.site].astype(float).copy()

    def put(self, name: str, values: np.ndarray) -> None:
        """Change a variable of this tower."""
        self.ds[self.names.get(name, name)].values[self.site] = values

    def set(self, name: str, value: object) -> None:
        """Change a characteristic of this tower."""
        self.ds[name].values[self.site] = value

    @property
    def time(self) -> xr.DataArray:
        return self.ds["time"]

    def record(self, name: str) -> np.ndarray:
        """Steps that hold a value."""
        return np.flatnonzero(np.isfinite(self.get(name)))

    def stretch(self, name: str, length: int) -> slice:
        """A random unbroken stretch with values, as long as there is one of this length."""
        there = np.isfinite(self.get(name))
        run = np.convolve(there, np.ones(length), "valid") >= length - 0.5
        starts = np.flatnonzero(run)
        begin = int(self.rng.choice(starts)) if starts.size else int(self.record(name)[0])
        return slice(begin, begin + length)

    def some(self, name: str, count: int, where: np.ndarray | None = None) -> np.ndarray:
        """Random steps that hold a value."""
        there = np.isfinite(self.get(name))
        steps = np.flatnonzero(there if where is None else there & where)
        return self.rng.choice(steps, min(count, steps.size), replace=False)

    def later(self, name: str, share: float = 0.5) -> slice:
        """From somewhere about the middle of the record to its end."""
        steps = self.record(name)
        return slice(int(steps[int(share * steps.size)]), int(steps[-1]) + 1)

    def season(self, name: str) -> np.ndarray:
        """The usual course of a year at each step."""
        day = self.time.dt.dayofyear.values // 16
        values = self.get(name)
        out = np.empty_like(values)
        for part in np.unique(day):
            out[day == part] = np.nanmean(values[day == part])
        kernel = np.hanning(31) / np.hanning(31).sum()
        return np.convolve(np.pad(out, 15, mode="edge"), kernel, "valid")


@dataclass(frozen=True)
class Defect:
    """A fault: how to plant it, and the kinds and variables that count as its discovery."""

    name: str
    plant: Callable[[Tower], None]
    kinds: tuple[str, ...]
    variables: tuple[str, ...]
    needs: Callable[[Tower], bool] = lambda tower: True


@dataclass(frozen=True)
class Outcome:
    """What a report says of a planted fault."""

    defect: Defect
    entity: str
    found: bool
    others: tuple[Finding, ...]


def sow(
    ds: xr.Dataset,
    defects: Sequence[Defect],
    rng: np.random.Generator,
    *,
    names: dict[str, str] | None = None,
    least: int = 400,
) -> dict[str, str]:
    """Plant each fault at a tower of its own, in place; the tower's name by that of the fault."""
    order = [int(site) for site in rng.permutation(ds.sizes["site"])]
    sown: dict[str, str] = {}
    for defect in defects:
        for site in order:
            tower = Tower(ds, site, rng, names or {})
            label = str(ds.site.values[site])
            if label not in sown.values() and _fit(tower, defect, least):
                defect.plant(tower)
                sown[defect.name] = label
                break
    return sown


def _fit(tower: Tower, defect: Defect, least: int) -> bool:
    """Whether a tower has enough values for a fault, and can show it."""
    known = {n: tower.names.get(n, n) for n in {*defect.variables, "TA", "GPP"}}
    held = [n for n, own in known.items() if own in tower.ds and "time" in tower.ds[own].dims]
    return defect.needs(tower) and all(tower.record(name).size >= least for name in held)


def outcomes(
    report: Report, clean: Report, defects: Sequence[Defect], sown: dict[str, str]
) -> list[Outcome]:
    """Which of the faults are found: entity, kind and variable, and not in the clean report."""
    before = {(f.entity, f.kind, f.variable, f.evidence) for f in clean}
    told = []
    for defect in defects:
        if defect.name not in sown:
            continue
        label = sown[defect.name]
        mine = [
            f
            for f in report
            if f.entity == label and (label, f.kind, f.variable, f.evidence) not in before
        ]
        hits = [
            f for f in mine
            if f.kind in defect.kinds and set(f.quantity.split(", ")) & set(defect.variables)
        ]  # fmt: skip
        others = tuple(f for f in mine if f not in hits and f.severity != "note")
        told.append(Outcome(defect, label, bool(hits), others))
    return told


def serious(report: Report, *, but: Collection[str] = ()) -> list[Finding]:
    """Errors and warnings, those of some entities left out."""
    return [f for f in (*report.errors, *report.warnings) if f.entity not in set(but)]


def scaled(name: str, factor: float, offset: float = 0.0) -> Callable[[Tower], None]:
    """The whole variable in another unit."""

    def plant(tower: Tower) -> None:
        tower.put(name, tower.get(name) * factor + offset)

    return plant


def together(*plants: Callable[[Tower], None]) -> Callable[[Tower], None]:
    def plant(tower: Tower) -> None:
        for one in plants:
            one(tower)

    return plant


def filled(name: str, value: float, count: int = 40) -> Callable[[Tower], None]:
    def plant(tower: Tower) -> None:
        values = tower.get(name)
        values[tower.some(name, count)] = value
        tower.put(name, values)

    return plant


def modis_fills(tower: Tower) -> None:
    values = tower.get("LAI")
    steps = tower.some("LAI", 30)
    values[steps] = tower.rng.choice(np.arange(249, 256), steps.size)
    tower.put("LAI", values)


def zeroed(name: str, least: float, length: int = 25) -> Callable[[Tower], None]:
    """Zeros in place of values, in a season in which they are clearly not 0."""

    def plant(tower: Tower) -> None:
        values = tower.get(name)
        usual = tower.season(name)
        steps = tower.some(name, length, np.abs(usual) > least)
        values[steps] = 0.0
        tower.put(name, values)

    return plant


def frozen(name: str, length: int) -> Callable[[Tower], None]:
    def plant(tower: Tower) -> None:
        values = tower.get(name)
        where = tower.stretch(name, length)
        while abs(values[where.start]) < 0.5:
            where = slice(where.start + 1, where.stop + 1)
        values[where] = values[where.start]
        tower.put(name, values)

    return plant


def line(name: str, length: int) -> Callable[[Tower], None]:
    def plant(tower: Tower) -> None:
        values = tower.get(name)
        where = tower.stretch(name, length)
        values[where] = np.linspace(values[where.start], values[where.stop - 1] + 0.5, length)
        tower.put(name, values)

    return plant


def copied(names: tuple[str, ...], length: int, lag: int) -> Callable[[Tower], None]:
    """A stretch put in for another one ``lag`` steps later."""

    def plant(tower: Tower) -> None:
        steps = tower.record(names[0])
        room = steps.size - length - lag
        begin = int(steps[0]) + (int(tower.rng.integers(room)) if room > 0 else 0)
        for name in names:
            values = tower.get(name)
            stop = min(begin + length, values.size - lag)
            values[begin + lag : stop + lag] = values[begin:stop]
            tower.put(name, values)

    return plant


def smoothed(name: str, length: int) -> Callable[[Tower], None]:
    """A mean season in place of the weather."""

    def plant(tower: Tower) -> None:
        values = tower.get(name)
        where = tower.stretch(name, length)
        usual = tower.season(name)
        values[where] = usual[where]
        tower.put(name, values)

    return plant


def low_quality(tower: Tower) -> None:
    values = tower.get("NEE_QC")
    years = tower.time.dt.year.values
    there = np.isfinite(tower.get("NEE"))
    full = [y for y in np.unique(years) if (there & (years == y)).sum() > 300]
    values[years == tower.rng.choice(full)] = 0.05
    tower.put("NEE_QC", values)


def has_a_full_year(tower: Tower) -> bool:
    years, there = tower.time.dt.year.values, np.isfinite(tower.get("NEE"))
    return any((there & (years == year)).sum() > 300 for year in np.unique(years))


def spiked(name: str, size: float, count: int = 3) -> Callable[[Tower], None]:
    def plant(tower: Tower) -> None:
        values = tower.get(name)
        steps = tower.some(name, count)
        values[steps] += size * tower.rng.choice([-1, 1], steps.size) if size > 0 else -size
        tower.put(name, values)

    return plant


def stepped(name: str, factor: float = 1.0, offset: float = 0.0) -> Callable[[Tower], None]:
    def plant(tower: Tower) -> None:
        values = tower.get(name)
        where = tower.later(name, float(tower.rng.uniform(0.4, 0.6)))
        values[where] = values[where] * factor + offset
        tower.put(name, values)

    return plant


def drifting(name: str, relative: float = 0.0, absolute: float = 0.0) -> Callable[[Tower], None]:
    """A change that grows with the years."""

    def plant(tower: Tower) -> None:
        values = tower.get(name)
        years = (np.arange(values.size) - tower.record(name)[0]) / 365.25
        tower.put(name, values * (1 + relative * years) + absolute * years)

    return plant


def moved(names: tuple[str, ...], steps: int) -> Callable[[Tower], None]:
    """Days under the stamp of another day."""

    def plant(tower: Tower) -> None:
        for name in names:
            tower.put(name, np.roll(tower.get(name), steps))

    return plant


def text_order(name: str) -> Callable[[Tower], None]:
    """The months of each year stored in the order of their numbers as text."""

    def plant(tower: Tower) -> None:
        values, year, month = tower.get(name), tower.time.dt.year.values, tower.time.dt.month.values
        out = values.copy()
        for y in np.unique(year):
            means = [np.nanmean(values[(year == y) & (month == m)]) if
                     np.isfinite(values[(year == y) & (month == m)]).any() else np.nan
                     for m in range(1, 13)]  # fmt: skip
            for m in range(1, 13):
                out[(year == y) & (month == m)] = means[TEXT[m - 1]]
        tower.put(name, out)

    return plant


def shifted_season(name: str) -> Callable[[Tower], None]:
    def plant(tower: Tower) -> None:
        per_year = 365 if tower.time.size > 700 else 12
        tower.put(name, np.roll(tower.get(name), per_year // 2))

    return plant


def hemisphere(tower: Tower) -> None:
    tower.set("lat", -float(tower.ds["lat"].values[tower.site]))


def far_from_equator(tower: Tower) -> bool:
    return abs(float(tower.ds["lat"].values[tower.site])) > 12


def far_when_swapped(tower: Tower) -> bool:
    lat, lon = (float(tower.ds[n].values[tower.site]) for n in ("lat", "lon"))
    return abs(lat - lon) > 25


def swapped_place(tower: Tower) -> None:
    lat, lon = (float(tower.ds[n].values[tower.site]) for n in ("lat", "lon"))
    tower.set("lat", lon)
    tower.set("lon", lat)


def nowhere(tower: Tower) -> None:
    tower.set("lat", 0.0)
    tower.set("lon", 0.0)


def swapped_extremes(tower: Tower) -> None:
    low, high = tower.get("TA_MIN"), tower.get("TA_MAX")
    tower.put("TA_MIN", high)
    tower.put("TA_MAX", low)


def minimum_above(tower: Tower) -> None:
    low, mean = tower.get("TA_MIN"), tower.get("TA")
    steps = tower.some("TA", 20)
    low[steps] = mean[steps] + tower.rng.uniform(0.5, 4, steps.size)
    tower.put("TA_MIN", low)


def mean_above(tower: Tower) -> None:
    mean, high = tower.get("TA"), tower.get("TA_MAX")
    steps = tower.some("TA", 20)
    mean[steps] = high[steps] + tower.rng.uniform(0.5, 4, steps.size)
    tower.put("TA", mean)


def too_dry(tower: Tower) -> None:
    values = tower.get("VPD")
    where = tower.stretch("VPD", 40)
    full = saturation_pressure(np.maximum(tower.get("TA_MAX"), tower.get("TA")))
    values[where] = full[where] * 1.3 + 3
    tower.put("VPD", values)


def negative_rain(tower: Tower) -> None:
    values = tower.get("P")
    values[tower.some("P", 15)] = -tower.rng.uniform(0.1, 0.4)
    tower.put("P", values)


def summed_rain(tower: Tower) -> None:
    values, month = tower.get("P"), tower.time.dt.month.values + 100 * tower.time.dt.year.values
    out = values.copy()
    for m in np.unique(month):
        out[month == m] = np.nancumsum(values[month == m])
    tower.put("P", np.where(np.isfinite(values), out, np.nan))


def monthly_rain(tower: Tower) -> None:
    values, month = tower.get("P"), tower.time.dt.month.values + 100 * tower.time.dt.year.values
    out = values.copy()
    for m in np.unique(month):
        if np.isfinite(values[month == m]).any():
            out[month == m] = np.nanmean(values[month == m])
    tower.put("P", np.where(np.isfinite(values), out, np.nan))


def clogged(tower: Tower) -> None:
    values = tower.get("P")
    wet = (values > 0.2).astype(float)
    length = 240
    run = np.convolve(wet, np.ones(length), "valid")
    begin = int(np.argmax(run))
    values[begin : begin + length] = 0.0
    tower.put("P", values)


def open_since(tower: Tower) -> None:
    values = tower.get("GPP")
    where = tower.later("GPP", float(tower.rng.uniform(0.3, 0.6)))
    values[where] *= 1.3
    tower.put("GPP", values)


def frosty(tower: Tower) -> None:
    values, air = tower.get("GPP"), tower.get("TA_MAX")
    where = np.isfinite(values) & (air < -8) & (tower.get("TA") < -12)
    values[where] = tower.rng.uniform(2.5, 5.0, int(where.sum()))
    tower.put("GPP", values)


def has_frost(tower: Tower) -> bool:
    cold = (tower.get("TA_MAX") < -8) & (tower.get("TA") < -12)
    quality = tower.get("NEE_QC") >= 0.5
    return bool((cold & quality & np.isfinite(tower.get("GPP"))).sum() >= 15)


def dark_uptake(tower: Tower) -> None:
    values, day = tower.get("GPP"), tower.time.dt.dayofyear.values.astype(float)
    top = daily_top(np.array([float(tower.ds["lat"].values[tower.site])]), day)[0]
    where = np.isfinite(values) & (top < 2)
    values[where] = tower.rng.uniform(2.0, 4.0, int(where.sum()))
    tower.put("GPP", values)


def has_polar_night(tower: Tower) -> bool:
    day = tower.time.dt.dayofyear.values.astype(float)
    top = daily_top(np.array([float(tower.ds["lat"].values[tower.site])]), day)[0]
    quality = tower.get("NEE_QC") >= 0.5
    return bool(((top < 2) & quality & np.isfinite(tower.get("GPP"))).sum() >= 15)


def too_bright(tower: Tower) -> None:
    values = tower.get("SW_IN")
    steps = tower.some("SW_IN", 25)
    values[steps] = 560.0
    tower.put("SW_IN", values)


def empty(name: str) -> Callable[[Tower], None]:
    def plant(tower: Tower) -> None:
        tower.put(name, np.full(tower.time.size, np.nan))

    return plant


def few_labels(tower: Tower) -> None:
    year = tower.time.dt.year.values
    there = np.isfinite(tower.get("GPP"))
    full = [y for y in np.unique(year) if (there & (year == y)).sum() > 250]
    chosen = full[len(full) // 2]
    for name in ("GPP", "Reco", "NEE"):
        values = tower.get(name)
        inside = np.flatnonzero(year == chosen)
        values[inside[20:]] = np.nan
        tower.put(name, values)


def summer_only(tower: Tower) -> None:
    month = tower.time.dt.month.values
    for name in ("GPP", "Reco", "NEE"):
        values = tower.get(name)
        values[~np.isin(month, (6, 7, 8))] = np.nan
        tower.put(name, values)


def with_pressure(tower: Tower) -> None:
    """Pressure of another height than the elevation's."""
    height = float(tower.ds["elevation"].values[tower.site])
    if "PA" not in tower.ds:
        usual = 1013.25 * np.exp(-tower.ds["elevation"].fillna(0).values[:, None] / 8430)
        usual = usual + 6 * tower.rng.normal(size=tower.ds["TA"].shape)
        tower.ds["PA"] = (tower.ds["TA"].dims, usual.astype("f4"), {"units": "hPa"})
    noise = 6 * tower.rng.normal(size=tower.time.size)
    tower.put("PA", 1013.25 * np.exp(-(height + 900) / 8430) + noise)


ALL_FLUXES = ("GPP", "Reco", "NEE")
WEATHER = ("TA", "TA_MIN", "TA_MAX", "SW_IN", "VPD")

UNIT = ("wrong unit", "out of range")

DAILY: tuple[Defect, ...] = (
    Defect("kelvin called degC", scaled("TA", 1, 273.15), UNIT, ("TA",)),
    Defect("Fahrenheit called degC", scaled("TA", 1.8, 32), UNIT, ("TA",)),
    Defect("kelvin in TA_MAX", scaled("TA_MAX", 1, 273.15), UNIT, ("TA_MAX",)),
    Defect("Pa called hPa", scaled("VPD", 100), UNIT, ("VPD",)),
    Defect("kPa called hPa", scaled("VPD", 0.1), UNIT, ("VPD",)),
    Defect("hPa called kPa", scaled("VPD", 10), (*UNIT, "VPD above saturation"), ("VPD",)),
    Defect("J m-2 called W m-2", scaled("SW_IN", 86400), UNIT, ("SW_IN",)),
    Defect("MJ m-2 called W m-2", scaled("SW_IN", 0.0864), UNIT, ("SW_IN",)),
    Defect("PAR called shortwave", scaled("SW_IN", 2.02), UNIT, ("SW_IN",)),
    Defect("mm h-1 called mm d-1", scaled("P", 1 / 24), UNIT, ("P",)),
    Defect("m called mm", scaled("P", 1e-3), UNIT, ("P",)),
    Defect("kg m-2 s-1 called mm d-1", scaled("P", 1 / 86400), UNIT, ("P",)),
    Defect(
        "kg called g, all fluxes",
        together(*(scaled(name, 1e-3) for name in ALL_FLUXES)), UNIT, ALL_FLUXES,
    ),
    Defect(
        "moles called g, all fluxes",
        together(*(scaled(name, 1 / 12.011) for name in ALL_FLUXES)), UNIT, ALL_FLUXES,
    ),
    Defect(
        "grams called moles, all fluxes",
        together(*(scaled(name, 12.011) for name in ALL_FLUXES)), UNIT, ALL_FLUXES,
    ),
    Defect("GPP in g of CO2", scaled("GPP", 44.009 / 12.011), (*UNIT, "no closure"), ("GPP",)),
    Defect("Reco times 12", scaled("Reco", 12.011), (*UNIT, "no closure"), ("Reco",)),
    Defect("NEE in umol", scaled("NEE", 1 / 1.0377504), ("no closure",), ("NEE",)),
    Defect("unscaled LAI", scaled("LAI", 10), UNIT, ("LAI",)),
    Defect("unscaled EVI", scaled("EVI", 1e4), UNIT, ("EVI",)),
    Defect("-9999 in TA", filled("TA", -9999.0), ("fill value",), ("TA",)),
    Defect("9999 in SW_IN", filled("SW_IN", 9999.0), ("fill value",), ("SW_IN",)),
    Defect("-9999 in GPP", filled("GPP", -9999.0), ("fill value",), ("GPP",)),
    Defect("1e20 in VPD", filled("VPD", 1e20), ("fill value",), ("VPD",)),
    Defect("MODIS fills in LAI", modis_fills, ("fill value",), ("LAI",)),
    Defect("infinite VPD", filled("VPD", np.inf), ("infinite values",), ("VPD",)),
    Defect("TA of 80 degC", filled("TA", 80.0, 5), ("out of range", "spike"), ("TA",)),
    Defect("zeros in TA", zeroed("TA", 10), ("zeros for missing", "stuck"), ("TA",)),
    Defect("zeros in SW_IN", zeroed("SW_IN", 80), ("zeros for missing", "stuck"), ("SW_IN",)),
    Defect("zeros in GPP", zeroed("GPP", 1.5), ("zeros for missing", "no closure"), ("GPP",)),
    Defect("zeros in LAI", zeroed("LAI", 0.8), ("zeros for missing", "stuck"), ("LAI",)),
    Defect("stuck TA", frozen("TA", 20), ("stuck",), ("TA",)),
    Defect("stuck SW_IN", frozen("SW_IN", 15), ("stuck",), ("SW_IN",)),
    Defect("stuck VPD", frozen("VPD", 20), ("stuck",), ("VPD",)),
    Defect("stuck NEE", frozen("NEE", 20), ("stuck", "no closure"), ("NEE",)),
    Defect("a gap of TA bridged by a line", line("TA", 30), ("straight line",), ("TA",)),
    Defect("a year of weather twice", copied(WEATHER, 365, 365), ("copied stretch",), WEATHER),
    Defect("a month of TA twice", copied(("TA",), 31, 31), ("copied stretch",), ("TA",)),
    Defect(
        "a year of NEE twice", copied(("NEE",), 365, 365),
        ("copied stretch", "no closure"), ("NEE",),
    ),
    Defect("half a year of TA smooth", smoothed("TA", 180), ("too smooth",), ("TA",)),
    Defect("a year of NEE smooth", smoothed("NEE", 365), ("too smooth", "no closure"), ("NEE",)),
    Defect(
        "a year of low NEE_QC", low_quality, ("filled years", "few labels"), ALL_FLUXES,
        has_a_full_year,
    ),
    Defect(
        "spikes in TA", spiked("TA", 35),
        ("spike", "out of range", "extremes out of order"), ("TA",),
    ),
    Defect("spikes in GPP", spiked("GPP", 40), ("spike", "out of range", "no closure"), ("GPP",)),
    Defect("spikes in VPD", spiked("VPD", -60), ("spike", "VPD above saturation"), ("VPD",)),
    Defect(
        "TA 4 K warmer from a day on",
        together(*(stepped(name, offset=4.0) for name in ("TA",))),
        ("step change", "extremes out of order"), ("TA",),
    ),
    Defect("SW_IN 30 % lower from a day on", stepped("SW_IN", 0.7), ("step change",), ("SW_IN",)),
    Defect(
        "VPD 2.5 times from a day on", stepped("VPD", 2.5),
        ("step change", "VPD above saturation"), ("VPD",),
    ),
    Defect("months of LAI as text", text_order("LAI"), ("months out of order",), ("LAI",)),
    Defect(
        "LAI half a year off", shifted_season("LAI"),
        ("season out of step", "months out of order"), ("LAI",),
    ),
    Defect("NEE positive for uptake", scaled("NEE", -1), ("wrong sign", "no closure"), ("NEE",)),
    Defect("GPP negative", scaled("GPP", -1), ("wrong sign", "no closure"), ("GPP",)),
    Defect("Reco negative", scaled("Reco", -1), ("wrong sign", "no closure"), ("Reco",)),
    Defect("SW_IN a day late", moved(("SW_IN",), 1), ("shifted days",), ("SW_IN",)),
    Defect("fluxes a day early", moved(ALL_FLUXES, -1), ("shifted days",), ALL_FLUXES),
    Defect("the other hemisphere", hemisphere, ("wrong place",), ("lat",), far_from_equator),
    Defect("lat and lon swapped", swapped_place, ("wrong place",), ("lat",), far_when_swapped),
    Defect("place 0, 0", nowhere, ("wrong place",), ("lat",)),
    Defect("TA_MIN and TA_MAX swapped", swapped_extremes, ("swapped extremes",), ("TA_MIN",)),
    Defect("TA_MIN above TA", minimum_above, ("extremes out of order",), ("TA_MIN",)),
    Defect("TA above TA_MAX", mean_above, ("extremes out of order",), ("TA",)),
    Defect("VPD above saturation", too_dry, ("VPD above saturation",), ("VPD",)),
    Defect("negative rain", negative_rain, ("negative precipitation", "out of range"), ("P",)),
    Defect("rain summed over the month", summed_rain, ("running sum",), ("P",)),
    Defect("monthly rain on each day", monthly_rain, ("monthly mean on each day",), ("P",)),
    Defect("a clogged gauge", clogged, ("no rain",), ("P",)),
    Defect("open balance since a day", open_since, ("no closure",), ("GPP",)),
    Defect("GPP in frost", frosty, ("uptake in frost", "no closure"), ("GPP",), has_frost),
    Defect(
        "GPP in the polar night", dark_uptake, ("uptake in the dark", "no closure"), ("GPP",),
        has_polar_night,
    ),
    Defect("more light than there is", too_bright, ("too much radiation", "spike"), ("SW_IN",)),
    Defect("no TA", empty("TA"), ("driver missing",), ("TA",)),
    Defect("no LAI", empty("LAI"), ("driver missing",), ("LAI",)),
    Defect(
        "a year with few labels", few_labels, ("few labels",), ALL_FLUXES, has_a_full_year,
    ),
    Defect("labels in summer only", summer_only, ("one season only",), ALL_FLUXES),
    Defect(
        "land cover XYZ", lambda tower: tower.set("igbp", "XYZ"),
        ("unknown land cover",), ("igbp",),
    ),
    Defect("another elevation", with_pressure, ("wrong elevation",), ("elevation",)),
)  # fmt: skip
"""Faults of daily towers. Some need a tower that can show them: frost, or a polar night."""
