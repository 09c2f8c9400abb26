"""The monthly FLUXNET2015 towers of MetaFlux: CSV files in, one CF Dataset (site, time) out.

The files are ``<role>/<SITE>_MM.csv``, one for each tower, and were prepared for MetaFlux
(doi:10.1038/s41597-023-02349-y) from FLUXNET2015 (doi:10.1038/s41597-020-0534-3), its
downscaled ERA-Interim weather (doi:10.5194/essd-7-157-2015) and MODIS.

Their columns ``LAI`` and ``EVI`` are out of order: the months were once sorted as text, so that
the twelve values of a calendar year stand as January, October, November, December, February and
so on to September. `calendar_order` puts them back; no other column is affected.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from xflux.cf.metadata import ready_to_write
from xflux.errors import DataError, XfluxWarning

#: The month (1..12) whose value stands in each of the twelve rows of a year, for LAI and EVI.
STORED_MONTHS = (1, 10, 11, 12, 2, 3, 4, 5, 6, 7, 8, 9)

_WEATHER = {
    "tower": {"TA": "TA_F", "SW_IN": "SW_IN_F", "VPD": "VPD_F", "P": "P_F"},
    "reanalysis": {"TA": "TA_ERA", "SW_IN": "SW_IN_ERA", "VPD": "VPD_ERA", "P": "P_ERA"},
}
_WEATHER_NOTE = {
    "tower": "measured at the tower; gaps filled by FLUXNET2015 (columns *_F)",
    "reanalysis": "ERA-Interim downscaled to the tower by FLUXNET2015 (columns *_ERA); no gaps",
}
_VEGETATION = {"LAI": "LAI", "EVI": "EVI"}
_FLUXES = {
    "GPP": "GPP_NT_VUT_REF",
    "GPP_DT": "GPP_DT_VUT_REF",
    "Reco": "RECO",
    "NEE": "NEE_VUT_REF",
    "NEE_QC": "NEE_VUT_REF_QC",
}
_CHARACTERISTICS = {"lat": "Lat", "lon": "Lon", "igbp": "PFT", "climate": "Climate"}
_CLIMATES = {"Arctic": "Polar"}
_CARBON = "g m-2 d-1"
_ATTRS: dict[str, dict[str, str]] = {
    "TA": {
        "standard_name": "air_temperature",
        "long_name": "air temperature",
        "units": "degC",
        "units_metadata": "temperature: on_scale",
    },
    "SW_IN": {
        "standard_name": "surface_downwelling_shortwave_flux_in_air",
        "long_name": "incoming shortwave radiation",
        "units": "W m-2",
    },
    "VPD": {
        "standard_name": "water_vapor_saturation_deficit_in_air",
        "long_name": "vapour pressure deficit",
        "units": "hPa",
    },
    "P": {
        "standard_name": "lwe_precipitation_rate",
        "long_name": "precipitation",
        "units": "mm d-1",
    },
    "LAI": {
        "standard_name": "leaf_area_index",
        "long_name": "leaf area index",
        "units": "1",
        "comment": "from MODIS; none before 2001",
    },
    "EVI": {
        "long_name": "enhanced vegetation index",
        "units": "1",
        "comment": "from MODIS; none before February 2000",
    },
    "GPP": {
        "standard_name": "gross_primary_productivity_of_biomass_expressed_as_carbon",
        "long_name": "gross primary productivity, night-time partitioning",
        "units": _CARBON,
        "comment": "grams of carbon",
    },
    "GPP_DT": {
        "long_name": "gross primary productivity, day-time partitioning",
        "units": _CARBON,
        "comment": "grams of carbon; beside GPP for comparison, hence no standard_name",
    },
    "Reco": {
        "long_name": "ecosystem respiration",
        "units": _CARBON,
        "comment": "grams of carbon; NEE + GPP (night-time partitioning), as the source has it",
    },
    "NEE": {
        "long_name": "net ecosystem exchange",
        "units": _CARBON,
        "comment": "grams of carbon; positive into the atmosphere: NEE = Reco - GPP",
        "ancillary_variables": "NEE_QC",
    },
    "NEE_QC": {
        "long_name": "share of measured or well filled half-hours in NEE",
        "units": "1",
    },
}


def read_fluxnet_monthly(
    paths: Iterable[str | PathLike[str]], *, drivers: str = "reanalysis"
) -> xr.Dataset:
    """Read CSV files of monthly towers into one CF Dataset (site, time).

    Parameters
    ----------
    paths : iterable of path
        Files ``<role>/<SITE>_MM.csv``, one for each tower. The folder's name becomes the
        coordinate ``role`` (base or target).
    drivers : {"reanalysis", "tower"}
        Which weather becomes TA, SW_IN, VPD and P: the downscaled reanalysis, which has no gaps,
        or what was measured at the tower.

    Returns
    -------
    xarray.Dataset
        float32 variables (site, time): TA [degC], SW_IN [W m-2], VPD [hPa], P [mm d-1], LAI [1],
        EVI [1], GPP, GPP_DT, Reco, NEE [g m-2 d-1 of carbon] and NEE_QC [1]. Time has every
        month from the first to the last of all towers, stamped with its first day; a tower is
        NaN outside its own record. Coordinates along site: lat, lon, igbp, climate, role.

    Raises
    ------
    DataError
        There is no file, `drivers` is unknown, or a file is not one of this format.

    Notes
    -----
    LAI and EVI are put back in calendar order, year by year. In a year without all of its twelve
    months the order cannot be known: LAI and EVI are NaN there, and an `XfluxWarning` says so.
    The source's climate "Arctic" is called "Polar".

    References
    ----------
    FLUXNET2015: doi:10.1038/s41597-020-0534-3. MetaFlux: doi:10.1038/s41597-023-02349-y.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import pandas as pd
    >>> from xflux.readers.fluxnet_monthly import STORED_MONTHS, read_fluxnet_monthly
    >>> table = pd.DataFrame({"TIMESTAMP": range(200501, 200513), "LAI": STORED_MONTHS})
    >>> table = table.assign(Site="XX-One", Lat=50.1, Lon=7.2, PFT="GRA", Climate="Temperate")
    >>> table = table.assign(TA_ERA=9.0, SW_IN_ERA=150.0, VPD_ERA=5.0, P_ERA=2.0, EVI=0.3)
    >>> table = table.assign(GPP_NT_VUT_REF=4.0, GPP_DT_VUT_REF=4.1, RECO=3.0)
    >>> table = table.assign(NEE_VUT_REF=-1.0, NEE_VUT_REF_QC=0.9)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "XX-One_MM.csv")
    ...     table.to_csv(path)
    ...     ds = read_fluxnet_monthly([path])
    >>> dict(ds.sizes)
    {'site': 1, 'time': 12}
    >>> ds.LAI.values[0].tolist()
    [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0]
    """
    if drivers not in _WEATHER:
        raise DataError(
            f'drivers={drivers!r} is not known; expected "reanalysis" (no gaps) or "tower". '
            'Type drivers="reanalysis".'
        )
    columns = {**_WEATHER[drivers], **_VEGETATION, **_FLUXES}
    towers = [_read_tower(Path(path), columns) for path in paths]
    if not towers:
        raise DataError("no file to read; pass at least one path of a file <SITE>_MM.csv.")
    sites = [str(tower["site"]) for tower, _ in towers]
    twice = sorted({site for site in sites if sites.count(site) > 1})
    if twice:
        raise DataError(f"{', '.join(twice)}: more than one file; pass one file for each site.")
    unknown = [
        f"{site} {year}"
        for site, (_, table) in zip(sites, towers, strict=True)
        for year in _reorder_vegetation(table)
    ]
    if unknown:
        warnings.warn(
            f"LAI and EVI were set to NaN in {', '.join(unknown)}: the files hold them out of "
            "order, and only a year of twelve months can be put back.",
            XfluxWarning,
            stacklevel=2,
        )
    time = _months([table.index for _, table in towers])
    data = np.stack([table.reindex(time).to_numpy(np.float32) for _, table in towers])
    ds = xr.Dataset(
        {
            name: (("site", "time"), np.ascontiguousarray(data[:, :, i]), dict(_ATTRS[name]))
            for i, name in enumerate(columns)
        },
        coords={"site": ("site", np.array(sites)), "time": ("time", time.to_numpy())},
    )
    for name in ("lat", "lon", "igbp", "climate", "role"):
        ds = ds.assign_coords({name: ("site", np.array([tower[name] for tower, _ in towers]))})
    return ready_to_write(_with_metadata(ds, drivers))


def calendar_order(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Put the twelve values of a year, stored in the order of `STORED_MONTHS`, in calendar order.

    Parameters
    ----------
    values : array_like, shape (..., 12)
        The last axis holds one calendar year as the files have it.

    Returns
    -------
    numpy.ndarray, shape (..., 12)
        January to December.

    Raises
    ------
    DataError
        The last axis does not hold twelve values.

    Examples
    --------
    >>> from xflux.readers.fluxnet_monthly import calendar_order
    >>> calendar_order([1, 10, 11, 12, 2, 3, 4, 5, 6, 7, 8, 9]).tolist()
    [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0]
    """
    stored = np.asarray(values, dtype=np.float64)
    if stored.ndim == 0 or stored.shape[-1] != 12:
        raise DataError(f"found shape {stored.shape}, expected twelve values on the last axis.")
    return stored[..., np.argsort(STORED_MONTHS)]


def _read_tower(path: Path, columns: dict[str, str]) -> tuple[dict[str, str | float], pd.DataFrame]:
    """Read one file into its characteristics and its table (month x variable)."""
    raw = pd.read_csv(path)
    needed = ["TIMESTAMP", "Site", *_CHARACTERISTICS.values(), *columns.values()]
    missing = [name for name in needed if name not in raw.columns]
    if missing:
        raise DataError(
            f"{path.name}: no column {', '.join(missing)}; expected a monthly file of MetaFlux, "
            'as xflux.datasets.load("fluxnet2015-monthly") fetches them.'
        )
    if raw.empty:
        raise DataError(f"{path.name}: found no row, expected one for each month.")
    months = _timestamps(raw["TIMESTAMP"], path.name)
    constant = raw[["Site", *_CHARACTERISTICS.values()]].drop_duplicates()
    if len(constant) != 1:
        raise DataError(
            f"{path.name}: site, position, land cover or climate changes along the record; "
            "expected one tower in a file."
        )
    first = constant.iloc[0]
    climate = str(first["Climate"])
    tower: dict[str, str | float] = {
        "site": str(first["Site"]),
        "lat": float(first["Lat"]),
        "lon": float(first["Lon"]),
        "igbp": str(first["PFT"]),
        "climate": _CLIMATES.get(climate, climate),
        "role": path.parent.name if path.parent.name in ("base", "target") else "unknown",
    }
    table = raw[list(columns.values())].astype(np.float64)
    table.columns = pd.Index(list(columns))
    table.index = months
    return tower, table


def _timestamps(stamps: pd.Series, name: str) -> pd.DatetimeIndex:
    """Turn YYYYMM into the first day of each month; they must ascend without repeats."""
    try:
        months = pd.DatetimeIndex(pd.to_datetime(stamps.astype(str), format="%Y%m"))
    except ValueError as error:
        message = f"{name}: found a TIMESTAMP that is not a month, expected YYYYMM ({error})."
        raise DataError(message) from error
    if not (months.is_monotonic_increasing and months.is_unique):
        raise DataError(
            f"{name}: TIMESTAMP does not ascend month by month. LAI and EVI depend on the order "
            "of the rows: use the file as published, unsorted and whole."
        )
    return months.as_unit("ns")


def _reorder_vegetation(table: pd.DataFrame) -> list[int]:
    """Put LAI and EVI of a tower in calendar order, in place.

    Returns the years in which that cannot be done, and where they now are NaN.
    """
    years = np.asarray(table.index.to_numpy(), dtype="datetime64[Y]").astype(int) + 1970
    columns = [table.columns.get_loc(name) for name in _VEGETATION]
    unknown = []
    for year in np.unique(years):
        rows = np.flatnonzero(years == year)
        stored = table.iloc[rows, columns].to_numpy()
        if len(rows) == 12:
            table.iloc[rows, columns] = calendar_order(stored.T).T
        elif np.isfinite(stored).any():
            table.iloc[rows, columns] = np.nan
            unknown.append(int(year))
    return unknown


def _months(records: Sequence[pd.Index]) -> pd.DatetimeIndex:
    """Every month from the first to the last of all records."""
    first, last = min(index[0] for index in records), max(index[-1] for index in records)
    return pd.date_range(first, last, freq="MS").as_unit("ns")


def _with_metadata(ds: xr.Dataset, drivers: str) -> xr.Dataset:
    """Write the CF attributes of the variables, the coordinates and the Dataset."""
    for name in ds.data_vars:
        ds[name].attrs["cell_methods"] = "time: mean"
        if name in _WEATHER[drivers]:
            ds[name].attrs["comment"] = _WEATHER_NOTE[drivers]
    ds["site"].attrs = {"long_name": "FLUXNET site", "cf_role": "timeseries_id"}
    ds["time"].attrs = {
        "standard_name": "time",
        "long_name": "month",
        "axis": "T",
        "units_metadata": "leap_seconds: none",
        "comment": "the first day of the month that each mean covers, in local standard time",
    }
    ds["lat"].attrs = {
        "standard_name": "latitude",
        "long_name": "latitude",
        "units": "degrees_north",
    }
    ds["lon"].attrs = {
        "standard_name": "longitude",
        "long_name": "longitude",
        "units": "degrees_east",
    }
    ds["igbp"].attrs = {"long_name": "land cover, IGBP class"}
    ds["climate"].attrs = {"long_name": "climate"}
    ds["role"].attrs = {
        "long_name": "role in MetaFlux",
        "comment": "base: towers with much data; target: the tropics, with little",
    }
    ds.attrs = {
        "Conventions": "CF-1.11",
        "featureType": "timeSeries",
        "title": "Monthly carbon fluxes and weather of FLUXNET2015 towers",
        "license": "CC-BY-4.0 (FLUXNET2015); compilation MIT (leap-stc/metaflux)",
        "source": "FLUXNET2015 towers, ERA-Interim and MODIS, as compiled for MetaFlux",
        "references": "doi:10.1038/s41597-020-0534-3, doi:10.1038/s41597-023-02349-y",
        "history": "read by xflux; LAI and EVI put back in calendar order within each year",
        "drivers": f"{drivers}: {_WEATHER_NOTE[drivers]}",
    }
    return ds
