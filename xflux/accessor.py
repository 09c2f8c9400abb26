"""The accessor ``ds.flux``: each method resolves the Dataset, calls one function and returns.

The accessor keeps no state: what is trained is returned. A Dataset that has a variable called
``flux`` still has it as ``ds["flux"]``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, overload

import xarray as xr

from xflux.schema import Schema, resolve

if TYPE_CHECKING:
    from xflux.model import FluxModel


@xr.register_dataset_accessor("flux")
class FluxAccessor:
    """Learn and predict carbon fluxes on a Dataset; shown, it tells what was understood.

    Parameters
    ----------
    ds : xr.Dataset
        Any layout with a time dimension: (site, time), (time, lat, lon), (time, y, x), (time,).
    """

    def __init__(self, ds: xr.Dataset) -> None:
        self._ds = ds

    def schema(
        self,
        *,
        variables: Mapping[str, str] | None = None,
        units: Mapping[str, str] | None = None,
        assume_units: bool = False,
    ) -> Schema:
        """Understand the Dataset; see `xflux.schema.resolve` for the parameters."""
        return resolve(self._ds, variables=variables, units=units, assume_units=assume_units)

    def __repr__(self) -> str:
        from xflux.display import schema_text

        return schema_text(resolve(self._ds), self._ds)

    def _repr_html_(self) -> str:
        from xflux.display import schema_html

        return schema_html(resolve(self._ds), self._ds)

    def train(
        self,
        *,
        method: str = "ct-lstm",
        members: int = 5,
        seed: int = 0,
        epochs: int | None = None,
        hidden: int = 64,
        drivers: Sequence[str] | None = None,
        characteristics: Sequence[str] | None = None,
        qc: float = 0.5,
        checkpoint: str | os.PathLike[str] | None = None,
        device: str | None = None,
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
            ``"ct-lstm"``: CT-LSTM with the multi-loss on GPP, Reco and NEE.
        members, seed : int
            Members of the ensemble, and the seed that all of them derive from.
        epochs : int, optional
            Passes over the data. When not given they are chosen on clusters of entities that are
            kept out, and the members are then trained on all entities; with fewer than ten
            clusters 30 (daily) or 60 (monthly).
        hidden : int
            Hidden units of each member.
        drivers, characteristics : sequence of str, optional
            Names to use: by default every driver that xflux knows, and land cover and latitude.
        qc : float
            Steps whose NEE_QC is below this are not used; NEE_QC runs from 0 to 1.
        checkpoint : path, optional
            Keep the state here after every epoch; the same call goes on from it after a crash.
        device : str, optional
            ``"cpu"`` or ``"cuda"``; a GPU where there is one by default.
        progress : bool, optional
            Show a progress bar; by default only where somebody can see it.
        variables, units : mapping of str to str, optional
            What is what, where names and attributes do not tell: ``{"GPP": "GPP_DT"}``,
            ``{"TA": "K"}``.
        assume_units : bool
            Take missing ``units`` for xflux's own.
        settings : mapping, optional
            Other fields of `xflux.settings.Settings`.

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

        Examples
        --------
        >>> towers = xflux.datasets.load("simulated-towers", sites=6, years=1)
        >>> model = towers.flux.train(members=2, epochs=1, hidden=8)
        >>> len(model.weights)
        2
        """
        from xflux.fitting import fit_model

        schema = self.schema(variables=variables, units=units, assume_units=assume_units)
        return fit_model(
            self._ds,
            schema,
            method=method,
            epochs=epochs,
            drivers=drivers,
            characteristics=characteristics,
            qc=qc,
            checkpoint=checkpoint,
            device=device,
            progress=progress,
            settings={"members": members, "seed": seed, "hidden": hidden, **(settings or {})},
        )

    @overload
    def predict(
        self,
        model: FluxModel | None = ...,
        *,
        members: bool = ...,
        characteristics: xr.Dataset | None = ...,
        tolerance: float | None = ...,
        device: str = ...,
        initial_state: xr.Dataset | None = ...,
        return_state: Literal[False] = ...,
        variables: Mapping[str, str] | None = ...,
        units: Mapping[str, str] | None = ...,
        assume_units: bool = ...,
    ) -> xr.Dataset: ...

    @overload
    def predict(
        self,
        model: FluxModel | None = ...,
        *,
        members: bool = ...,
        characteristics: xr.Dataset | None = ...,
        tolerance: float | None = ...,
        device: str = ...,
        initial_state: xr.Dataset | None = ...,
        return_state: Literal[True],
        variables: Mapping[str, str] | None = ...,
        units: Mapping[str, str] | None = ...,
        assume_units: bool = ...,
    ) -> tuple[xr.Dataset, xr.Dataset]: ...

    def predict(
        self,
        model: FluxModel | None = None,
        *,
        members: bool = False,
        characteristics: xr.Dataset | None = None,
        tolerance: float | None = None,
        device: str = "cpu",
        initial_state: xr.Dataset | None = None,
        return_state: bool = False,
        variables: Mapping[str, str] | None = None,
        units: Mapping[str, str] | None = None,
        assume_units: bool = False,
    ) -> xr.Dataset | tuple[xr.Dataset, xr.Dataset]:
        """Predict GPP, Reco and NEE for every entity and time step of this Dataset.

        Parameters
        ----------
        model : FluxModel, optional
            The bundled ensemble for this time step by default.
        members : bool
            Give each member along a ``realization`` dimension in place of mean and spread.
        characteristics : xr.Dataset, optional
            Characteristics on the same entity dimensions, where they are in another Dataset.
            Coordinates must be the same; nothing is joined silently.
        tolerance : float, optional
            Coordinates of ``characteristics`` that differ by no more are the same place.
        device : str
            ``"cpu"`` or ``"cuda"``.
        initial_state : xr.Dataset, optional
            The state that an earlier prediction returned, which ended one step before this Dataset
            begins: the numbers are those of one run over both. One step is then enough.
        return_state : bool
            Also return the state at the end, a Dataset that can be written and read.
        variables, units : mapping of str to str, optional
            As in `train`.
        assume_units : bool
            Take missing ``units`` for xflux's own.

        Returns
        -------
        xr.Dataset
            GPP, Reco, NEE and GPP_std, Reco_std, NEE_std in g m-2 d-1 of carbon, with the dims,
            order, coordinates and calendar of the drivers; lazy where the drivers are, in their
            chunks of time and space. The first 3 days (1 month) of a gap in a driver are bridged
            with its last value; a longer one gives NaN in the rest of it and for the 30 days
            (3 months) after it. With ``return_state=True`` a pair of this and the state.

        Raises
        ------
        SchemaError
            A driver that the model needs is missing, ambiguous or without units.
        DataError
            Values are out of range; on lazy data when they are computed.
        ModelError
            The time step is not the model's, or the initial state does not belong to it, to these
            entities, or to the step before these.

        Examples
        --------
        >>> grid = xflux.datasets.load("simulated-grid", shape=(6, 12), years=1)
        >>> sorted(grid.flux.predict().data_vars)
        ['GPP', 'GPP_std', 'NEE', 'NEE_std', 'Reco', 'Reco_std']
        """
        from xflux.alignment import align_characteristics
        from xflux.pretrained import model_for
        from xflux.state import step_of

        ds = self._ds
        if characteristics is not None:
            ds = align_characteristics(ds, characteristics, tolerance=tolerance)
        known = None if initial_state is None else step_of(initial_state)
        schema = resolve(
            ds, variables=variables, units=units, assume_units=assume_units, time_step=known
        )
        if model is None:
            schema.require(task="prediction")
            model = model_for(schema.time_step)
        fluxes, state = _model(model).advance(
            ds,
            schema,
            members=members,
            device=device,
            initial_state=initial_state,
            keep_state=return_state,
        )
        return fluxes if state is None else (fluxes, state)

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
            quantile over entities; see `xflux.metrics.scores`.

        Examples
        --------
        >>> towers = xflux.datasets.load("simulated-towers", sites=4, years=1)
        >>> scores = towers.flux.evaluate(xflux.load_model("daily"))
        >>> scores.rmse.dims
        ('target', 'site')
        """
        from xflux.evaluation import evaluate

        schema = self.schema(variables=variables, units=units, assume_units=assume_units)
        prediction = model if isinstance(model, xr.Dataset) else _model(model)
        return evaluate(self._ds, schema, prediction, qc=qc, by_scale=by_scale)

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
        from xflux import evaluation

        return evaluation.split(
            self._ds, self.schema(), test=test, seed=seed, distance_km=distance_km
        )

    def cross_validate(
        self,
        *,
        folds: int | None = None,
        by: str = "site",
        method: str = "ct-lstm",
        members: int = 5,
        seed: int = 0,
        epochs: int | None = None,
        hidden: int = 64,
        drivers: Sequence[str] | None = None,
        characteristics: Sequence[str] | None = None,
        qc: float = 0.5,
        by_scale: bool = False,
        device: str | None = None,
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
        method, members, seed, epochs, hidden, drivers, characteristics, qc, device, progress
            As in `train`.
        by_scale : bool
            As in `evaluate`.
        settings : mapping, optional
            As in `train`.

        Returns
        -------
        xr.Dataset
            As `evaluate`, with the coordinate ``fold`` on the entities.
        """
        from xflux.evaluation import cross_validate

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
                "progress": progress,
                "settings": {
                    "members": members,
                    "seed": seed,
                    "hidden": hidden,
                    **(settings or {}),
                },
            },
        )
        return scores


def _model(model: object) -> FluxModel:
    from xflux.errors import ModelError
    from xflux.model import FluxModel

    if not isinstance(model, FluxModel):
        raise ModelError(
            f"a trained model is needed, not {type(model).__name__}: model = ds.flux.train(), or "
            'model = xflux.load_model("daily")'
        )
    return model
