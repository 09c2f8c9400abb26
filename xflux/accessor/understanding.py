"""What every part of the accessor builds on: the Dataset, what is understood of it, and a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import xarray as xr

from xflux.cf.schema import Schema, resolve

if TYPE_CHECKING:
    from xflux.model import FluxModel


class Understanding:
    """The Dataset behind ``ds.flux``, and what is understood of it."""

    def __init__(self, ds: xr.Dataset) -> None:
        self._ds = ds

    def schema(
        self,
        *,
        variables: Mapping[str, str] | None = None,
        units: Mapping[str, str] | None = None,
        assume_units: bool = False,
    ) -> Schema:
        """Understand the Dataset; see `xflux.cf.schema.resolve` for the parameters."""
        return resolve(self._ds, variables=variables, units=units, assume_units=assume_units)

    def __repr__(self) -> str:
        from xflux.cf.display import schema_text

        return schema_text(resolve(self._ds), self._ds)

    def _repr_html_(self) -> str:
        from xflux.cf.display import schema_html

        return schema_html(resolve(self._ds), self._ds)


def chosen(schema: Schema, model: FluxModel | None) -> FluxModel:
    """A model as it was given, or the bundled ensemble for what the Dataset holds."""
    from xflux.pretrained import model_for

    if model is None:
        schema.require(task="prediction")
        model = model_for(schema.time_step)
    return trained(model)


def trained(model: object) -> FluxModel:
    """A model, or an error that says how to come by one."""
    from xflux.errors import ModelError
    from xflux.model import FluxModel

    if not isinstance(model, FluxModel):
        raise ModelError(
            f"a trained model is needed, not {type(model).__name__}: model = ds.flux.train(), or "
            'model = xflux.load_model("daily")'
        )
    return model
