"""Adding up what was predicted on a grid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import xarray as xr

from xflux.accessor.understanding import Understanding


class Adding(Understanding):
    """The part of ``ds.flux`` that needs fluxes on a grid."""

    def budget(
        self,
        *,
        by: str | xr.DataArray | None = None,
        area: xr.DataArray | str | None = None,
        land_fraction: xr.DataArray | str | float | None = None,
        incomplete: Literal["raise", "drop", "flag"] = "raise",
        members: bool = False,
        variables: Mapping[str, str] | None = None,
        units: Mapping[str, str] | None = None,
        assume_units: bool = False,
    ) -> xr.Dataset:
        """Total GPP, Reco and NEE of each year over the land of a grid, in Pg of carbon.

        Each cell weighs as much as it has land, each month as it has days. A cell counts at a step
        where all fluxes have a value; what is missing is not filled, and ``covered_area`` tells it.
        Nothing is computed before you ask for it where the fluxes are lazy.

        Parameters
        ----------
        by : str or xr.DataArray, optional
            Also by class: a characteristic (``"igbp"``), or one label a cell (a mask of regions,
            named or numbered). Cells without a label are in no class.
        area : xr.DataArray or str, optional
            Areas of the cells with units m2 or km2, or the name of their variable. By default what
            CF's ``cell_measures`` names, or ``areacella``; else, for one-dimensional latitudes and
            longitudes, from their bounds or centres on a sphere of 6371.0072 km.
        land_fraction : xr.DataArray, str or float, optional
            Share of land of each cell (0 to 1, or with units %); by default ``sftlf`` or
            ``land_fraction`` of this Dataset. Predicted fluxes are those of a square metre of land,
            so a cell at a coast counts too much without it. 1.0 says that all cells are land.
        incomplete : {"raise", "drop", "flag"}
            Years that are not whole: refuse them, leave them out, or add up what is there of them;
            ``coverage`` is then below 1.
        members : bool
            Of fluxes with a ``realization`` dimension keep every member, in place of mean and
            spread.
        variables, units : mapping of str to str, optional
            As in `train`.
        assume_units : bool
            Take missing ``units`` for xflux's own.

        Returns
        -------
        xr.Dataset
            GPP, Reco, NEE [Pg year-1 of carbon] by year, and by class. Members give GPP_std and so
            on, the spread of the totals. The spreads of cells alone (``GPP_std`` in the fluxes) do
            not tell it, for cells err together: they give GPP_std_bound, which it cannot exceed.
            ``covered_area`` [m2], mean over the year, and ``coverage``, the share of it.

        Raises
        ------
        SchemaError
            There are no fluxes, or they are without units.
        DataError
            Areas are needed and not there or of other cells; years are not whole.

        Notes
        -----
        Moritz (2000), doi:10.1007/s001900050278, has the radius.

        Examples
        --------
        >>> grid = xflux.datasets.load("simulated-grid", shape=(6, 12), time_step="monthly")
        >>> fluxes = grid.flux.predict(members=True)
        >>> budget = fluxes.flux.budget(land_fraction=1.0)
        >>> budget.NEE.dims, budget.NEE.attrs["units"], "NEE_std" in budget
        (('year',), 'Pg year-1', True)
        >>> fluxes.flux.budget(by="igbp", land_fraction=1.0).GPP.dims
        ('igbp', 'year')
        """
        from xflux.budgets.budget import budget

        return budget(
            self._ds,
            self.schema(variables=variables, units=units, assume_units=assume_units),
            by=by,
            area=area,
            land_fraction=land_fraction,
            incomplete=incomplete,
            members=members,
        )
