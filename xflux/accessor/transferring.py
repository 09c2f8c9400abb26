"""Transfer of a trained model to a new domain that has few labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from xflux.accessor.understanding import Understanding, trained

if TYPE_CHECKING:
    from xflux.model import FluxModel


class Transferring(Understanding):
    """The part of ``ds.flux`` that needs few labels and a trained model."""

    def finetune(
        self,
        model: FluxModel,
        *,
        what: str = "auto",
        qc: float = 0.5,
        name: str | None = None,
        variables: Mapping[str, str] | None = None,
        units: Mapping[str, str] | None = None,
        assume_units: bool = False,
        settings: Mapping[str, float] | None = None,
    ) -> FluxModel:
        """Tune a trained model to the few labels of this Dataset.

        With one entity the result is a model of this place. With several it is a model of their
        region: what they have in common is learned, what each has for itself is not. Give the whole
        series of drivers, with labels where there are some: the state runs through all of it.

        Parameters
        ----------
        model : FluxModel
            Stays as it is. Its inputs, normalisation and characteristics are kept.
        what : str
            ``"scale"``: one factor a flux. ``"head"``: the last layer of every member, in closed
            form. ``"auto"``: ``"head"``, which was the best with any number of labels.
        qc : float
            Steps whose NEE_QC is below this are not used.
        name : str, optional
            Name of the new model.
        variables, units : mapping of str to str, optional
            As in `train`.
        assume_units : bool
            Take missing ``units`` for xflux's own.
        settings : mapping, optional
            Fields of `xflux.training.prior.Prior`: how far places differ from a model.

        Returns
        -------
        FluxModel
            Its card says from which model, on which entities and on how many labels.

        Raises
        ------
        SchemaError
            Something is missing, ambiguous, out of range or without units; all of it is named.
        DataError
            No label, or none where the model predicts.
        ModelError
            The time step is not the model's, or a setting is out of range.

        Examples
        --------
        >>> towers = xflux.datasets.load("simulated-towers", sites=2, years=1)
        >>> few = towers.isel(site=[0])
        >>> few["GPP"] = few.GPP.where(few.time.dt.month == 6)
        >>> few["Reco"] = few.Reco.where(few.time.dt.month == 6)
        >>> local = few.flux.finetune(xflux.load_model("daily"))
        >>> local.card["finetuned"]["what"]
        'head'
        """
        from xflux.training.finetuning import finetune_model

        schema = self.schema(variables=variables, units=units, assume_units=assume_units)
        return finetune_model(
            self._ds, schema, trained(model), what=what, qc=qc, name=name, settings=settings
        )
