"""Tower files of every format, made up for the tests."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

SITE = "XX-One"


def stamps(step: str, years: int = 1, start: str = "2005-01-01") -> dict[str, np.ndarray]:
    """Columns of time as ONEFlux writes them."""
    first = pd.Timestamp(start)
    last = first + pd.DateOffset(years=years)
    if step in ("HH", "HR"):
        minutes = 30 if step == "HH" else 60
        time = pd.date_range(first, last, freq=f"{minutes}min", inclusive="left")
        end = time + pd.Timedelta(minutes=minutes)
        kind = "%Y%m%d%H%M"
    elif step == "WW":
        time = pd.date_range(first, periods=52, freq="7D")
        end = time + pd.Timedelta(days=6)
        kind = "%Y%m%d"
    else:
        kind = {"DD": "%Y%m%d", "MM": "%Y%m", "YY": "%Y"}[step]
        freq = {"DD": "D", "MM": "MS", "YY": "YS"}[step]
        time = pd.date_range(first, last, freq=freq, inclusive="left")
        return {"TIMESTAMP": time.strftime(kind).astype(np.int64).to_numpy()}
    return {
        "TIMESTAMP_START": time.strftime(kind).astype(np.int64).to_numpy(),
        "TIMESTAMP_END": end.strftime(kind).astype(np.int64).to_numpy(),
    }


def fullset(step: str, *, seed: int = 0, years: int = 1, start: str = "2005-01-01") -> pd.DataFrame:
    """A FULLSET with both partitionings and both u* references."""
    rng = np.random.default_rng(seed)
    table = stamps(step, years, start)
    size = len(next(iter(table.values())))
    flags = rng.integers(0, 4, size) if step in ("HH", "HR") else rng.uniform(0, 1, size).round(3)
    for name in ("TA", "SW_IN", "VPD", "P"):
        table[f"{name}_F"] = rng.uniform(0, 10, size).round(3)
        table[f"{name}_F_QC"] = flags
        table[f"{name}_ERA"] = rng.uniform(0, 10, size).round(3)
    for ustar in ("VUT", "CUT"):
        table[f"NEE_{ustar}_REF"] = rng.normal(0, 3, size).round(4)
        table[f"NEE_{ustar}_REF_QC"] = flags
        for kind in ("NT", "DT"):
            table[f"GPP_{kind}_{ustar}_REF"] = rng.uniform(0, 9, size).round(4)
            table[f"RECO_{kind}_{ustar}_REF"] = rng.uniform(0, 9, size).round(4)
    table["USTAR"] = rng.uniform(0, 1, size).round(3)
    return pd.DataFrame(table)


def era(step: str, years: int = 1, start: str = "2005-01-01") -> pd.DataFrame:
    """A reanalysis companion."""
    rng = np.random.default_rng(9)
    table = stamps(step, years, start)
    size = len(next(iter(table.values())))
    for name in ("TA", "SW_IN", "LW_IN", "VPD", "PA", "P", "WS"):
        table[f"{name}_ERA"] = rng.uniform(20, 30, size).round(3)
    return pd.DataFrame(table)


def base(*, days: int = 4, sensors: tuple[str, ...] = ("1_1_1", "1_2_1")) -> str:
    """AmeriFlux BASE half-hours with several sensors, as text."""
    rng = np.random.default_rng(3)
    table = {k: v[: 48 * days] for k, v in stamps("HH").items()}
    for place in sensors:
        table[f"TA_{place}"] = rng.uniform(0, 20, 48 * days).round(3)
        table[f"RH_{place}"] = rng.uniform(30, 100, 48 * days).round(2)
    table["SW_IN_1_1_1"] = rng.uniform(0, 800, 48 * days).round(2)
    table["P_1_1_1"] = rng.uniform(0, 1, 48 * days).round(3)
    table["FC_1_1_1"] = rng.normal(0, 5, 48 * days).round(4)
    table["TA_1_1_1_SD"] = np.full(48 * days, 99.0)
    return "# Site: XX-One\n# Version: 1-5\n" + pd.DataFrame(table).to_csv(index=False)


def bif(site: str = SITE, sep: str = ",") -> str:
    """BADM site information, as text."""
    facts = [
        ("GRP_IGBP", "IGBP", "DBF"),
        ("GRP_LOCATION", "LOCATION_LAT", "51.5"),
        ("GRP_LOCATION", "LOCATION_LONG", "10.25"),
        ("GRP_LOCATION", "LOCATION_ELEV", "430"),
        ("GRP_UTC_OFFSET", "UTC_OFFSET", "1"),
        ("GRP_CLIM_AVG", "CLIMATE_KOEPPEN", "Cfb"),
    ]
    head = sep.join(("SITE_ID", "GROUP_ID", "VARIABLE_GROUP", "VARIABLE", "DATAVALUE"))
    rows = [sep.join((site, str(i), *fact)) for i, fact in enumerate(facts)]
    return "\n".join((head, *rows)) + "\n"


def write(folder: Path, name: str, table: pd.DataFrame | str) -> Path:
    """Write a table, or text, under a name."""
    path = folder / name
    path.write_text(table if isinstance(table, str) else table.to_csv(index=False))
    return path


def pack(path: Path, members: dict[str, pd.DataFrame | str]) -> Path:
    """Pack tables into a zip archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, held in members.items():
            archive.writestr(name, held if isinstance(held, str) else held.to_csv(index=False))
    return path
