"""The accessor ``ds.flux``: each method resolves the Dataset, calls one function and returns.

The accessor keeps no state: what is trained is returned. A Dataset that has a variable called
``flux`` still has it as ``ds["flux"]``.
"""

from __future__ import annotations

import xarray as xr

from xflux.accessor.auditing import Auditing
from xflux.accessor.calibrating import Calibrating
from xflux.accessor.drawing import Drawing
from xflux.accessor.learning import Learning
from xflux.accessor.predicting import Predicting
from xflux.accessor.preparing import Preparing
from xflux.accessor.transferring import Transferring

if getattr(getattr(xr.Dataset, "flux", None), "__module__", None) == __name__:
    # This module again, as autoreload does: nobody else has taken the name.
    del xr.Dataset.flux  # type: ignore[attr-defined]


@xr.register_dataset_accessor("flux")
class FluxAccessor(Auditing, Preparing, Learning, Transferring, Calibrating, Predicting, Drawing):
    """Learn and predict carbon fluxes on a Dataset; shown, it tells what was understood.

    Parameters
    ----------
    ds : xr.Dataset
        Any layout with a time dimension: (site, time), (time, lat, lon), (time, y, x), (time,).
    """
