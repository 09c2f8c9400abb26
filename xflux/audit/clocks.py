"""Clocks of steps shorter than a day: the sun tells the time wherever a tower stands.

The brightest values of each time of the day lie symmetrically about solar noon, which follows from
the longitude, the offset to universal time and the equation of time.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xflux.audit import robust, sun
from xflux.audit.blocks import Array, Block, Found, ends, good

KNOWN, UNKNOWN = 0.6, 1.75
"""Hours by which radiation may be off solar noon: where ``utc_offset`` is known, half a step and
morning fog; where it is not, a clock of its zone, which may be 1.5 hours off the sun."""

SUMMER_TIME = (0.6, 1.4)
"""Hours by which summer is later than winter when clocks are put forward."""

LEAST_DAYS = 8
"""Days of a month that its brightest course needs."""

LONGEST_STEP = 3.0
"""Hours; longer steps do not tell noon."""

SAME_PLACE = 12.0
"""Degrees by which the longitude that fits may differ from one that explains it."""

OTHER_ZONE = 0.75
"""Hours by which the opposite longitude must fit the clock's zone better, to be the right one."""

NIGHT_HEIGHT, NIGHT_LIGHT, NIGHT_SHARE = -0.08, 25.0, 0.02
"""Sine of the sun's height that is night (5 degrees down), W m-2 that are light, and the share of
night steps that must have it. Pyranometers read some W m-2 less than 0 at night, not more."""

BRIGHT_SHARE, BRIGHT_SLACK, BRIGHT_STEPS = 1.15, 60.0, 0.002
"""Radiation above so much of that above the air, with a slack in W m-2, at so many of the steps in
daylight. Light reflected from the edges of clouds raises half-hours by a tenth (Gueymard 2017,
doi:10.1016/j.solener.2017.05.004)."""

FLUX_HOURS = 2.0
"""Hours by which uptake may be off the light. Dry afternoons move its centre by up to one."""

WARM_HOURS = (-1.5, 7.0)
"""Hours after solar noon at which air is warmest: about three, near the sea and in fog anywhere
within these."""

NIGHT_UPTAKE, NIGHT_STEPS = 1.0, 200
"""g m-2 d-1 of GPP, mean of the night, and the steps that show it."""


def clocks(block: Block) -> Iterator[Found]:
    """Radiation off solar noon, summer time, light at night, and fluxes off the light."""
    if block.time.step != "sub-daily" or block.time.hours > LONGEST_STEP:
        return
    offset = block.number("utc_offset")
    lon, lat = block.number("lon"), block.number("lat")
    unknown = ~np.isfinite(offset)
    zone = np.where(unknown, (lon + 180) % 360 - 180, 0) / 15
    noon = sun.noon(lon, np.where(unknown, zone, offset), block.time.day)
    shift, summer = np.zeros(block.size), np.zeros(block.size, dtype=bool)
    if "SW_IN" in block.values:
        yield from _noon(block, noon, unknown, shift, summer)
    seen = (noon + shift[:, None]).astype(np.float32)
    height = sun.height(lat, block.time.day, block.time.hour, seen)
    height[summer] = np.nan
    if "SW_IN" in block.values:
        yield from _night(block, height)
        yield from _noon_light(block, lat, seen, summer)
    yield from _night_uptake(block, height)
    # What agrees with the clock as it is, or with the radiation, is not shifted itself.
    yield from _warmest(block, (noon, seen))
    yield from _off_the_light(block, (noon, seen))


def _courses(block: Block, values: Array, share: float) -> Array:
    """A quantile by month and time of the day, shape (N, months, steps of a day)."""
    line = block.time
    per_day = round(24 / line.hours)
    place = np.floor(line.hour / line.hours + 1e-6).astype(np.int64) % per_day
    days = np.full((block.size, int(line.day_index[-1]) + 1, per_day), np.nan, np.float32)
    days[:, line.day_index, place] = values
    months = np.unique(line.month_index)
    out = np.full((block.size, months.size, per_day), np.nan, np.float32)
    for i, month in enumerate(months):
        inside = np.unique(line.day_index[line.month_index == month])
        out[:, i] = robust.quantile(days[:, inside].swapaxes(1, 2), share, least=LEAST_DAYS)
    return out


def _centre(courses: Array, hours: float) -> Array:
    """Hour about which a daily course lies, by its first harmonic, shape (N, months)."""
    there = np.isfinite(courses).all(axis=-1)
    clock = (np.arange(courses.shape[-1]) + 0.5) * hours
    turn = np.exp(2j * np.pi * clock / 24)
    wave = np.nan_to_num(courses) @ turn
    centre = (np.angle(wave) * 24 / (2 * np.pi)) % 24
    clear = np.abs(wave) > 0.05 * np.nan_to_num(courses).sum(axis=-1)
    return np.where(there & clear, centre, np.nan).astype(np.float32)


def _turned(hours: Array) -> Array:
    """Hours brought to -12 to 12."""
    return np.asarray((hours + 12) % 24 - 12, dtype=np.float32)


def _by_month(block: Block, values: Array) -> Array:
    """Mean of each month that the axis touches, shape (N, months)."""
    months = np.unique(block.time.month_index)
    return np.stack(
        [values[:, block.time.month_index == month].mean(axis=1) for month in months], axis=1
    )


def _noon(
    block: Block, noon: Array, unknown: np.ndarray, shift: np.ndarray, summer: np.ndarray
) -> Iterator[Found]:
    """Radiation that is not centred on noon; the shift is taken into account afterwards."""
    courses = _courses(block, block.values["SW_IN"], 0.9)
    off = _turned(_centre(courses, block.time.hours) - _by_month(block, noon))
    middle = robust.median(off, least=1)
    months = np.unique(block.time.month_index) % 12 + 1
    for row in robust.which(np.isfinite(middle)):
        allowed = UNKNOWN if unknown[row] else KNOWN
        allowed += block.time.hours / 2
        later = _summer_time(off[row], months, float(block.number("lat")[row]))
        if abs(middle[row]) > allowed:
            shift[row] = middle[row]
            yield _shifted(block, row, float(middle[row]), bool(unknown[row]))
        elif later is not None:
            summer[row] = True
            yield Found(
                "summer time",
                row,
                ("SW_IN",),
                *block.there(row, ("SW_IN",)),
                f"noon is {later:.1f} hours later in summer than in winter: clocks put forward",
            )


def _summer_time(off: Array, months: np.ndarray, lat: float) -> float | None:
    """Hours by which summer is later than winter, where that is about one."""
    north = np.isin(months, (5, 6, 7, 8, 9))
    winter = np.isin(months, (11, 12, 1, 2))
    if lat < 0:
        north, winter = np.isin(months, (11, 12, 1, 2)), np.isin(months, (5, 6, 7, 8))
    warm, cold = off[north & np.isfinite(off)], off[winter & np.isfinite(off)]
    if not warm.size or not cold.size:
        return None
    later = float(np.median(warm) - np.median(cold))
    return later if SUMMER_TIME[0] < later < SUMMER_TIME[1] else None


def _shifted(block: Block, row: int, off: float, unknown: bool) -> Found:
    lon = float((block.number("lon")[row] + 180) % 360 - 180)
    words = (
        f"radiation is centred {abs(off):.1f} hours {'after' if off > 0 else 'before'} solar noon"
    )
    meant = float(_turned(np.asarray([(lon - 15 * off) / 15]))[0] * 15)
    zone = float(block.number("utc_offset")[row])
    elsewhere = abs(lon / 15 - zone) > abs(-lon / 15 - zone) + OTHER_ZONE
    if elsewhere and abs(meant + lon) < SAME_PLACE and abs(lon) > SAME_PLACE / 2:
        called = block.called.get("lon", "lon")
        return Found(
            "wrong place",
            row,
            ("lon",),
            *block.there(row, ("SW_IN",)),
            f"{words} of longitude {lon:.4g}: looks like {-lon:.4g}",
            whole=f'ds["{called}"] = -ds["{called}"]',
        )
    if abs(off - (-lon / 15 if unknown else -zone)) < 1.0 and abs(off) > 1.5:
        words += ": looks like universal time"
    return Found(
        "clock shift",
        row,
        ("SW_IN",),
        *block.there(row, ("SW_IN",)),
        f"{words} of longitude {lon:.4g}",
        whole=f'ds = ds.assign_coords(time=ds.time - np.timedelta64({round(off * 60)}, "m"))',
    )


def _night(block: Block, height: Array) -> Iterator[Found]:
    values = block.values["SW_IN"]
    with np.errstate(invalid="ignore"):
        dark = height < NIGHT_HEIGHT
        lit = dark & (values > NIGHT_LIGHT)
    share = lit.sum(axis=1) / np.maximum((dark & np.isfinite(values)).sum(axis=1), 1)
    for row in robust.which(share > NIGHT_SHARE):
        steps = np.flatnonzero(lit[row])
        yield Found(
            "radiation at night",
            row,
            ("SW_IN",),
            *ends(steps),
            f"more than {NIGHT_LIGHT:.0f} W m-2 at {steps.size} steps of night "
            f"({100 * share[row]:.0f} %), up to {float(values[row, steps].max()):.0f}",
        )
        values[row, steps] = np.nan


def _noon_light(block: Block, lat: np.ndarray, noon: Array, summer: np.ndarray) -> Iterator[Found]:
    values = block.values["SW_IN"]
    # The sun may stand highest anywhere within the step.
    limit = np.maximum.reduce(
        [
            sun.top(lat, block.time.day, block.time.hour + part * block.time.hours, noon)
            for part in (-1.0, -0.5, 0.0, 0.5, 1.0)
        ]
    )
    with np.errstate(invalid="ignore"):
        over = (values > BRIGHT_SHARE * limit + BRIGHT_SLACK) & ~summer[:, None]
    day = np.maximum(((limit > 50) & np.isfinite(values)).sum(axis=1), 1)
    for row in robust.which(over.sum(axis=1) > np.maximum(BRIGHT_STEPS * day, 5)):
        steps = np.flatnonzero(over[row])
        worst = steps[np.argmax((values[row] - limit[row])[steps])]
        yield Found(
            "too much radiation",
            row,
            ("SW_IN",),
            *ends(steps),
            f"{steps.size} steps above what reaches the top of the air, the worst "
            f"{values[row, worst]:.0f} W m-2 where there are {limit[row, worst]:.0f}",
        )


def _night_uptake(block: Block, height: Array) -> Iterator[Found]:
    if "GPP" not in block.values:
        return
    gpp = good(block, "GPP")
    with np.errstate(invalid="ignore"):
        night = np.where(height < NIGHT_HEIGHT, gpp, np.float32(np.nan))
    level = robust.mean(night, least=NIGHT_STEPS)
    middle = robust.median(night, least=NIGHT_STEPS)
    for row in robust.which((level > NIGHT_UPTAKE) & (middle > NIGHT_UPTAKE / 2)):
        steps = np.flatnonzero(np.isfinite(night[row]))
        yield Found(
            "uptake in the dark",
            row,
            ("GPP",),
            *ends(steps),
            f"mean GPP {level[row]:.3g} g m-2 d-1 at {steps.size} steps of night",
        )


def _warmest(block: Block, noons: tuple[Array, ...]) -> Iterator[Found]:
    """Air that is warmest at night."""
    if "TA" not in block.values:
        return
    courses = _courses(block, block.values["TA"], 0.5)
    swing = courses.max(axis=-1) - courses.min(axis=-1)
    course = courses - courses.min(axis=-1, keepdims=True)
    centre = _centre(course, block.time.hours)
    lates = []
    for noon in noons:
        late = _turned(centre - _by_month(block, noon))
        with np.errstate(invalid="ignore"):
            late = np.where(swing > 5.0, late, np.nan).astype(np.float32)
        lates.append(robust.median(late, least=1))
    middle = _least(lates, 3.0)
    slack = UNKNOWN if "utc_offset" not in block.numbers and "SW_IN" not in block.values else 0.0
    for row in robust.which(np.isfinite(middle)):
        if not WARM_HOURS[0] - slack <= middle[row] <= WARM_HOURS[1] + slack:
            yield Found(
                "clock shift",
                row,
                ("TA",),
                *block.there(row, ("TA",)),
                f"air is warmest {middle[row]:.1f} hours after solar noon, expected about 3",
            )
            block.set_aside(row, ("TA",))


def _least(lates: list[Array], usual: float) -> Array:
    """Of two delays the one that is nearer to the usual one."""
    one, other = lates
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(one - usual) <= np.abs(other - usual), one, other)


def _off_the_light(block: Block, noons: tuple[Array, ...]) -> Iterator[Found]:
    """Uptake whose daily course is that of another hour than the sun's."""
    done = np.zeros(block.size, bool)
    for name, sign in (("NEE", -1.0), ("GPP", 1.0)):
        if name not in block.values:
            continue
        courses = sign * _courses(block, good(block, name), 0.5)
        courses = courses - courses.min(axis=-1, keepdims=True)
        swing = courses.max(axis=-1)
        centre = _centre(courses, block.time.hours)
        lates = []
        for noon in noons:
            late = _turned(centre - _by_month(block, noon))
            with np.errstate(invalid="ignore"):
                late = np.where(swing > 4.0, late, np.nan).astype(np.float32)
            lates.append(robust.median(late, least=1))
        middle = _least(lates, 0.0)
        for row in robust.which(np.abs(middle) > FLUX_HOURS):
            if done[row]:
                continue
            done[row] = True
            names = block.those(("NEE", "GPP", "Reco"))
            yield Found(
                "clock shift",
                row,
                names,
                *block.there(row, (name,)),
                f"uptake ({name}) is centred {abs(middle[row]):.1f} hours "
                f"{'after' if middle[row] > 0 else 'before'} solar noon",
            )
