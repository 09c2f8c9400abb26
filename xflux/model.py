"""FluxModel: the result of a training, and the file it lives in."""

from __future__ import annotations

import dataclasses
import hashlib
import html
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xflux import soundness
from xflux.cf.schema import Schema
from xflux.cf.targets import CARBON, Target
from xflux.cf.variables import BY_NAME
from xflux.errors import ModelFileError
from xflux.features import Characteristic, Inputs
from xflux.prediction import calibration, ensemble, inference
from xflux.prediction.calibration import Calibration, Extra
from xflux.prediction.ensemble import Members
from xflux.training.settings import NAMES, Settings
from xflux.whole import write_whole

FORMAT_VERSION = 1
"""Of the model file. A newer major version is refused, with the line to type."""

LIMIT = 512 * 2**20
"""Bytes: a larger file is not a model of xflux."""

_WRONG = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
"""What reading a description raises where it is not as `FluxModel.save` writes it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FluxModel:
    """An ensemble that predicts GPP, Reco and NEE, or what it was tuned to.

    Attributes
    ----------
    inputs : Inputs
        Drivers, characteristics, normalisation and training ranges.
    settings : Settings
        Of the training.
    members : Members
        Weights of all members.
    card : dict
        What is known about the model: towers, period, scores, licence, where not to use it.
    targets : tuple of Target
        What it predicts.
    calibration : Calibration, optional
        What entities held out have taught about its errors.
    """

    inputs: Inputs
    settings: Settings
    members: Members
    card: dict[str, Any]
    targets: tuple[Target, ...] = CARBON
    calibration: Calibration | None = None

    @property
    def time_step(self) -> str:
        """``"daily"`` or ``"monthly"``."""
        return self.inputs.time_step

    @property
    def sha256(self) -> str:
        """Hash of the weights."""
        return self.members.sha256

    @property
    def weights(self) -> list[dict[str, npt.NDArray[np.generic]]]:
        """Weights of each member, by the names of `xflux.networks.ct_lstm.Member`."""
        return ensemble.unpack(self.members)

    def predict(
        self, ds: xr.Dataset, schema: Schema, *, members: bool = False, device: str = "cpu"
    ) -> xr.Dataset:
        """Predict a Dataset that has been understood; `ds.flux.predict` is the door to this."""
        return self.advance(ds, schema, members=members, device=device)[0]

    def advance(
        self,
        ds: xr.Dataset,
        schema: Schema,
        *,
        members: bool = False,
        device: str = "cpu",
        precision: str = "float32",
        initial_state: xr.Dataset | None = None,
        keep_state: bool = False,
        support: xr.Dataset | str | None = None,
        extra: Extra | None = None,
    ) -> tuple[xr.Dataset, xr.Dataset | None]:
        """Predict from a state, and to a state; see `xflux.prediction.inference.predict`."""
        return inference.predict(
            ds,
            schema,
            self.inputs,
            self.members,
            source=self.source,
            version=_version(),
            targets=self.targets,
            members=members,
            device=device,
            precision=precision,
            initial_state=initial_state,
            keep_state=keep_state,
            support=support,
            extra=extra,
            watched=self.calibration is not None,
        )

    @property
    def source(self) -> str:
        """What a prediction says of where it comes from."""
        count = self.card.get("towers_count", len(self.card.get("towers", ())))
        return (
            f"xflux {_version()}: {self.settings.method} ensemble of {self.settings.members} "
            f"members, trained on {count} entities ({self.card.get('name', 'own training')})"
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the model to one safetensors file, whole or not at all.

        Parameters
        ----------
        path : path
            An existing file is replaced.

        Returns
        -------
        Path
        """
        path = Path(path)
        about = json.dumps(_to_json(self), sort_keys=True)
        content = write_file(self.members.data, about)
        write_whole(path, content)
        return path

    def __repr__(self) -> str:
        rows = "\n".join(f"  {name:<16} {text}" for name, text in _summary(self))
        return f"<xflux.FluxModel>\n{rows}"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
            for name, text in _summary(self)
        )
        return f"<div><strong>xflux.FluxModel</strong><table>{rows}</table></div>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.members.data, json.dumps(_to_json(self), sort_keys=True))


def _version() -> str:
    from xflux import __version__

    return __version__


def _summary(model: FluxModel) -> list[tuple[str, str]]:
    inputs, card = model.inputs, model.card

    def shown(names: tuple[str, ...]) -> str:
        return ", ".join(
            f"{name} [{BY_NAME[name].units}]" if name in BY_NAME else name for name in names
        )

    towers = card.get("towers", ())
    rows = [
        ("name", str(card.get("name", "own training"))),
        ("method", f"{model.settings.method}, {model.settings.members} members of "
                   f"{model.settings.hidden} hidden units"),
        ("time step", inputs.time_step),
        ("predicts", ", ".join(f"{t.name} [{t.units}]" for t in model.targets)),
        ("needs", shown(inputs.required)),
        ("uses", shown(inputs.optional) or "nothing more"),
        ("characteristics", ", ".join(c.label for c in inputs.characteristics) or "none"),
        ("trained on", f"{len(towers)} entities, {card.get('labelled_steps', '?')} labelled steps, "
                       f"{' to '.join(card.get('period', ()))}"),
        *_tuned(card),
        ("epochs", f"{model.settings.last_epoch} of a schedule of {model.settings.epochs}"),
        ("validation", _validation(card)),
        ("sha256", model.sha256[:16]),
    ]  # fmt: skip
    return rows


def _tuned(card: Mapping[str, Any]) -> list[tuple[str, str]]:
    about = card.get("finetuned")
    if not about:
        return []
    return [
        ("tuned", f"{about['what']} of {about['from']!r}, on {about['entities_count']} entities, "
                  f"{about['steps_used']} labelled steps"),
    ]  # fmt: skip


def _validation(card: Mapping[str, Any]) -> str:
    curve = card.get("validation_loss") or ()
    if curve:
        return (
            f"loss {min(curve):.3f} on clusters of entities kept out (epoch "
            f"{int(np.argmin(curve)) + 1} of {len(curve)})"
        )
    scores = card.get("scores", {})
    if scores:
        return ", ".join(f"{name} RMSE {value:.2f}" for name, value in scores.items())
    return "none: too few clusters, or epochs given"


def write_file(weights: bytes, about: str) -> bytes:
    """A safetensors file with the description and a hash of everything in its header.

    The library writes metadata in a random order; here it is sorted, so that the same model is
    always the same file.
    """
    from safetensors.numpy import load, save

    digest = _digest(weights, about)
    content = save(load(weights), metadata={"xflux": about, "sha256": digest})
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[end:]


def _digest(weights: bytes, about: str) -> str:
    return hashlib.sha256(weights + b"\0" + about.encode()).hexdigest()


def read_model(path: str | os.PathLike[str]) -> FluxModel:
    """Read and check a model file.

    Parameters
    ----------
    path : path

    Returns
    -------
    FluxModel

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ModelFileError
        The file is damaged, hostile, too large, or of a newer format.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no model file {os.fspath(path)!r}; see xflux.bundled_models()")
    if path.stat().st_size > LIMIT:
        raise ModelFileError(f"{path} is larger than {LIMIT // 2**20} MiB: not a model of xflux")
    return parse_model(path.read_bytes(), str(path))


def parse_model(content: bytes, where: str) -> FluxModel:
    """Check the bytes of a model file and turn them into a model."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    damaged = f"{where} is damaged or not a model of xflux: fetch or train it anew"
    try:
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        about, digest = header["__metadata__"]["xflux"], header["__metadata__"]["sha256"]
        tensors = load(content)
    except (SafetensorError, MemoryError, RecursionError, *_WRONG) as error:
        raise ModelFileError(f"{damaged} ({type(error).__name__}: {error})") from error
    if not tensors or not all(re.fullmatch(r"\d{1,4}\..+", name, re.ASCII) for name in tensors):
        raise ModelFileError(f"{damaged} (tensors of no member)")
    weights = ensemble.pack(ensemble.unpack(_plain(content)))
    if _digest(weights.data, about) != digest:
        raise ModelFileError(f"{damaged} (its sha256 does not match)")
    try:
        model = _from_json(json.loads(about), weights)
        _summary(model), model.source  # what a card says must be of a kind that can be shown
        return model
    except ModelFileError:
        raise
    except (RecursionError, *_WRONG) as error:
        raise ModelFileError(f"{damaged} ({type(error).__name__}: {error})") from error


def _plain(content: bytes) -> Members:
    return Members(data=content, sha256="")


def _rebuild(weights: bytes, about: str) -> FluxModel:
    return _from_json(json.loads(about), Members(data=weights, sha256=_hash(weights)))


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _to_json(model: FluxModel) -> dict[str, Any]:
    about = {
        "format_version": FORMAT_VERSION,
        "inputs": dataclasses.asdict(model.inputs),
        "settings": dataclasses.asdict(model.settings),
        "card": model.card,
    }
    if model.targets != CARBON:
        about["targets"] = [dataclasses.asdict(target) for target in model.targets]
    if model.calibration is not None:
        about["calibration"] = calibration.to_json(model.calibration)
    return about


def _from_json(about: Mapping[str, Any], members: Members) -> FluxModel:
    version = int(about["format_version"])
    if version > FORMAT_VERSION:
        raise ModelFileError(
            f"the model file has format {version}, this xflux reads up to {FORMAT_VERSION}: "
            "pip install --upgrade xflux"
        )
    raw = dict(about["inputs"])
    characteristics = tuple(
        Characteristic(**{**item, "classes": tuple(item["classes"])})
        for item in raw.pop("characteristics")
    )
    lists: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
    inputs = Inputs(**lists, characteristics=characteristics)
    known: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in about["settings"].items()
        if name in NAMES
    }
    settings = Settings(**known)
    targets = tuple(Target(**t) for t in about["targets"]) if "targets" in about else CARBON
    model = FluxModel(
        inputs=inputs,
        settings=settings,
        members=members,
        card=dict(about["card"]),
        targets=targets,
    )
    soundness.check(inputs, settings, targets, model.weights)
    if "calibration" not in about:
        return model
    known_errors = calibration.from_json(about["calibration"], inputs, [t.name for t in targets])
    return dataclasses.replace(model, calibration=known_errors)
