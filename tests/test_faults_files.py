"""Faults of files (rows 71, 72, 75 and 85): the essential of what their own tests show in full."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from faulty import row, says
from loopback import Loopback

import xflux
from xflux import datasets
from xflux.errors import DownloadError, ModelFileError
from xflux.model import FluxModel, read_model


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server with one file that is not a table, and its rightful hash in the registry."""
    name, content = "base/XX-One_MM.csv", b"month,value\n" * 200
    file = tmp_path / "server" / datasets._MONTHLY_PATH / name
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    monkeypatch.setattr(
        datasets, "_registry", lambda: {name: f"sha256:{hashlib.sha256(content).hexdigest()}"}
    )
    monkeypatch.setattr(datasets, "_PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setenv("XFLUX_DATA_DIR", str(tmp_path / "cache"))
    for proxy in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(proxy, "127.0.0.1")
    with Loopback(tmp_path / "server") as server:
        monkeypatch.setenv("XFLUX_DATA_URL", server.url)
        yield server


DOWNLOADS = [
    row(71, "wrong_hash", "corrupted", "the sha256 is not the one expected"),
    row(71, "truncated", "truncated", "the transfer failed"),
    row(71, "server_error", "503", "the server answered 503"),
    row(71, "connection_dropped", "dropped", "no connection"),
]


@pytest.mark.parametrize(("fault", "words"), DOWNLOADS)
def test_download_that_fails_leaves_nothing(
    published: Loopback, tmp_path: Path, fault: str, words: str
) -> None:
    published.faults["XX-One_MM.csv"] = [fault] * 9
    with pytest.raises(DownloadError) as caught:
        datasets.load("fluxnet2015-monthly")
    says(caught.value, words, "XX-One_MM.csv", "XFLUX_DATA_DIR")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


@pytest.mark.parametrize("url", [row(71, "offline", "http://127.0.0.1:9/")])
def test_offline(published: Loopback, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("XFLUX_DATA_URL", url)
    with pytest.raises(DownloadError) as caught:
        datasets.load("fluxnet2015-monthly")
    says(caught.value, "no connection", 'xflux.datasets.load("simulated-towers")')


@pytest.mark.parametrize("variable", [row(85, "cache_that_cannot_be_written", "XFLUX_DATA_DIR")])
def test_cache_folder_that_cannot_be_written(
    published: Loopback, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    def denied(path: object, env: object = None) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pooch.core.make_local_storage", denied)
    with pytest.raises(DownloadError) as caught:
        datasets.load("fluxnet2015-monthly")
    says(caught.value, "Permission denied", f"export {variable}=")


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def by_pickle(trap: Trap, path: Path) -> None:
    path.write_bytes(pickle.dumps(trap))


def by_torch(trap: Trap, path: Path) -> None:
    torch.save({"weights": trap}, path)


def by_numpy(trap: Trap, path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([trap], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    "write",
    [row(72, "pickle", by_pickle), row(72, "torch_save", by_torch), row(72, "numpy", by_numpy)],
)
def test_no_pickle_is_ever_opened(tmp_path: Path, write: Callable[[Trap, Path], None]) -> None:
    path, sprung = tmp_path / "model.safetensors", tmp_path / "sprung"
    write(Trap(sprung), path)
    with pytest.raises(ModelFileError, match="damaged or not a model of xflux"):
        xflux.load_model(path)
    assert not sprung.exists()


@pytest.mark.parametrize("forbidden", [row(72, "source", ("pickle", "torch.load", "Unpickler"))])
def test_the_package_reads_no_pickle(forbidden: tuple[str, ...]) -> None:
    package = Path(xflux.__file__).parent
    ours = {package / "training" / name for name in ("processes.py", "worker.py")}
    for file in {*package.rglob("*.py")} - ours:  # pipes between processes of one training
        code = file.read_text(encoding="utf-8")
        for word in forbidden:
            assert f"{word}(" not in code, file
            assert f"import {word}" not in code, file


@pytest.mark.parametrize("flips", [row(75, "bits_all_over_the_file", 150)])
def test_flipped_bits_are_caught(
    daily_model: FluxModel, tmp_path: Path, some_towers: xr.Dataset, flips: int
) -> None:
    path = daily_model.save(tmp_path / "model.safetensors")
    content = path.read_bytes()
    assert read_model(path).sha256 == daily_model.sha256
    end = 8 + int.from_bytes(content[:8], "little")
    assert "sha256" in json.loads(content[8:end])["__metadata__"]
    generator = np.random.default_rng(0)
    places = [
        *generator.integers(0, end, flips // 2),
        *generator.integers(end, len(content), flips),
    ]
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(generator.integers(0, 8))
        path.write_bytes(damaged)
        with pytest.raises(ModelFileError):
            read_model(path)
