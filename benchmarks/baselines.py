"""What needs no network: climatology of land cover and month, and ridge on drivers and their past.

Both are predictions that a reader can check by hand, and that every method has to beat.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr
from lightgbm_lags import tables
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from xflux.cf import timestep
from xflux.cf.entities import entity_labels, entity_values
from xflux.cf.schema import resolve
from xflux.training.towers import Towers, load_drivers, read_towers

TARGETS = ("GPP", "Reco", "NEE")
HALF_YEAR = 6


def unlabelled(ds: xr.Dataset, characteristics: Sequence[str] = ("igbp", "lat")) -> Towers:
    """Every tower of a Dataset that has drivers and no labels, as training reads towers."""
    schema = resolve(ds)
    values = load_drivers(ds, schema, schema.drivers)
    time = ds[schema.time]
    return Towers(
        time_step=schema.time_step,
        drivers=values,
        characteristics={name: entity_values(ds, schema, name) for name in characteristics},
        targets=np.full((*values["TA"].shape, 3), np.nan, dtype=np.float32),
        latitude=np.asarray(entity_values(ds, schema, "lat"), dtype=np.float32),
        longitude=np.asarray(entity_values(ds, schema, "lon"), dtype=np.float32),
        year_fraction=timestep.year_fraction(time, schema.time_step).astype(np.float32),
        labels=entity_labels(ds, schema.entity_dims),
        period=(str(time.values[0])[:10], str(time.values[-1])[:10]),
    )


def as_dataset(fluxes: np.ndarray, test: xr.Dataset) -> xr.Dataset:
    """GPP, Reco and NEE, (members, N, T, 3), with the coordinates of the test towers."""
    dims = ("realization", "site", "time")
    coords = {"site": test.site.values, "time": test.time.values}
    return xr.Dataset(
        {name: (dims, fluxes[..., k].astype(np.float32)) for k, name in enumerate(TARGETS)},
        coords,
    )


def climatology(train: xr.Dataset, test: xr.Dataset) -> xr.Dataset:
    """Mean flux of the training towers of the same land cover in the same month.

    South of the equator the months are half a year later. A month of a land cover that no other
    tower has is the mean of all land covers.
    """
    towers = read_towers(train, resolve(train))
    month = train.time.dt.month.values
    gpp, reco, nee = (towers.targets[..., k].ravel() for k in range(3))
    frame = pd.DataFrame(
        {
            "igbp": np.repeat(towers.characteristics["igbp"].astype(str), month.size),
            "month": season(month, towers.latitude).ravel(),
            "GPP": gpp,
            "Reco": reco,
            "NEE": nee,
        }
    )
    own = frame.groupby(["igbp", "month"])[list(TARGETS)].mean()
    every = frame.groupby("month")[list(TARGETS)].mean()
    at = pd.MultiIndex.from_arrays(
        [
            np.repeat(test.igbp.values.astype(str), test.sizes["time"]),
            season(test.time.dt.month.values, test.lat.values).ravel(),
        ]
    )
    found = own.reindex(at).to_numpy()
    found = np.where(np.isfinite(found), found, every.loc[at.get_level_values(1)].to_numpy())
    return as_dataset(found.reshape(1, test.sizes["site"], -1, 3), test)


def season(month: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Month of the year from 1 to 12, (N, T), half a year later in the south."""
    later = np.where(latitude < 0, HALF_YEAR, 0)[:, None]
    return (month[None, :] - 1 + later) % 12 + 1


def ridge(train: xr.Dataset, test: xr.Dataset) -> xr.Dataset:
    """Linear regression on the table that LightGBM sees, NEE = Reco - GPP.

    Missing values are the mean of training, with a column that tells of them; land cover is one
    column a class.
    """
    towers = read_towers(train, resolve(train))
    seen, unseen = tables(towers, unlabelled(test))
    fluxes = []
    for k in range(2):
        labels = towers.targets[..., k].ravel()
        chosen = np.isfinite(labels) & np.isfinite(towers.drivers["TA"].ravel())
        numbers = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
        columns = make_column_transformer(
            (numbers, [name for name in seen if name != "igbp"]),
            (OneHotEncoder(handle_unknown="ignore"), ["igbp"]),
        )
        model = make_pipeline(columns, Ridge(alpha=1.0)).fit(seen[chosen], labels[chosen])
        fluxes.append(model.predict(unseen).reshape(test.sizes["site"], -1))
    gpp, reco = fluxes
    return as_dataset(np.stack([gpp, reco, reco - gpp], axis=-1)[None], test)
