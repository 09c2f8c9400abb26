"""Learning on a Dataset of towers: split, train, evaluate, cross-validate."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import xarray as xr

from xflux.accessor.understanding import Understanding, trained

if TYPE_CHECKING:
    from xflux.model import FluxModel


class Learning(Understanding):
    """The part of ``ds.flux`` that needs labels."""

    def split(
        self, *, test: float = 0.2, seed: int = 0, distance_km: float = 30.0
    ) -> tuple[xr.Dataset, xr.Dataset]:
        """Split the entities in two, whole clusters at a time, stratified by land cover.

        Parameters
        ----------
        test : float
            Share of entities in the second part.
        seed : int
        distance_km : float
            Entities closer than this to each other, directly or through others, stay together.

        Returns
        -------
        (xr.Dataset, xr.Dataset)
            For training and for testing.

        Examples
        --------
        >>> train, test = xflux.datasets.load("simulated-towers", sites=20, years=1).flux.split()
        >>> train.sizes["site"] + test.sizes["site"]
        20
        """
        from xflux.skill import evaluation

        return evaluation.split(
            self._ds, self.schema(), test=test, seed=seed, distance_km=distance_km
        )

    def train(
        self,
        *,
        method: str = "ct-lstm",
        members: int = 5,
        seed: int = 0,
        epochs: int | None = None,
        hidden: int | None = None,
        drivers: Sequence[str] | None = None,
        characteristics: Sequence[str] | None = None,
        qc: float = 0.5,
        world: xr.Dataset | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        device: str | None = None,
        workers: int | None = None,
        progress: bool | None = None,
        variables: Mapping[str, str] | None = None,
        units: Mapping[str, str] | None = None,
        assume_units: bool = False,
        settings: Mapping[str, object] | None = None,
    ) -> FluxModel:
        """Train an ensemble on the entities of this Dataset.

        Parameters
        ----------
        method : str
            ``"ct-lstm"``: CT-LSTM with the multi-loss on GPP, Reco and NEE;
            ``"ct-lstm-physics"``: the same around a law of light and temperature, for few towers
            (docs/physics.md); ``"tam-rl"``: the same, modulated by what is known of an entity from
            other times; ``"metaflux"``: MetaFlux as published, for comparison. docs/methods.md
            tells when to use which.
        members, seed : int
            Members of the ensemble, and the seed that all of them derive from.
        epochs : int, optional
            Passes over the data. When not given they are chosen on clusters of entities that are
            kept out, and the members are then trained on all entities; with fewer than ten
            clusters 30 (daily) or 60 (monthly). MetaFlux keeps to the 100 that are published.
        hidden : int, optional
            Hidden units of each network: 64, and 350 for MetaFlux.
        drivers, characteristics : sequence of str, optional
            Names to use: by default every driver that xflux knows, and land cover and latitude.
        qc : float
            Steps whose NEE_QC is below this are not used; NEE_QC runs from 0 to 1.
        world : xr.Dataset, optional
            Drivers without labels, of other towers or a grid, where ``"ct-lstm-physics"`` is to
            keep to what is known too.
        checkpoint : path, optional
            Keep the state here after every epoch; the same call goes on from it after a crash.
        device : str, optional
            ``"cpu"`` or ``"cuda"``; a GPU where there is one by default.
        workers : int, optional
            Processes that train members side by side, on the CPU. By default one for each core
            that is there, when the training is long enough for that (about twenty seconds); 1
            trains in this process. The weights do not depend on it.
        progress : bool, optional
            Show a progress bar; by default only where somebody can see it.
        variables, units : mapping of str to str, optional
            What is what, where names and attributes do not tell: ``{"GPP": "GPP_DT"}``,
            ``{"TA": "K"}``.
        assume_units : bool
            Take missing ``units`` for xflux's own.
        settings : mapping, optional
            Other fields of `xflux.training.settings.Settings`.

        Returns
        -------
        FluxModel

        Raises
        ------
        SchemaError
            Something is missing, ambiguous, out of range or without units; all of it is named.
        DataError
            Too few labels.
        ModelError
            A setting is out of range, or the time step is not daily or monthly.
        TrainingDiverged
            The loss is no longer finite.
        TrainingStopped
            A process that trained was killed, for example because memory was full.

        Examples
        --------
        >>> towers = xflux.datasets.load("simulated-towers", sites=6, years=1)
        >>> model = towers.flux.train(members=2, epochs=1, hidden=8)
        >>> len(model.weights)
        2
        """
        from xflux.training.fitting import fit_model

        schema = self.schema(variables=variables, units=units, assume_units=assume_units)
        return fit_model(
            self._ds,
            schema,
            method=method,
            epochs=epochs,
            drivers=drivers,
            characteristics=characteristics,
            qc=qc,
            world=world,
            checkpoint=checkpoint,
            device=device,
            workers=workers,
            progress=progress,
            settings=_settings(members, seed, hidden, settings),
        )

    def evaluate(
        self,
        model: FluxModel | xr.Dataset,
        *,
        qc: float = 0.5,
        by_scale: bool = False,
        variables: Mapping[str, str] | None = None,
        units: Mapping[str, str] | None = None,
        assume_units: bool = False,
    ) -> xr.Dataset:
        """Score a model, or a prediction, against the labels of this Dataset.

        Parameters
        ----------
        model : FluxModel or xr.Dataset
            A Dataset is taken as a prediction made before.
        qc : float
            Steps whose NEE_QC is below this do not count.
        by_scale : bool
            Also the mean seasonal cycle, the anomalies from it, and the differences between
            entities, along a dimension ``scale``.
        variables, units : mapping of str to str, optional
            As in `train`.
        assume_units : bool
            Take missing ``units`` for xflux's own.

        Returns
        -------
        xr.Dataset
            rmse, r2, nse, bias, mae by target and entity, pooled, and their mean, median and 90 %
            quantile over entities; see `xflux.skill.metrics.scores`.

        Examples
        --------
        >>> towers = xflux.datasets.load("simulated-towers", sites=4, years=1)
        >>> scores = towers.flux.evaluate(xflux.load_model("daily"))
        >>> scores.rmse.dims
        ('target', 'site')
        """
        from xflux.skill.evaluation import evaluate

        schema = self.schema(variables=variables, units=units, assume_units=assume_units)
        prediction = model if isinstance(model, xr.Dataset) else trained(model)
        return evaluate(self._ds, schema, prediction, qc=qc, by_scale=by_scale)

    def cross_validate(
        self,
        *,
        folds: int | None = None,
        by: str = "site",
        method: str = "ct-lstm",
        members: int = 5,
        seed: int = 0,
        epochs: int | None = None,
        hidden: int | None = None,
        drivers: Sequence[str] | None = None,
        characteristics: Sequence[str] | None = None,
        qc: float = 0.5,
        by_scale: bool = False,
        device: str | None = None,
        workers: int | None = None,
        progress: bool | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> xr.Dataset:
        """Score models on entities that they have not seen, fold by fold.

        Parameters
        ----------
        folds : int, optional
            5 by default; with a characteristic, one fold a class.
        by : str
            ``"site"``: clusters of 30 km. A characteristic (``"igbp"``, ``"climate"``): whole
            classes, or quantile bins of a number, are kept out, with their neighbours.
        method, members, seed, epochs, hidden, drivers, characteristics, qc
            As in `train`.
        by_scale : bool
            As in `evaluate`.
        device, workers, progress, settings
            As in `train`.

        Returns
        -------
        xr.Dataset
            As `evaluate`, with the coordinate ``fold`` on the entities.
        """
        from xflux.skill.evaluation import cross_validate

        scores, _ = cross_validate(
            self._ds,
            self.schema(),
            folds=folds,
            by=by,
            seed=seed,
            qc=qc,
            by_scale=by_scale,
            training={
                "method": method,
                "epochs": epochs,
                "drivers": drivers,
                "characteristics": characteristics,
                "device": device,
                "workers": workers,
                "progress": progress,
                "settings": _settings(members, seed, hidden, settings),
            },
        )
        return scores


def _settings(
    members: int, seed: int, hidden: int | None, others: Mapping[str, object] | None
) -> dict[str, object]:
    """What was said at the door; what was not is left to the method."""
    said = {} if hidden is None else {"hidden": hidden}
    return {"members": members, "seed": seed, **said, **(others or {})}
