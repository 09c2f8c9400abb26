"""The tester of neuralhydrology on a made-up data set, for `bench_inference.py` to time.

neuralhydrology is needed for this alone: pip install -c constraints.txt neuralhydrology
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

SEQUENCE, TESTED, TRAINED = 365, 365, 20
"""Days of a window, days that are tested, and days of the training that makes the run folder."""


def data_set(folder: Path, *, entities: int, drivers: int, characteristics: int) -> list[str]:
    """A generic data set as neuralhydrology reads it: a file an entity, and one of attributes."""
    rng = np.random.default_rng(0)
    names = [f"entity_{number}" for number in range(entities)]
    dates = pd.date_range("2000-01-01", periods=SEQUENCE + TRAINED + SEQUENCE + TESTED)
    (folder / "time_series").mkdir()
    (folder / "attributes").mkdir()
    for name in names:
        columns = {f"driver_{k}": ("date", rng.normal(size=len(dates))) for k in range(drivers)}
        columns |= {f: ("date", rng.gamma(2.0, size=len(dates))) for f in ("GPP", "Reco")}
        xr.Dataset(columns, coords={"date": dates}).to_netcdf(folder / "time_series" / f"{name}.nc")
    fixed = rng.normal(size=(entities, characteristics))
    table = pd.DataFrame(fixed, index=pd.Index(names, name="gauge_id"))
    table.add_prefix("characteristic_").to_csv(folder / "attributes" / "attributes.csv")
    (folder / "entities.txt").write_text("\n".join(names))
    return names


def tester(
    folder: Path, *, hidden: int, entities: int, drivers: int, characteristics: int
) -> tuple[Callable[[], object], int]:
    """Its evaluation of one CudaLSTM with windows of 365 days, and how many days it predicts.

    Raises
    ------
    ImportError
        neuralhydrology is not installed.
    """
    from neuralhydrology.evaluation import get_tester
    from neuralhydrology.training.train import start_training
    from neuralhydrology.utils.config import Config

    data_set(folder, entities=entities, drivers=drivers, characteristics=characteristics)
    days = pd.date_range("2000-01-01", periods=SEQUENCE + TRAINED + SEQUENCE + TESTED)
    first, trained = days[SEQUENCE], days[SEQUENCE + TRAINED - 1]
    tested = days[SEQUENCE + TRAINED + SEQUENCE]
    names = str(folder / "entities.txt")
    config = Config(
        {
            "experiment_name": "peer",
            "run_dir": str(folder),
            "data_dir": str(folder),
            "train_basin_file": names,
            "validation_basin_file": names,
            "test_basin_file": names,
            "train_start_date": f"{first:%d/%m/%Y}",
            "train_end_date": f"{trained:%d/%m/%Y}",
            "validation_start_date": f"{first:%d/%m/%Y}",
            "validation_end_date": f"{trained:%d/%m/%Y}",
            "test_start_date": f"{tested:%d/%m/%Y}",
            "test_end_date": f"{days[-1]:%d/%m/%Y}",
            "device": "cpu",
            "model": "cudalstm",
            "head": "regression",
            "hidden_size": hidden,
            "initial_forget_bias": 1,
            "output_dropout": 0.0,
            "optimizer": "Adam",
            "loss": "MSE",
            "learning_rate": {0: 1e-3},
            "batch_size": 256,
            "epochs": 1,
            "seq_length": SEQUENCE,
            "predict_last_n": 1,
            "num_workers": 0,
            "log_interval": 1,
            "log_tensorboard": False,
            "save_weights_every": 1,
            "validate_every": 0,
            "dataset": "generic",
            "dynamic_inputs": [f"driver_{k}" for k in range(drivers)],
            "static_attributes": [f"characteristic_{k}" for k in range(characteristics)],
            "target_variables": ["GPP", "Reco"],
            "clip_targets_to_zero": [],
        }
    )
    with quiet():
        start_training(config)
        run = next(path for path in folder.glob("peer_*") if path.is_dir())
        config = Config(run / "config.yml")
        evaluated = get_tester(cfg=config, run_dir=run, period="test", init_model=True)

    def evaluate() -> object:
        with quiet():
            return evaluated.evaluate(epoch=1, save_results=False, metrics=[])

    return evaluate, entities * TESTED


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without its progress bars and log."""
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
