"""The table of physical variables: names, units, ranges, and what the field calls them.

One row a variable. Aliases are grouped by dialect: inside a dialect the order is a preference
(the night-time partitioning before the day-time one, a gap-filled column before a raw one), and two
dialects that mean different variables of one Dataset are ambiguous.

References
----------
CF standard name table v93; FLUXNET2015 (Pastorello et al. 2020, doi:10.1038/s41597-020-0534-3);
PLUMBER2 (Ukkola et al. 2022, doi:10.5194/essd-14-449-2022); ERA5 (Hersbach et al. 2020,
doi:10.1002/qj.3803); CMIP6 (Eyring et al. 2016, doi:10.5194/gmd-9-1937-2016).
"""

from __future__ import annotations

from xflux.cf.variable import (
    ABSOLUTE,
    FILL,
    FLAGS,
    FRACTION,
    JOULE,
    KELVIN,
    MODIS,
    PASCAL,
    PERCENT,
    SCALED,
    Variable,
)


def _temperature(name: str, long_name: str, methods: str, **aliases: tuple[str, ...]) -> Variable:
    return Variable(
        name=name,
        role="driver",
        quantity="temperature",
        long_name=long_name,
        standard_name="air_temperature",
        cell_methods=methods,
        aliases=aliases,
        low=-95.0,
        high=65.0,
        hints=(*FILL, KELVIN, ABSOLUTE),
    )


_COMPOSITES = (
    *("500m_16_days", "250m_16_days", "_500m_16_days", "_250m_16_days"),
    *("_500_m_16_days", "_1_km_16_days", "_1_km_monthly"),
)

VARIABLES: tuple[Variable, ...] = (
    # --- drivers -------------------------------------------------------------------------------
    _temperature(
        "TA",
        "air temperature",
        "time: mean",
        xflux=("TA",),
        fluxnet=("TA_F", "TA_F_MDS", "TA_ERA"),
        ameriflux=("TA_PI_F", "TA_1_1_1"),
        era5=("t2m", "2t", "temperature_2m", "2m_temperature"),
        cmip=("tas",),
        plumber2=("Tair",),
        dvmdostem=("tair",),
    ),
    _temperature(
        "TA_MIN",
        "minimum air temperature",
        "time: minimum",
        xflux=("TA_MIN",),
        fluxnet=("TA_F_NIGHT_MIN",),
        era5=("mn2t", "t2m_min", "temperature_2m_min"),
        cmip=("tasmin",),
    ),
    _temperature(
        "TA_MAX",
        "maximum air temperature",
        "time: maximum",
        xflux=("TA_MAX",),
        era5=("mx2t", "t2m_max", "temperature_2m_max"),
        cmip=("tasmax",),
    ),
    Variable(
        name="SW_IN",
        role="driver",
        quantity="irradiance",
        long_name="incoming shortwave radiation",
        standard_name="surface_downwelling_shortwave_flux_in_air",
        standard_names=(
            "integral_wrt_time_of_surface_downwelling_shortwave_flux_in_air",
            "surface_downwelling_shortwave_flux",
        ),
        aliases={
            "xflux": ("SW_IN",),
            "fluxnet": ("SW_IN_F", "SW_IN_F_MDS", "SW_IN_ERA"),
            "ameriflux": ("SW_IN_PI_F", "SW_IN_1_1_1"),
            "era5": (
                *("ssrd", "surface_solar_radiation_downwards_hourly"),
                *("surface_solar_radiation_downwards", "surface_solar_radiation_downwards_sum"),
                *("msdwswrf", "avg_sdswrf"),
            ),
            "cmip": ("rsds",),
            "plumber2": ("SWdown",),
            "dvmdostem": ("nirr",),
        },
        low=-25.0,
        high=600.0,
        hints=(*FILL, JOULE),
    ),
    Variable(
        name="VPD",
        role="driver",
        quantity="pressure",
        long_name="vapour pressure deficit",
        standard_name="water_vapor_saturation_deficit_in_air",
        aliases={
            "xflux": ("VPD",),
            "fluxnet": ("VPD_F", "VPD_F_MDS", "VPD_ERA"),
            "ameriflux": ("VPD_PI", "VPD_PI_F"),
            "era5": ("vpd",),
        },
        low=-1.0,
        high=100.0,
        hints=(*FILL, PASCAL),
    ),
    Variable(
        name="P",
        role="driver",
        quantity="water flux",
        long_name="precipitation",
        standard_name="lwe_precipitation_rate",
        standard_names=(
            "precipitation_flux",
            "precipitation_amount",
            "lwe_thickness_of_precipitation_amount",
            "thickness_of_rainfall_amount",
            "rainfall_flux",
        ),
        aliases={
            "xflux": ("P",),
            "fluxnet": ("P_F", "P_ERA"),
            "ameriflux": ("P_PI_F", "P_1_1_1"),
            "era5": (
                *("tp", "total_precipitation_hourly", "total_precipitation"),
                *("total_precipitation_sum", "mtpr", "avg_tprate"),
            ),
            "cmip": ("pr", "prcp"),
            "plumber2": ("Precip", "Rainf"),
            "dvmdostem": ("precip",),
        },
        low=-0.5,
        high=1900.0,
        hints=FILL,
    ),
    Variable(
        name="LAI",
        role="driver",
        quantity="leaf area",
        long_name="leaf area index",
        standard_name="leaf_area_index",
        aliases={
            "xflux": ("LAI",),
            "modis": ("Lai", "Lai_500m", "LAI_500m"),
            "cmip": ("lai",),
            "plumber2": ("LAI", "LAI_alternative"),
        },
        low=-0.01,
        high=15.0,
        hints=(*FILL, MODIS),
    ),
    Variable(
        name="EVI",
        role="driver",
        quantity="dimensionless",
        long_name="enhanced vegetation index",
        aliases={
            "xflux": ("EVI",),
            "modis": ("evi", *(f"{name}_EVI" for name in _COMPOSITES)),
        },
        low=-0.5,
        high=1.3,
        hints=(*FILL, SCALED),
    ),
    Variable(
        name="NDVI",
        role="driver",
        quantity="dimensionless",
        long_name="normalized difference vegetation index",
        standard_name="normalized_difference_vegetation_index",
        aliases={
            "xflux": ("NDVI",),
            "modis": ("ndvi", *(f"{name}_NDVI" for name in _COMPOSITES)),
        },
        low=-1.0,
        high=1.0,
        hints=(*FILL, SCALED),
    ),
    Variable(
        name="FAPAR",
        role="driver",
        quantity="dimensionless",
        long_name="fraction of absorbed photosynthetically active radiation",
        standard_name="fraction_of_surface_downwelling_photosynthetic_radiative_flux_absorbed_by_vegetation",
        aliases={
            "xflux": ("FAPAR",),
            "modis": ("Fpar", "Fpar_500m", "fapar", "fAPAR"),
            "plumber2": ("FPAR",),
        },
        low=-0.01,
        high=1.01,
        hints=(*FILL, FRACTION),
    ),
    # --- what drivers are derived from -----------------------------------------------------------
    Variable(
        name="TD",
        role="precursor",
        quantity="temperature",
        long_name="dew point temperature",
        standard_name="dew_point_temperature",
        aliases={
            "xflux": ("TD",),
            "era5": ("d2m", "2d", "dewpoint_temperature_2m", "2m_dewpoint_temperature"),
            "cmip": ("tdps",),
        },
        low=-100.0,
        high=50.0,
        hints=(*FILL, KELVIN, ABSOLUTE),
    ),
    Variable(
        name="RH",
        role="precursor",
        quantity="relative humidity",
        long_name="relative humidity",
        standard_name="relative_humidity",
        standard_names=("relative_humidty",),
        misspelt=("relative_humidty",),
        aliases={"xflux": ("RH",), "cmip": ("hurs",)},
        low=-1.0,
        high=115.0,
        hints=(*FILL, PERCENT),
    ),
    Variable(
        name="QA",
        role="precursor",
        quantity="specific humidity",
        long_name="specific humidity",
        standard_name="specific_humidity",
        aliases={"xflux": ("QA",), "plumber2": ("Qair",), "cmip": ("huss",)},
        low=-1e-6,
        high=0.1,
        hints=FILL,
    ),
    Variable(
        name="PA",
        role="precursor",
        quantity="pressure",
        long_name="surface air pressure",
        standard_name="surface_air_pressure",
        standard_names=("air_pressure",),
        aliases={
            "xflux": ("PA",),
            "fluxnet": ("PA_F", "PA_ERA"),
            "era5": ("sp", "surface_pressure"),
            "cmip": ("ps",),
            "plumber2": ("PSurf", "Psurf"),
        },
        low=300.0,
        high=1150.0,
        hints=FILL,
    ),
    Variable(
        name="EA",
        role="precursor",
        quantity="pressure",
        long_name="water vapour pressure",
        standard_name="water_vapor_partial_pressure_in_air",
        aliases={"xflux": ("EA",), "dvmdostem": ("vapor_press",)},
        low=-0.01,
        high=100.0,
        hints=FILL,
    ),
    # --- targets and their quality ---------------------------------------------------------------
    Variable(
        name="GPP",
        role="target",
        quantity="carbon flux",
        long_name="gross primary production",
        standard_name="gross_primary_productivity_of_biomass_expressed_as_carbon",
        standard_names=("gross_primary_productivity_of_carbon",),
        aliases={
            "xflux": ("GPP", "GPP_NT"),
            "fluxnet": (*("GPP_NT_VUT_REF", "GPP_NT_CUT_REF", "GPP_DT_VUT_REF", "GPP_DT_CUT_REF"),),
            "ameriflux": ("GPP_PI_F", "GPP_PI"),
            "cmip": ("gpp",),
        },
        low=-40.0,
        high=70.0,
        hints=FILL,
    ),
    Variable(
        name="Reco",
        role="target",
        quantity="carbon flux",
        long_name="ecosystem respiration",
        aliases={
            "xflux": ("Reco", "RECO", "RECO_NT"),
            "fluxnet": (
                *("RECO_NT_VUT_REF", "RECO_NT_CUT_REF", "RECO_DT_VUT_REF", "RECO_DT_CUT_REF"),
            ),
            "ameriflux": ("RECO_PI_F", "RECO_PI"),
            "ozflux": ("Resp", "ER"),
        },
        low=-40.0,
        high=70.0,
        hints=FILL,
    ),
    Variable(
        name="NEE",
        role="target",
        quantity="carbon flux",
        long_name="net ecosystem exchange, positive to the atmosphere",
        standard_names=("surface_upward_mole_flux_of_carbon_dioxide",),
        aliases={
            "xflux": ("NEE",),
            "fluxnet": ("NEE_VUT_REF", "NEE_CUT_REF"),
            "ameriflux": ("NEE_PI_F", "NEE_PI"),
        },
        low=-60.0,
        high=60.0,
        hints=FILL,
    ),
    Variable(
        name="NEE_QC",
        role="quality",
        quantity="dimensionless",
        long_name="share of measured or well-filled steps",
        aliases={
            "xflux": ("NEE_QC", "QC"),
            "fluxnet": ("NEE_VUT_REF_QC", "NEE_CUT_REF_QC"),
        },
        low=0.0,
        high=1.0,
        hints=(*FILL, FLAGS),
    ),
    # --- characteristics -------------------------------------------------------------------------
    Variable(
        name="lat",
        role="characteristic",
        quantity="latitude",
        long_name="latitude",
        standard_name="latitude",
        aliases={"xflux": ("lat", "latitude", "LAT", "Lat")},
        low=-90.0,
        high=90.0,
        hints=FILL,
    ),
    Variable(
        name="lon",
        role="characteristic",
        quantity="longitude",
        long_name="longitude",
        standard_name="longitude",
        aliases={"xflux": ("lon", "longitude", "LON", "Lon")},
        low=-180.0,
        high=360.0,
        hints=FILL,
    ),
    Variable(
        name="igbp",
        role="characteristic",
        quantity="dimensionless",
        long_name="IGBP land cover class",
        aliases={"xflux": ("igbp", "IGBP", "PFT", "pft", "land_cover", "IGBP_veg_short")},
    ),
    Variable(
        name="climate",
        role="characteristic",
        quantity="dimensionless",
        long_name="main climate group",
        aliases={"xflux": ("climate", "Climate")},
    ),
    Variable(
        name="elevation",
        role="characteristic",
        quantity="length",
        long_name="elevation",
        standard_name="surface_altitude",
        standard_names=(
            "height_above_mean_sea_level",
            "height_above_reference_ellipsoid",
            "geopotential",  # the invariant one of a reanalysis
        ),
        aliases={"xflux": ("elevation", "elev", "altitude"), "CMIP": ("orog",)},
        low=-500.0,
        high=9000.0,
        hints=FILL,
    ),
)

MONTHLY_MEANS_PER_DAY = frozenset(
    {"tp", "total_precipitation", "ssrd", "surface_solar_radiation_downwards"}
)
"""Accumulated variables of ERA5 whose monthly means are amounts a day, under a unit that does not
say so (ECMWF, "ERA5: data documentation", section "Monthly means")."""

BY_NAME: dict[str, Variable] = {variable.name: variable for variable in VARIABLES}
"""The table by xflux's own name."""

TARGETS = ("GPP", "Reco", "NEE")
"""The three fluxes; NEE is Reco - GPP by construction."""

CATEGORIES = ("igbp", "climate")
"""Characteristics that are classes, whether a file writes them as text or as codes."""

DRIVERS = tuple(variable.name for variable in VARIABLES if variable.role == "driver")
"""Every driver that xflux knows by name."""

IGBP_CLASSES = (
    *("ENF", "EBF", "DNF", "DBF", "MF", "CSH", "OSH", "WSA", "SAV", "GRA"),
    *("WET", "CRO", "URB", "CVM", "SNO", "BSV", "WAT"),
)
"""Land cover classes of the International Geosphere-Biosphere Programme, by their short names."""
