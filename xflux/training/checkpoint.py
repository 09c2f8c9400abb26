"""Training that survives kill -9: the state after every epoch, replaced whole or not at all.

Everything random is drawn from (seed, member, epoch), so weights and the moments of the optimiser
are all there is to keep. A resumed training ends with the same weights as an unbroken one. Members
and folds that train side by side are in one file, each as far as it has come.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from xflux.errors import ModelError, ModelFileError
from xflux.features import Inputs
from xflux.training.settings import Settings
from xflux.training.windows import Tensors
from xflux.whole import write_whole


@dataclass(frozen=True, kw_only=True)
class Reached:
    """How far one network has come in its training.

    Attributes
    ----------
    losses : tuple of float
        One for each epoch that is done: of training, or on entities that are kept out.
    tensors : dict of str to Tensor
        As `optimiser_tensors` gives them: all that is needed to go on.
    """

    losses: tuple[float, ...] = ()
    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        """Epochs that are done."""
        return len(self.losses)

    @property
    def weights(self) -> dict[str, Tensor]:
        """Parameters and buffers of the network, by name."""
        kept = self.tensors.items()
        return {n.removeprefix("weights."): t for n, t in kept if n.startswith("weights.")}


def fingerprint(tensors: Tensors, inputs: Inputs, settings: Settings, *, folds: int = 0) -> str:
    """Hash of the data and settings of a training: a checkpoint belongs to one only."""
    digest = hashlib.sha256(repr((inputs, settings, folds)).encode())
    digest.update(tensors.target.tobytes())
    parts = [tensors.drivers, tensors.characteristics, tensors.targets, tensors.weight]
    if tensors.world is not None:
        parts += [tensors.world.drivers, tensors.world.characteristics]
    for tensor in parts:
        digest.update(np.ascontiguousarray(tensor.cpu().numpy()).view(np.uint8).data)
    return digest.hexdigest()


class Checkpoint:
    """A file that holds every member and fold as far as it has come.

    Parameters
    ----------
    path : str or Path or None
        None keeps nothing.
    key : str
        `fingerprint` of this training.

    Raises
    ------
    ModelError
        The file belongs to another training.
    ModelFileError
        The file is damaged.
    """

    def __init__(self, path: str | os.PathLike[str] | None, key: str) -> None:
        self.path = None if path is None else Path(path)
        self.key = key
        self._reached: dict[str, Reached] = {}
        if self.path is not None and self.path.exists():
            self._read(self.path)

    def _read(self, path: Path) -> None:
        try:
            with safe_open(str(path), framework="pt") as file:
                metadata = file.metadata() or {}
                about = json.loads(metadata["xflux_checkpoint"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if metadata["sha256"] != _digest(metadata["xflux_checkpoint"], tensors):
                raise ValueError("its sha256 does not match")
            key, losses = about["key"], about["losses"]
        except (SafetensorError, LookupError, ValueError, TypeError, RecursionError) as error:
            raise ModelFileError(
                f"{path} is not a checkpoint of xflux ({error}): remove it, or name another file"
            ) from error
        if key != self.key:
            raise ModelError(
                f"{path} belongs to a training with other data or settings: remove it to start "
                "anew, or name another checkpoint"
            )
        for name, values in losses.items():
            own = {n.partition("/")[2]: t for n, t in tensors.items() if n.startswith(f"{name}/")}
            self._reached[name] = Reached(losses=tuple(map(float, values)), tensors=own)

    def reached(self, name: str) -> Reached:
        """How far a member or fold has come; no epoch where nothing is known of it."""
        return self._reached.get(name, Reached())

    def write(self, name: str, reached: Reached) -> None:
        """Keep how far a member or fold has come, beside all others."""
        if self.path is None:
            return
        self._reached[name] = reached
        tensors = {
            f"{job}/{part}": tensor
            for job, kept in self._reached.items()
            for part, tensor in kept.tensors.items()
        }
        losses = {job: kept.losses for job, kept in self._reached.items()}
        about = json.dumps({"key": self.key, "losses": losses})
        metadata = {"xflux_checkpoint": about, "sha256": _digest(about, tensors)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, save(tensors, metadata=metadata))

    def remove(self) -> None:
        """Forget a finished training, with what a kill in the middle of a write left behind."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            for left in self.path.parent.glob(f"{glob.escape(self.path.name)}.*.part"):
                left.unlink(missing_ok=True)


def _digest(about: str, tensors: Mapping[str, Tensor]) -> str:
    """Hash of the description and of names, types, shapes and bytes of all tensors."""
    digest = hashlib.sha256(about.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"|{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
    return digest.hexdigest()


def optimiser_tensors(
    network: torch.nn.Module, optimiser: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Copies of weights and moments by name, on the CPU."""
    kept = {f"weights.{name}": tensor for name, tensor in network.state_dict().items()}
    for name, parameter in network.named_parameters():
        for moment, value in optimiser.state.get(parameter, {}).items():
            kept[f"moments.{name}.{moment}"] = torch.as_tensor(value)
    return {name: tensor.detach().cpu().clone() for name, tensor in kept.items()}


def restore(
    network: torch.nn.Module, optimiser: torch.optim.Optimizer, kept: Mapping[str, Tensor]
) -> None:
    """Put kept weights and moments back."""
    weights = {n.removeprefix("weights."): t for n, t in kept.items() if n.startswith("weights.")}
    network.load_state_dict(weights)
    for name, parameter in network.named_parameters():
        prefix = f"moments.{name}."
        optimiser.state[parameter] = {
            n.removeprefix(prefix): t.to(parameter.device) if t.ndim else t.clone()
            for n, t in kept.items()
            if n.startswith(prefix)
        }
