"""Transfer of a trained model to a new domain that has few labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        target: str | None = None,
        targets: Sequence[str] | None = None,
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
            form. ``"adapter"``: also the biases of the first layers, as a characteristic of its
            own would. ``"all"``: every weight, pulled to where it was. ``"auto"``: ``"head"``,
            which was as good as anything with any number of labels, and is much faster.
        target, targets : str or sequence of str, optional
            Other variables to learn in place of GPP, Reco and NEE, by their names in the Dataset:
            the heads begin anew, all else of the model is kept. Units and attributes of the
            prediction are those of the labels.
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
        >>> towers["LE"] = (20 * towers.GPP).assign_attrs(units="W m-2")
        >>> towers.flux.predict(towers.flux.finetune(local, target="LE")).LE.attrs["units"]
        'W m-2'
        """
        from xflux.cf.variables import BY_NAME
        from xflux.training.finetuning import finetune_model

        new = targets if target is None else (target, *(targets or ()))
        named = {name: name for name in new or () if name in self._ds and name not in BY_NAME}
        schema = self.schema(
            variables={**named, **(variables or {})}, units=units, assume_units=assume_units
        )
        return finetune_model(
            self._ds,
            schema,
            trained(model),
            what=what,
            targets=new,
            qc=qc,
            name=name,
            settings=settings,
        )
