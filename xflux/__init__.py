"""Carbon fluxes between land and air: learn from flux towers, predict where there are none.

``import xflux`` registers the accessor ``ds.flux`` on every xarray Dataset. torch is imported by
the first training or prediction, not before.
"""

from __future__ import annotations

__version__ = "0.1.0"

from xflux import accessor as accessor
from xflux import datasets as datasets
from xflux.errors import (
    DataError,
    DownloadError,
    ModelError,
    ModelFileError,
    SchemaError,
    TrainingDiverged,
    UnitsError,
    XfluxError,
    XfluxWarning,
)
from xflux.pretrained import bundled_models, load_model

__all__ = [
    "DataError",
    "DownloadError",
    "ModelError",
    "ModelFileError",
    "SchemaError",
    "TrainingDiverged",
    "UnitsError",
    "XfluxError",
    "XfluxWarning",
    "__version__",
    "bundled_models",
    "datasets",
    "load_model",
]
