"""LightGBM on drivers, lags and running means: what the networks are compared to.

One row a labelled step. Trees see the same drivers and characteristics as the networks: the
drivers of the step and of three steps before, their means over several spans, the season,
|latitude| and the land cover as a category; and other characteristics where they are given.
"""

from __future__ import annotations

from collections.abc import Sequence

import lightgbm
import numpy as np
import pandas as pd

from xflux.training.towers import Towers

MEANS = {"daily": (7, 30, 90), "monthly": (3, 6, 12)}
LAGS = (1, 2, 3)
CLASSES = ("igbp", "climate")
SETTINGS = {
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_child_samples": 40,
    "subsample": 0.7,
    "subsample_freq": 1,
    "colsample_bytree": 0.7,
    "reg_lambda": 1.0,
    "verbosity": -1,
    "num_threads": 1,
}
ROUNDS = {"daily": {"GPP": 200, "Reco": 100}, "monthly": {"GPP": 200, "Reco": 120}}


def table(towers: Towers) -> pd.DataFrame:
    """Features of every step of every tower, N * T rows in C order."""
    columns: dict[str, np.ndarray] = {}
    for name, values in towers.drivers.items():
        frame = pd.DataFrame(values.T)
        columns[name] = values.ravel()
        for lag in LAGS:
            columns[f"{name} {lag} before"] = frame.shift(lag).to_numpy().T.ravel()
        for span in MEANS[towers.time_step]:
            mean = frame.rolling(span, min_periods=1).mean()
            columns[f"{name} mean of {span}"] = mean.to_numpy().T.ravel()
    steps = len(towers.year_fraction)
    south = np.where(towers.latitude < 0, 0.5, 0.0)[:, None]
    phase = 2 * np.pi * (towers.year_fraction[None, :] + south)
    columns["season sin"] = np.sin(phase).ravel()
    columns["season cos"] = np.cos(phase).ravel()
    columns["|latitude|"] = np.repeat(np.abs(towers.latitude), steps)
    for name, values in towers.characteristics.items():
        if name != "lat":
            columns[name] = np.repeat(values.astype(str if name in CLASSES else float), steps)
    return pd.DataFrame(columns)


def predict(train: Towers, test: Towers, *, seeds: int = 3) -> np.ndarray:
    """GPP, Reco and NEE = Reco - GPP at the test towers, shape (N, T, 3); mean over seeds."""
    return predict_each(train, test, seeds=range(seeds)).mean(axis=0)


def tables(train: Towers, test: Towers) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Features of both, with the same categories."""
    seen, unseen = table(train), table(test)
    for name in [name for name in CLASSES if name in seen]:
        classes = sorted({*seen[name].unique(), *unseen[name].unique()})
        for frame in (seen, unseen):
            frame[name] = pd.Categorical(frame[name], categories=classes)
    return seen, unseen


def predict_each(train: Towers, test: Towers, *, seeds: Sequence[int]) -> np.ndarray:
    """The fluxes at the test towers by each seed, shape (seeds, N, T, 3)."""
    seen, unseen = tables(train, test)
    fluxes = []
    for k, target in enumerate(("GPP", "Reco")):
        labels = train.targets[..., k].ravel()
        chosen = np.isfinite(labels) & np.isfinite(train.drivers["TA"].ravel())
        predictions = []
        for seed in seeds:
            model = lightgbm.LGBMRegressor(
                n_estimators=ROUNDS[train.time_step][target], random_state=seed, **SETTINGS
            )
            model.fit(seen[chosen], labels[chosen])
            predictions.append(model.predict(unseen))
        fluxes.append(np.stack(predictions).reshape(-1, *test.targets.shape[:2]))
    gpp, reco = fluxes
    return np.stack([gpp, reco, reco - gpp], axis=-1).astype(np.float32)
