"""The model file: what was saved comes back bit by bit, and nothing else is taken for a model."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

import xflux
from xflux import model
from xflux.errors import ModelFileError
from xflux.model import FluxModel
from xflux.prediction import ensemble


@pytest.fixture(scope="module")
def content(daily_model: FluxModel, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a small model file."""
    return daily_model.save(tmp_path_factory.mktemp("model") / "small.safetensors").read_bytes()


def parse(content: bytes) -> FluxModel:
    return model.parse_model(content, "file")


def about(found: FluxModel) -> dict[str, Any]:
    """The description of a model as it stands in its file."""
    return json.loads(json.dumps(model._to_json(found)))


def forged(weights: list[dict[str, np.ndarray]], description: Any) -> bytes:
    """A file whose hash is right, whatever it holds."""
    text = description if isinstance(description, str) else json.dumps(description)
    return model.write_file(ensemble.pack(weights).data, text)


def header_of(content: bytes) -> tuple[int, dict[str, Any]]:
    length = struct.unpack("<Q", content[:8])[0]
    return length, json.loads(content[8 : 8 + length])


def assert_same_model(one: FluxModel, other: FluxModel) -> None:
    assert one.members.data == other.members.data
    assert one.sha256 == other.sha256
    assert one.inputs == other.inputs
    assert one.settings == other.settings
    assert one.card == other.card


# --- there and back ---------------------------------------------------------------------------


def test_saved_and_loaded_predicts_bit_equal(
    daily_model: FluxModel, some_towers: xr.Dataset, tmp_path: Path
) -> None:
    path = daily_model.save(tmp_path / "small.safetensors")
    again = xflux.load_model(path)
    assert_same_model(daily_model, again)
    for members in (False, True):
        before = some_towers.flux.predict(daily_model, members=members)
        after = some_towers.flux.predict(again, members=members)
        for name in before.variables:
            np.testing.assert_array_equal(before[name].values, after[name].values)


def test_saved_twice_is_the_same_file(daily_model: FluxModel, tmp_path: Path) -> None:
    first = daily_model.save(tmp_path / "first.safetensors").read_bytes()
    again = xflux.load_model(tmp_path / "first.safetensors").save(tmp_path / "second.safetensors")
    assert again.read_bytes() == first


def test_bundled_models_come_back_too() -> None:
    for name in xflux.bundled_models():
        found = xflux.load_model(name)
        assert found.time_step == name
        assert_same_model(found, pickle.loads(pickle.dumps(found)))


def test_saving_replaces_whole_or_not_at_all(
    daily_model: FluxModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "small.safetensors"
    path.write_bytes(b"what was there before")
    monkeypatch.setattr(Path, "write_bytes", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        daily_model.save(path)
    assert path.read_bytes() == b"what was there before"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    monkeypatch.undo()
    daily_model.save(path)
    assert_same_model(xflux.load_model(path), daily_model)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_pickle_and_copies_are_the_same_model(
    daily_model: FluxModel, some_towers: xr.Dataset
) -> None:
    twins = (pickle.loads(pickle.dumps(daily_model)), copy.deepcopy(daily_model))
    expected = some_towers.flux.predict(daily_model)
    for twin in twins:
        assert_same_model(twin, daily_model)
        np.testing.assert_array_equal(some_towers.flux.predict(twin).GPP, expected.GPP)


def test_names_and_text_of_the_card_survive(daily_model: FluxModel, tmp_path: Path) -> None:
    own = model.FluxModel(
        inputs=daily_model.inputs,
        settings=daily_model.settings,
        members=daily_model.members,
        card={**daily_model.card, "name": "Zürich \N{SNOWMAN} <b>\"quoted\"</b>", "notes": [1.5]},
    )  # fmt: skip
    again = xflux.load_model(own.save(tmp_path / "own.safetensors"))
    assert again.card == own.card
    assert own.card["name"] in repr(again)
    assert "<b>" not in again._repr_html_()
    assert "&lt;b&gt;" in again._repr_html_()


# --- damage -----------------------------------------------------------------------------------


def caught_or_the_same(content: bytes, damaged: bytes) -> bool:
    """Whether damage is caught; where it is not, the model must be exactly the same."""
    try:
        found = parse(damaged)
    except ModelFileError:
        return True
    assert_same_model(found, parse(content))
    return False


def flip(content: bytes, bit: int) -> bytes:
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


@settings(max_examples=300)
@given(data=st.data())
def test_a_flipped_bit_is_caught(content: bytes, data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    caught_or_the_same(content, flip(content, bit))


def test_flipped_bits_all_over_the_file_are_caught(content: bytes) -> None:
    """Every bit of the first bytes, and two thousand more spread over header and weights."""
    length, _ = header_of(content)
    rng = np.random.default_rng(0)
    bits = [
        *range(8 * 40),
        *rng.integers(8 * 8, 8 * (8 + length), 1000).tolist(),
        *rng.integers(8 * (8 + length), 8 * len(content), 1000).tolist(),
    ]
    silent = [bit for bit in bits if not caught_or_the_same(content, flip(content, bit))]
    in_weights = [bit for bit in silent if bit >= 8 * (8 + length)]
    assert not in_weights
    assert len(silent) <= len(bits) // 1000


@settings(max_examples=100)
@given(data=st.data())
def test_a_truncated_or_longer_file_is_caught(content: bytes, data: st.DataObject) -> None:
    kept = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(ModelFileError):
        parse(content[:kept])
    with pytest.raises(ModelFileError):
        parse(content + data.draw(st.binary(min_size=1, max_size=64)))


@settings(max_examples=200)
@given(garbage=st.binary(max_size=300))
@example(b"")
@example(b"\0" * 8)
@example(pickle.dumps({"weights": [1.0]}))
@example(b"PK\x03\x04" + b"\0" * 100)
@example(struct.pack("<Q", 2**63) + b"{}")
@example(struct.pack("<Q", 2**64 - 1) + b"{" * 100)
@example(struct.pack("<Q", 2) + b"{}")
@example(struct.pack("<Q", 2) + b"[]")
@example(struct.pack("<Q", 4) + b"null")
@example(struct.pack("<Q", 20_000) + b"[" * 20_000)
@example(struct.pack("<Q", 4) + b"\xff\xfe\x00\x00")
def test_garbage_is_refused(garbage: bytes) -> None:
    with pytest.raises(ModelFileError, match="fetch or train it anew"):
        parse(garbage)


def test_the_error_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(b"")
    with pytest.raises(ModelFileError, match=r"broken\.safetensors is damaged"):
        xflux.load_model(path)


def test_no_such_file_is_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        xflux.load_model(tmp_path / "none.safetensors")
    with pytest.raises(FileNotFoundError, match="no bundled model and no file"):
        xflux.load_model("weekly")


def test_a_pickle_is_not_run(tmp_path: Path) -> None:
    class Mischief:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return Path.touch, (tmp_path / "was run",)

    path = tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps(Mischief()))
    with pytest.raises(ModelFileError):
        xflux.load_model(path)
    assert not (tmp_path / "was run").exists()


def test_a_file_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.safetensors"
    with path.open("wb") as file:
        file.truncate(model.LIMIT + 1)  # a sparse file: no disk is used
    monkeypatch.setattr(Path, "read_bytes", lambda _: 1 / 0)
    with pytest.raises(ModelFileError, match="larger than"):
        xflux.load_model(path)


# --- files made to deceive --------------------------------------------------------------------


@pytest.mark.parametrize("size", [2**31, 2**40, 2**62])
def test_sizes_that_the_file_does_not_hold_take_no_memory(content: bytes, size: int) -> None:
    length, header = header_of(content)
    name = next(name for name in header if name != "__metadata__")
    header[name]["shape"] = [size]
    header[name]["data_offsets"] = [0, 4 * size]
    text = json.dumps(header).encode()
    with pytest.raises(ModelFileError):
        parse(struct.pack("<Q", len(text)) + text + content[8 + length :])


def test_a_plain_safetensors_file_is_not_a_model() -> None:
    with pytest.raises(ModelFileError):
        parse(save({"weight": np.zeros(3, np.float32)}))


def test_another_description_under_the_old_hash_is_caught(content: bytes) -> None:
    length, header = header_of(content)
    text = header["__metadata__"]["xflux"]
    header["__metadata__"]["xflux"] = text.replace('"daily"', '"monthly"')
    assert header["__metadata__"]["xflux"] != text
    changed = json.dumps(header).encode()
    with pytest.raises(ModelFileError, match="sha256 does not match"):
        parse(struct.pack("<Q", len(changed)) + changed + content[8 + length :])


def test_a_newer_format_says_how_to_upgrade(daily_model: FluxModel) -> None:
    newer = {**about(daily_model), "format_version": model.FORMAT_VERSION + 1}
    with pytest.raises(ModelFileError, match="pip install --upgrade xflux"):
        parse(forged(daily_model.weights, newer))


def test_an_honest_forgery_is_a_model(daily_model: FluxModel) -> None:
    """The tools of the tests below are sound: unchanged, their file is read."""
    assert_same_model(parse(forged(daily_model.weights, about(daily_model))), daily_model)


def set_in(*path: str) -> Callable[[Any], Callable[[dict[str, Any]], None]]:
    """``set_in("inputs", "scale")(value)`` puts a value into a description."""

    def with_value(value: Any) -> Callable[[dict[str, Any]], None]:
        def change(description: dict[str, Any]) -> None:
            inner: Any = description
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = value

        return change

    return with_value


INPUTS, SETTINGS = "inputs", "settings"
WRONG = {
    "no inputs": lambda d: d.pop("inputs"),
    "no settings": lambda d: d.pop("settings"),
    "no card": lambda d: d.pop("card"),
    "no format": lambda d: d.pop("format_version"),
    "format is text": set_in("format_version")("new"),
    "format is endless": set_in("format_version")(float("inf")),
    "inputs is a list": set_in(INPUTS)([1, 2]),
    "inputs is a number": set_in(INPUTS)(7),
    "settings is a list": set_in(SETTINGS)([]),
    "settings is text": set_in(SETTINGS)("small"),
    "card is a number": set_in("card")(7),
    "a period of no text": set_in("card", "period")([1.5, 2.5]),
    "towers that cannot be counted": set_in("card", "towers")(7),
    "scores of text": lambda d: d["card"].update(validation_loss=[], scores={"GPP": "good"}),
    "a driver that is no text": lambda d: d["inputs"]["drivers"].__setitem__(0, 1.5),
    "a class that is no text": lambda d: d["inputs"]["characteristics"][0].update(classes=[[]]),
    "an input nobody knows": set_in(INPUTS, "code")("import os"),
    "a driver more": lambda d: d["inputs"]["drivers"].append("NDVI"),
    "a driver less": lambda d: d["inputs"]["drivers"].pop(),
    "needs what it has not": set_in(INPUTS, "required")(["TA", "SW_IN", "NDVI"]),
    "needs nothing": set_in(INPUTS, "required")([]),
    "derives the unknown": set_in(INPUTS, "derived")(["__import__"]),
    "time step unknown": set_in(INPUTS, "time_step")("hourly"),
    "normalisation too short": set_in(INPUTS, "centre")([0.0]),
    "normalisation is empty": lambda d: d["inputs"].update(centre=[], scale=[]),
    "scale of zero": lambda d: d["inputs"]["scale"].__setitem__(0, 0.0),
    "scale is nan": lambda d: d["inputs"]["scale"].__setitem__(0, float("nan")),
    "centre is infinite": lambda d: d["inputs"]["centre"].__setitem__(0, float("inf")),
    "scale is text": lambda d: d["inputs"]["scale"].__setitem__(0, "1"),
    "ranges too short": set_in(INPUTS, "low")([]),
    "characteristic is text": set_in(INPUTS, "characteristics")(["igbp"]),
    "no characteristics": set_in(INPUTS, "characteristics")([]),
    "characteristic without scale": lambda d: d["inputs"]["characteristics"][-1].update(scale=0.0),
    "hidden is huge": set_in(SETTINGS, "hidden")(2**40),
    "hidden is small": set_in(SETTINGS, "hidden")(1),
    "hidden is text": set_in(SETTINGS, "hidden")("8"),
    "hidden is negative": set_in(SETTINGS, "hidden")(-8),
    "more members than there are": set_in(SETTINGS, "members")(3),
    "dropout is out of range": set_in(SETTINGS, "dropout")(2.0),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_a_description_that_does_not_fit_is_refused(
    daily_model: FluxModel, change: Callable[[dict[str, Any]], Any]
) -> None:
    description = about(daily_model)
    change(description)
    with pytest.raises(ModelFileError):
        parse(forged(daily_model.weights, description))


@pytest.mark.parametrize("text", ["", "null", "[]", "7", '"model"', "{", "[" * 20_000])
def test_a_description_that_is_no_description_is_refused(daily_model: FluxModel, text: str) -> None:
    with pytest.raises(ModelFileError):
        parse(forged(daily_model.weights, text))


LSTM, HEADS = "recurrent.lstm.weight_ih_l0", "recurrent.heads.weight"
SPANS = "running.spans"
TENSORS = {
    "another name": lambda w: w[0].update(renamed=w[0].pop(LSTM)),
    "one too many": lambda w: w[0].update(extra=np.zeros(3, np.float32)),
    "one too few": lambda w: w[1].pop("recurrent.lstm.bias_hh_l0"),
    "a number": lambda w: w[0].update({LSTM: np.float32(1.0).reshape(())}),
    "flat": lambda w: w[0].update({LSTM: w[0][LSTM].ravel()}),
    "turned": lambda w: w[0].update({LSTM: w[0][LSTM].T}),
    "empty": lambda w: w[0].update({LSTM: np.zeros((0, 0), np.float32)}),
    "heads too wide": lambda w: w[0].update({HEADS: np.zeros((3, 8), np.float32)}),
    "in double precision": lambda w: w[0].update({HEADS: w[0][HEADS].astype(np.float64)}),
    "integers": lambda w: w[0].update({HEADS: w[0][HEADS].astype(np.int32)}),
    "nan": lambda w: w[0].update({HEADS: np.full_like(w[0][HEADS], np.nan)}),
    "infinite": lambda w: w[1].update(spread=np.full(2, np.inf, np.float32)),
    "spans of zero": lambda w: w[0].update({SPANS: np.zeros_like(w[0][SPANS])}),
    "spans without end": lambda w: w[0].update({SPANS: np.ones(10**6, np.float32)}),
    "spans of text": lambda w: w[0].update({SPANS: np.frombuffer(b"abcd", np.uint8)}),
    "no member": lambda w: w.clear(),
    "one member only": lambda w: w.pop(),
}


@pytest.mark.parametrize("change", TENSORS.values(), ids=TENSORS)
def test_weights_that_do_not_fit_are_refused(
    daily_model: FluxModel, change: Callable[[list[dict[str, np.ndarray]]], Any]
) -> None:
    weights = [dict(member) for member in daily_model.weights]
    change(weights)
    with pytest.raises(ModelFileError):
        parse(forged(weights, about(daily_model)))


@pytest.mark.parametrize(
    "name", ["spread", "0", "x.spread", "-1.spread", "..", "12345.spread", "٣.a"]
)
def test_tensors_of_no_member_are_refused(daily_model: FluxModel, name: str) -> None:
    text = json.dumps(about(daily_model))
    tensors = {name: np.zeros(2, np.float32)}
    digest = hashlib.sha256(save(tensors) + b"\0" + text.encode()).hexdigest()
    with pytest.raises(ModelFileError):
        parse(save(tensors, metadata={"xflux": text, "sha256": digest}))


# --- how a model shows itself -----------------------------------------------------------------


def test_repr_tells_what_a_model_takes(daily_model: FluxModel) -> None:
    text = repr(daily_model)
    for word in ("daily", "TA [degC]", "SW_IN [W m-2]", "igbp", "|lat|", "2 members", "8 entities"):
        assert word in text
    assert daily_model.sha256[:16] in text


def test_html_repr_is_a_table_with_the_same_rows(daily_model: FluxModel) -> None:
    shown = daily_model._repr_html_()
    assert shown.count("<tr>") == shown.count("</tr>") == len(repr(daily_model).splitlines()) - 1
    assert "TA [degC]" in shown


def test_weights_are_a_copy(daily_model: FluxModel) -> None:
    before = daily_model.members.data
    for values in daily_model.weights[0].values():
        values[...] = 0
    assert daily_model.members.data == before
