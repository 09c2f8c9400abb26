"""Prediction on a Dataset of drivers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

import xarray as xr

from xflux.accessor.understanding import Understanding, chosen
from xflux.cf.schema import Schema, resolve

if TYPE_CHECKING:
    from xflux.model import FluxModel
    from xflux.prediction.calibration import Extra


class Predicting(Understanding):
    """The part of ``ds.flux`` that needs drivers alone."""

    @overload
    def predict(
        self,
        model: FluxModel | None = ...,
        *,
        members: bool = ...,
        characteristics: xr.Dataset | None = ...,
        tolerance: float | None = ...,
        device: str = ...,
        precision: Literal["float32", "bfloat16"] = ...,
        support: xr.Dataset | Literal["drivers", "none"] | None = ...,
        initial_state: xr.Dataset | None = ...,
        return_state: Literal[False] = ...,
        quantiles: Sequence[float] | None = ...,
        applicability: bool = ...,
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
        precision: Literal["float32", "bfloat16"] = ...,
        support: xr.Dataset | Literal["drivers", "none"] | None = ...,
        initial_state: xr.Dataset | None = ...,
        return_state: Literal[True],
        quantiles: Sequence[float] | None = ...,
        applicability: bool = ...,
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
        precision: Literal["float32", "bfloat16"] = "float32",
        support: xr.Dataset | Literal["drivers", "none"] | None = None,
        initial_state: xr.Dataset | None = None,
        return_state: bool = False,
        quantiles: Sequence[float] | None = None,
        applicability: bool = False,
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
        precision : str
            ``"float32"``, or ``"bfloat16"`` for the layers of the networks: faster on hardware
            that multiplies such numbers, slower elsewhere. Fluxes of the bundled daily ensemble
            then differ by up to 0.02 of their spread.
        support : xr.Dataset, "drivers" or "none", optional
            For models of TAM-RL: a Dataset of the same entities at other times, with drivers and
            some fluxes (steps of NEE_QC below 0.5 are left out). By default ``"drivers"``: those
            of this Dataset itself, without fluxes; ``"none"`` takes nothing for known. What it
            says goes along in the state.
        initial_state : xr.Dataset, optional
            The state that an earlier prediction returned, which ended one step before this Dataset
            begins: the numbers are those of one run over both. One step is then enough.
        return_state : bool
            Also return the state at the end, a Dataset that can be written and read.
        quantiles : sequence of float, optional
            Also quantiles of what would be measured, ``[0.05, 0.5, 0.95]``, along a dimension
            ``quantile``: they are as wide as errors were at towers held out. They are of single
            steps and do not average. The model must be calibrated, as the bundled daily one is.
        applicability : bool
            Also how unlike the drivers of each step are to those of training, and whether they
            are within the area of applicability.
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
            (3 months) after it. ``quantiles=`` adds GPP_quantile, Reco_quantile and NEE_quantile,
            ``applicability=True`` dissimilarity and applicable (1 or 0; -1 without a prediction).
            With ``return_state=True`` a pair of this and the state.

        Raises
        ------
        SchemaError
            A driver that the model needs is missing, ambiguous or without units.
        DataError
            Values are out of range; on lazy data when they are computed.
        ModelError
            The model is not calibrated, the precision is unknown, the time step is not the model's,
            or the initial state does not belong to it, to these entities, or to the step before
            these.

        Examples
        --------
        >>> grid = xflux.datasets.load("simulated-grid", shape=(6, 12), years=1)
        >>> sorted(grid.flux.predict().data_vars)
        ['GPP', 'GPP_std', 'NEE', 'NEE_std', 'Reco', 'Reco_std']
        """
        ds, schema, model = self._understood(
            model, characteristics, tolerance, initial_state, variables, units, assume_units
        )
        extra = _extra(model, quantiles, applicability, members)
        fluxes, state = model.advance(
            ds,
            schema,
            members=members,
            device=device,
            precision=precision,
            support=support,
            initial_state=initial_state,
            keep_state=return_state,
            extra=extra,
        )
        return fluxes if state is None else (fluxes, state)

    def predict_to_zarr(
        self,
        store: str | os.PathLike[str],
        model: FluxModel | None = None,
        *,
        mode: Literal["w-", "w"] = "w-",
        chunks: Mapping[str, int] | None = None,
        members: bool = False,
        characteristics: xr.Dataset | None = None,
        tolerance: float | None = None,
        device: str = "cpu",
        precision: Literal["float32", "bfloat16"] = "float32",
        support: xr.Dataset | Literal["drivers", "none"] | None = None,
        initial_state: xr.Dataset | None = None,
        final_state: str | os.PathLike[str] | None = None,
        quantiles: Sequence[float] | None = None,
        applicability: bool = False,
        storage_options: Mapping[str, Any] | None = None,
        progress: bool | None = None,
        variables: Mapping[str, str] | None = None,
        units: Mapping[str, str] | None = None,
        assume_units: bool = False,
    ) -> xr.Dataset:
        """Predict into a zarr store block by block, and go on after a kill; for long runs.

        The numbers and the metadata are those of `predict`. Each block is read, predicted and
        written by one dask task, on threads or on a cluster. The store cannot be opened before all
        blocks are in it; until then what is needed to go on is in a folder beside it,
        ``<store>.part``. When the run breaks off, for whatever reason, the same line goes on from
        the blocks that are written.

        Parameters
        ----------
        store : path or URL
            A folder for the zarr store, or a URL that fsspec knows.
        model : FluxModel, optional
            The bundled ensemble for this time step by default.
        mode : {"w-", "w"}
            ``"w-"`` refuses a store that exists, ``"w"`` replaces it: on a disk when the new one is
            finished, in an object store when it begins.
        chunks : mapping of str to int, optional
            Chunks of the store along some dimensions, -1 for all of it. By default those of the
            drivers; maps of more than 65,536 entities are cut, and at least 30 steps go together.
            What fits the chunks of the drivers is read once.
        members, characteristics, tolerance, device, precision, support, quantiles, applicability
            As in `predict`.
        initial_state : xr.Dataset, optional
            As in `predict`.
        final_state : path or URL, optional
            A zarr store for the state at the end. Opened with `xr.open_zarr`, it is the
            ``initial_state`` of the steps that follow.
        storage_options : mapping, optional
            For fsspec, of stores given by a URL.
        progress : bool, optional
            Show a progress bar; by default only on a terminal.
        variables, units, assume_units
            As in `predict`.

        Returns
        -------
        xr.Dataset
            The finished store, opened lazily: variables, units and layout as of `predict`.

        Raises
        ------
        ImportError
            zarr is not installed.
        SchemaError, ModelError
            As in `predict`.
        DataError
            Values are out of range; the block is named.
        WriteError
            The store exists, holds an unfinished run with other drivers, model or settings, or
            cannot be written; a block failed, or the cluster went away.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> grid = xflux.datasets.load("simulated-grid", shape=(6, 12), years=1)
        >>> store = pathlib.Path(tempfile.mkdtemp(), "fluxes.zarr")
        >>> fluxes = grid.flux.predict_to_zarr(store, chunks={"lat": 3})
        >>> fluxes.GPP.chunksizes["lat"]
        (3, 3)
        """
        from xflux import __version__
        from xflux.prediction.beforehand import with_context
        from xflux.prediction.run import prepare
        from xflux.prediction.to_zarr import predict_to_zarr

        ds, schema, model = self._understood(
            model, characteristics, tolerance, initial_state, variables, units, assume_units
        )
        run = prepare(
            ds,
            schema,
            model.inputs,
            model.members,
            source=model.source,
            version=__version__,
            targets=model.targets,
            members=members,
            device=device,
            precision=precision,
            initial_state=initial_state,
            keep_state=final_state is not None,
            extra=_extra(model, quantiles, applicability, members),
        )
        return predict_to_zarr(
            with_context(run, support),
            store,
            mode=mode,
            chunks=chunks,
            final_state=final_state,
            storage_options=storage_options,
            progress=progress,
        )

    def _understood(
        self,
        model: FluxModel | None,
        characteristics: xr.Dataset | None,
        tolerance: float | None,
        initial_state: xr.Dataset | None,
        variables: Mapping[str, str] | None,
        units: Mapping[str, str] | None,
        assume_units: bool,
    ) -> tuple[xr.Dataset, Schema, FluxModel]:
        """The Dataset with its characteristics, what it holds, and the model for it."""
        from xflux.cf.alignment import align_characteristics
        from xflux.prediction.state import step_of

        ds = self._ds
        if characteristics is not None:
            ds = align_characteristics(ds, characteristics, tolerance=tolerance)
        known = None if initial_state is None else step_of(initial_state)
        schema = resolve(
            ds, variables=variables, units=units, assume_units=assume_units, time_step=known
        )
        return ds, schema, chosen(schema, model)


def _extra(
    model: FluxModel, quantiles: Sequence[float] | None, applicability: bool, members: bool
) -> Extra | None:
    """What is wanted beside the fluxes, of what the model knows."""
    from xflux.prediction.calibration import extra_of

    return extra_of(
        model.calibration, quantiles=quantiles, applicability=applicability, members=members
    )
