"""Calibration of a model on a Dataset of towers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import xarray as xr

from xflux.accessor.understanding import Understanding, trained

if TYPE_CHECKING:
    from xflux.model import FluxModel


class Calibrating(Understanding):
    """The part of ``ds.flux`` that learns how wrong a model is."""

    def calibrate(
        self,
        model: FluxModel,
        *,
        predictions: xr.Dataset | None = None,
        folds: int = 5,
        qc: float = 0.5,
        device: str | None = None,
        workers: int | None = None,
        progress: bool | None = None,
        variables: Mapping[str, str] | None = None,
        units: Mapping[str, str] | None = None,
        assume_units: bool = False,
    ) -> FluxModel:
        """Learn from entities held out how wrong a model is where it has not been.

        `predict` can then give ``quantiles=`` and ``applicability=True``; fluxes stay as they are.
        On the towers of its training the model's like is trained once more for each fold, on all
        other folds, and predicts the fold: as long as `cross_validate`. On entities of which it has
        seen none, the model itself predicts them; this is fast, but tells nothing of the drivers of
        training, which ``applicability=True`` needs.

        Parameters
        ----------
        model : FluxModel
            Stays as it is.
        predictions : xr.Dataset, optional
            Predictions for the entities and times of this Dataset that you have already, each made
            without the cluster of its entity: nothing is trained. With ``_std`` or ``realization``.
        folds : int
            Folds of whole clusters of 30 km.
        qc : float
            Steps whose NEE_QC is below this are not used.
        device, workers, progress
            As in `train`.
        variables, units : mapping of str to str, optional
            As in `train`.
        assume_units : bool
            Take missing ``units`` for xflux's own.

        Returns
        -------
        FluxModel
            The same weights, with a calibration that `FluxModel.save` keeps.

        Raises
        ------
        SchemaError
            Something is missing, ambiguous, out of range or without units; all of it is named.
        DataError
            Fewer than 5 clusters, or than 1000 daily (100 monthly) labelled steps.
        ModelError
            The time step is not the model's, or a tuned model is to be trained once more.

        Examples
        --------
        >>> towers = xflux.datasets.load("simulated-towers", sites=20, years=1)
        >>> train, test = towers.drop_vars("igbp").flux.split(test=0.5)
        >>> model = train.flux.train(members=2, epochs=1, hidden=4)
        >>> model = test.flux.calibrate(model)
        >>> test.flux.predict(model, quantiles=[0.05, 0.95]).GPP_quantile.dims
        ('quantile', 'site', 'time')
        """
        from xflux.skill.calibrating import calibrate

        schema = self.schema(variables=variables, units=units, assume_units=assume_units)
        return calibrate(
            self._ds,
            schema,
            trained(model),
            predictions=predictions,
            folds=folds,
            qc=qc,
            device=device,
            workers=workers,
            progress=progress,
        )
