"""Carbon fluxes between land and air: learn from flux towers, predict where there are none.

``import xflux`` registers the accessor ``ds.flux`` on every xarray Dataset. torch is imported by
the first training or prediction, not before.
"""

from __future__ import annotations

__version__ = "0.1.0"

import logging
from typing import TYPE_CHECKING

from xflux import accessor as accessor
from xflux import datasets as datasets
from xflux.errors import (
    DataError,
    DownloadError,
    ModelError,
    ModelFileError,
    SchemaError,
    TrainingDiverged,
    TrainingStopped,
    UnitsError,
    XfluxError,
    XfluxWarning,
)
from xflux.pretrained import bundled_models, load_model
from xflux.readers.open_towers import open_towers

if TYPE_CHECKING:
    from xflux.model import FluxModel as FluxModel


logging.getLogger("xflux").addHandler(logging.NullHandler())


def __getattr__(name: str) -> object:
    """Import the model class when it is asked for, so that ``import xflux`` stays light."""
    if name == "FluxModel":
        from xflux.model import FluxModel

        return FluxModel
    raise AttributeError(f"module 'xflux' has no attribute {name!r}")


__all__ = [
    "DataError",
    "DownloadError",
    "FluxModel",
    "ModelError",
    "ModelFileError",
    "SchemaError",
    "TrainingDiverged",
    "TrainingStopped",
    "UnitsError",
    "XfluxError",
    "XfluxWarning",
    "__version__",
    "bundled_models",
    "datasets",
    "load_model",
    "open_towers",
]
