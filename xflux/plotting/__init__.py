"""Thin drawings of fluxes with matplotlib, one idea a file; ``ds.flux.plot`` calls them.

Each function takes xarray objects, draws on the axes it is given (or on new ones) and returns
them, so that titles, limits and files stay with the caller. Needs ``pip install "xflux[plots]"``.
"""

from xflux.plotting.latitudes import hovmoeller
from xflux.plotting.maps import flux_map, spread_map
from xflux.plotting.observed import scatter
from xflux.plotting.parts import time_mean
from xflux.plotting.places import towers
from xflux.plotting.scored import scores
from xflux.plotting.seasons import seasonal_cycle
from xflux.plotting.series import series

__all__ = [
    "flux_map",
    "hovmoeller",
    "scatter",
    "scores",
    "seasonal_cycle",
    "series",
    "spread_map",
    "time_mean",
    "towers",
]
