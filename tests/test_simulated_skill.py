"""The known law of the simulated world is recovered at towers that were kept out."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xflux


def explained(predicted: xr.DataArray, truth: xr.DataArray) -> float:
    """Share of the variance of the noise-free flux that a prediction explains."""
    both = np.isfinite(predicted) & np.isfinite(truth)
    assert float(both.mean()) > 0.5
    error, spread = (predicted - truth).where(both), truth.where(both)
    return 1.0 - float((error**2).sum() / ((spread - spread.mean()) ** 2).sum())


@pytest.mark.slow
def test_the_law_is_recovered_at_towers_kept_out() -> None:
    towers = xflux.datasets.load("simulated-towers")
    train, test = towers.flux.split(test=0.2, seed=0)
    model = train.flux.train(members=2, epochs=12, seed=0, progress=False, device="cpu")
    out = test.flux.predict(model)
    found = {name: explained(out[name], test[f"{name}_true"]) for name in ("GPP", "Reco", "NEE")}
    print({name: round(value, 3) for name, value in found.items()})
    assert found["GPP"] >= 0.9
    assert found["Reco"] >= 0.9
    assert found["NEE"] >= 0.4
