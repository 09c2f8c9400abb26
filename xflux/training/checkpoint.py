"""Training that survives kill -9: the state after every epoch, replaced whole or not at all.

Everything random is drawn from (seed, member, epoch), so weights and the moments of the optimiser
are all there is to keep. A resumed training ends with the same weights as an unbroken one.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from xflux.errors import ModelError, ModelFileError
from xflux.features import Inputs
from xflux.training.settings import Settings
from xflux.training.windows import Tensors


def fingerprint(tensors: Tensors, inputs: Inputs, settings: Settings) -> str:
    """Hash of the data and settings of a training: a checkpoint belongs to one only."""
    digest = hashlib.sha256(repr((inputs, settings)).encode())
    parts = [tensors.drivers, tensors.characteristics, tensors.targets, tensors.weight]
    if tensors.world is not None:
        parts += [tensors.world.drivers, tensors.world.characteristics]
    for tensor in parts:
        digest.update(np.ascontiguousarray(tensor.cpu().numpy()).view(np.uint8).data)
    return digest.hexdigest()


class Checkpoint:
    """A file that holds finished members and the member in training.

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
        self.member = 0
        self.epoch = 0
        self.losses: list[float] = []
        self.tensors: dict[str, Tensor] = {}
        if self.path is not None and self.path.exists():
            self._read(self.path)

    def _read(self, path: Path) -> None:
        try:
            with safe_open(str(path), framework="pt") as file:
                metadata = file.metadata() or {}
                about = json.loads(metadata["xflux_checkpoint"])
                self.tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if metadata["sha256"] != _digest(metadata["xflux_checkpoint"], self.tensors):
                raise ValueError("its sha256 does not match")
        except (SafetensorError, LookupError, ValueError, TypeError, RecursionError) as error:
            raise ModelFileError(
                f"{path} is not a checkpoint of xflux ({error}): remove it, or name another file"
            ) from error
        if about["key"] != self.key:
            raise ModelError(
                f"{path} belongs to a training with other data or settings: remove it to start "
                "anew, or name another checkpoint"
            )
        self.member, self.epoch = int(about["member"]), int(about["epoch"])
        self.losses = [float(loss) for loss in about["losses"]]

    def write(
        self, member: int, epoch: int, losses: list[float], tensors: Mapping[str, Tensor]
    ) -> None:
        """Keep the state after an epoch (or after a member, with epoch 0 of the next)."""
        if self.path is None:
            return
        self.tensors = {
            name: tensor for name, tensor in self.tensors.items() if _belongs(name, member)
        }
        self.tensors |= {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
        about = json.dumps({"key": self.key, "member": member, "epoch": epoch, "losses": losses})
        metadata = {"xflux_checkpoint": about, "sha256": _digest(about, self.tensors)}
        beside = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        save_file(self.tensors, str(beside), metadata=metadata)
        os.replace(beside, self.path)

    def finished(self, member: int) -> dict[str, Tensor] | None:
        """Weights of a member that is done, or None."""
        if member >= self.member:
            return None
        prefix = f"member{member}."
        return {n.removeprefix(prefix): t for n, t in self.tensors.items() if n.startswith(prefix)}

    def current(self, member: int) -> tuple[int, dict[str, Tensor]]:
        """Epochs done of the member in training, and its weights and moments."""
        if member != self.member or not self.epoch:
            return 0, {}
        return self.epoch, {n: t for n, t in self.tensors.items() if not n.startswith("member")}

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


def _belongs(name: str, member: int) -> bool:
    """Only finished members stay; what is in training is written anew each time."""
    return name.startswith("member") and int(name[6:].split(".", 1)[0]) < member


def optimiser_tensors(
    network: torch.nn.Module, optimiser: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Weights and moments by name, to be kept."""
    kept = {f"weights.{name}": tensor for name, tensor in network.state_dict().items()}
    for name, parameter in network.named_parameters():
        for moment, value in optimiser.state.get(parameter, {}).items():
            kept[f"moments.{name}.{moment}"] = torch.as_tensor(value)
    return kept


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
