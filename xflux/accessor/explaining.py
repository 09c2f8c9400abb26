"""Explaining a model on a Dataset: what made a flux, and which inputs its skill hangs on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import xarray as xr

from xflux.accessor.understanding import Understanding, chosen

if TYPE_CHECKING:
    from xflux.model import FluxModel


class Explaining(Understanding):
    """The part of ``ds.flux`` that tells why."""

    def attribute(
        self,
        model: FluxModel | None = None,
        *,
        target: str = "GPP",
        at: Any = None,
        baseline: Literal["training", "entity", "climatology"] = "training",
        lags: int | None = None,
        tolerance: float = 0.005,
        variables: Mapping[str, str] | None = None,
        units: Mapping[str, str] | None = None,
        assume_units: bool = False,
    ) -> xr.Dataset:
        """Tell which drivers, how far back, and which characteristics made predicted fluxes.

        Integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365) through every member: the
        contributions to a flux sum to its difference from the flux at a baseline.

        Parameters
        ----------
        model : FluxModel, optional
            The bundled ensemble for this time step by default; of ``"ct-lstm"`` or
            ``"ct-lstm-physics"``.
        target : str
            One of the targets of the model.
        at : label, list of labels or slice, optional
            The times whose fluxes are explained, as ``ds.sel(time=at)`` takes them; all by default.
        baseline : {"training", "entity", "climatology"}
            What fluxes are compared to. ``"training"``: the mean step of the towers of the
            training, of unknown land cover. ``"entity"``: the mean step of the entity itself.
            ``"climatology"``: the mean of the entity at the same time of the year, over all years
            given, daily over a month; it explains anomalies. Characteristics contribute with
            ``"training"`` alone.
        lags : int, optional
            Steps that are told one by one, the step itself among them: 90 (daily) or 12 (monthly).
        tolerance : float
            Largest part of a flux that contributions may miss, as a share of the target's spread in
            training. Points are added on the line of integration until it is kept; a warning says
            where it is not.
        variables, units : mapping of str to str, optional
            As in `train`.
        assume_units : bool
            Take missing ``units`` for xflux's own.

        Returns
        -------
        xr.Dataset
            Coordinates of the entities and the asked times, in the unit of the target:
            the target as `predict` gives it, ``<target>_at_baseline``, ``contribution``
            (..., driver, lag), ``characteristic_contribution`` (..., characteristic), ``earlier``,
            that of all before the lags, and ``residual``, what all of them miss. Missing where
            nothing is predicted; 0 for lags before the beginning of a series.

        Raises
        ------
        SchemaError
            As in `predict`.
        ModelError
            The method of the model is another one, or an option is not known.
        DataError
            A time is not there, nothing is predicted then, or it is more than fits in memory.

        Notes
        -----
        Drivers are taken as the network sees them: bridged gaps with the value that was carried on,
        and what the network derives itself (the season, absorbed light) under a name of its own.
        Lazy data are read when this is called: the drivers of all entities, up to the last asked
        time, or all times for a baseline of the entity. Choose entities first.

        Examples
        --------
        >>> towers = xflux.datasets.load("simulated-towers", sites=2, years=1)
        >>> why = towers.flux.attribute(at="2001-07-01", lags=30)
        >>> why.contribution.dims
        ('site', 'time', 'driver', 'lag')
        >>> told = why.contribution.sum(["driver", "lag"]) + why.earlier
        >>> told = told + why.characteristic_contribution.sum("characteristic")
        >>> bool(abs(why.GPP - why.GPP_at_baseline - told).max() < 0.02)
        True
        """
        from xflux import __version__
        from xflux.attribution.attributing import attribute

        schema = self.schema(variables=variables, units=units, assume_units=assume_units)
        return attribute(
            self._ds,
            schema,
            chosen(schema, model),
            version=__version__,
            target=target,
            at=at,
            baseline=baseline,
            lags=lags,
            tolerance=tolerance,
        )

    def importance(
        self,
        model: FluxModel | None = None,
        *,
        repeats: int = 5,
        block: int | None = None,
        seed: int = 0,
        qc: float = 0.5,
        variables: Mapping[str, str] | None = None,
        units: Mapping[str, str] | None = None,
        assume_units: bool = False,
    ) -> xr.Dataset:
        """Tell how much worse a model predicts these labels when an input is permuted.

        A driver is dealt out anew in blocks of time, over all entities and times; a characteristic
        over entities (Breiman 2001, doi:10.1023/A:1010933404324). Drivers that say the same share
        their importance: each alone may look small.

        Parameters
        ----------
        model : FluxModel, optional
            As in `attribute`.
        repeats : int
            Permutations of each input.
        block : int, optional
            Steps that are moved together: 30 (daily) or 3 (monthly). Blocks with a gap stay.
        seed : int
        qc : float
            Steps whose NEE_QC is below this are not scored.
        variables, units : mapping of str to str, optional
            As in `train`.
        assume_units : bool
            Take missing ``units`` for xflux's own.

        Returns
        -------
        xr.Dataset
            ``rmse`` (target), over all labels, and ``increase`` (variable, target, repeat), in the
            units of the targets; ``kind`` says which variables are drivers.

        Raises
        ------
        SchemaError
            A driver is missing, or there are no labels.
        ModelError
            The method of the model is another one, or an option is out of range.
        DataError
            One entity only, no labels where something is predicted, or more than fits in memory.

        Examples
        --------
        >>> towers = xflux.datasets.load("simulated-towers", sites=4, years=1)
        >>> found = towers.flux.importance(repeats=2)
        >>> found.increase.dims
        ('variable', 'target', 'repeat')
        >>> found.increase.mean("repeat").idxmax("variable").sel(target="GPP").item()
        'EVI'
        """
        from xflux import __version__
        from xflux.attribution.importance import importance

        schema = self.schema(variables=variables, units=units, assume_units=assume_units)
        return importance(
            self._ds,
            schema,
            chosen(schema, model),
            version=__version__,
            repeats=repeats,
            block=block,
            seed=seed,
            qc=qc,
        )
