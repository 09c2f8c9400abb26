"""Whether a model that was read from a file fits together: its hash tells of damage, not of intent.

No memory is taken to tell, beyond that of the weights themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from xflux import features
from xflux.cf.derived import DERIVED
from xflux.cf.targets import Target, outputs_of, sound
from xflux.errors import ModelFileError
from xflux.features import Inputs
from xflux.training.settings import Settings

Weights = Mapping[str, npt.NDArray[np.generic]]


def check(
    inputs: Inputs, settings: Settings, targets: tuple[Target, ...], members: Sequence[Weights]
) -> None:
    """Look at inputs, normalisation, targets and weights.

    Parameters
    ----------
    inputs : Inputs
    settings : Settings
    targets : tuple of Target
    members : sequence of mapping of str to numpy.ndarray
        Weights of each member by name.

    Raises
    ------
    ModelFileError
        Something does not fit.
    """
    characteristics = [text for c in inputs.characteristics for text in (c.name, *c.classes)]
    if not all(isinstance(n, str) for n in (*inputs.drivers, *inputs.required, *characteristics)):
        raise ModelFileError("the model's inputs have names that are no text")
    unknown = [name for name in inputs.derived if name not in DERIVED]
    if unknown:
        raise ModelFileError(
            f"the model derives {', '.join(unknown)}, which this xflux cannot; a newer "
            "one may: pip install --upgrade xflux"
        )
    if inputs.time_step not in features.GAP_LIMIT:
        raise ModelFileError(f"the model has an unknown time step {inputs.time_step!r}")
    columns = len(inputs.drivers) + len(inputs.derived)
    ranges = (inputs.low, inputs.high)
    if (
        (len(inputs.centre), len(inputs.scale)) != (columns, columns)
        or any(len(edge) != len(inputs.drivers) for edge in ranges)
        or not np.isfinite(inputs.centre).all()
        or not all(np.isfinite(c.centre) and 0 < c.scale < np.inf for c in inputs.characteristics)
        or not all(0 < scale < np.inf for scale in inputs.scale)
    ):
        raise ModelFileError("the model's normalisation does not fit its inputs")
    if not sound(targets):
        raise ModelFileError("the model's targets are not those of a model")
    if not inputs.required or not set(inputs.required) <= set(inputs.drivers):
        raise ModelFileError("the model needs drivers that are not among its drivers")
    if settings.members != len(members):
        raise ModelFileError(
            f"the model has {len(members)} members, its description says {settings.members}"
        )
    for weights in members:
        _check_weights(inputs, settings, targets, weights)


def _check_weights(
    inputs: Inputs, settings: Settings, targets: tuple[Target, ...], weights: Weights
) -> None:
    """Names, types and shapes must be those of a member."""
    import torch

    from xflux import physics
    from xflux.networks.building import build_network, method_of

    if method_of(weights) == "metaflux":
        lstm, width = "gpp.lstm", len(inputs.drivers)
        whole = float(weights["by_entity"][0]) == settings.by_entity
    else:
        lstm, width = "recurrent.lstm", inputs.width + inputs.characteristic_width
        whole = True
    units, taken = weights[f"{lstm}.weight_hh_l0"].shape[-1], weights[f"{lstm}.weight_ih_l0"]
    if taken.shape[-1] != width or units != settings.hidden:
        raise ModelFileError(
            f"the model's weights take {taken.shape[-1]} inputs, its description names {width}; or "
            f"they are not of {settings.hidden} hidden units, as it says"
        )
    if not whole:
        raise ModelFileError("the model's weights are not of the scaling that it says")
    with torch.device("meta"):
        member = build_network(inputs, settings, outputs=outputs_of(targets))
    expected = {name: tuple(tensor.shape) for name, tensor in member.state_dict().items()}
    found = {name: values.shape for name, values in weights.items()}
    if found != expected or any(values.dtype != np.float32 for values in weights.values()):
        wrong = [name for name in {**expected, **found} if found.get(name) != expected.get(name)]
        listed = ", ".join(wrong[:4]) or "not float32"
        raise ModelFileError(f"the model's weights are not those of a member: {listed}")
    if "running.spans" in weights and not (weights["running.spans"].astype(np.float64) > 0).all():
        raise ModelFileError("the model's running means have spans that are not positive")
    if not all(np.isfinite(values).all() for values in weights.values()):
        raise ModelFileError("the model's weights are not finite: its training diverged")
    if settings.physics is not None:
        for name, values in physics.fixed(inputs, settings.physics).items():
            if not np.array_equal(weights[f"law.{name}"], values.numpy()):
                raise ModelFileError(f"the model's law does not fit its inputs: {name}")
