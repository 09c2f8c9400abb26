"""Single monthly files of MetaFlux beside other formats: the same repair, one Record."""

from __future__ import annotations

import numpy as np
import pandas as pd

from xflux.errors import DataError
from xflux.readers.fluxnet_monthly import read_fluxnet_monthly
from xflux.readers.recognise import Found
from xflux.readers.records import Choices, Record, Table


def read_metaflux(found: Found, choices: Choices) -> Record:
    """Read one monthly file of MetaFlux; LAI and EVI are put back in calendar order.

    The weather is the reanalysis downscaled to the tower. The files have the u* reference VUT
    only, and Reco = NEE + GPP.

    Raises
    ------
    DataError
        CUT was chosen, or the file is damaged.
    """
    if choices.ustar != "VUT":
        raise DataError('the monthly files of MetaFlux have VUT only; type ustar="VUT"')
    if found.source.member is not None:
        raise DataError("unpack the monthly files of MetaFlux first; they are read from folders")
    ds = read_fluxnet_monthly([found.source.path]).isel(site=0)
    if choices.partitioning == "DT":
        ds = ds.assign(GPP=ds["GPP_DT"], Reco=ds["NEE"] + ds["GPP_DT"])
    names = [str(name) for name in ds.data_vars if name != "GPP_DT"]
    columns = {name: ds[name].values.astype(np.float64) for name in names}
    notes = {name: f"{name}_ERA" for name in ("TA", "SW_IN", "VPD", "P")}
    info = {"lat": float(ds["lat"]), "lon": float(ds["lon"])}
    texts = {name: str(ds[name].values) for name in ("igbp", "climate")}
    return Record(
        site=str(ds["site"].values),
        product=found.product,
        step="monthly",
        where=found.source.where,
        data=Table(pd.DatetimeIndex(ds["time"].values), columns),
        info={**info, **texts},
        notes={**notes, "Reco": "NEE + GPP"},
    )
