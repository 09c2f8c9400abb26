"""Models that are shared: what is written, what is fetched, and what is refused."""

from __future__ import annotations

import dataclasses
import hashlib
from html.parser import HTMLParser
from pathlib import Path

import pytest

import xflux
from tests.loopback import Loopback
from xflux import model as model_file
from xflux.__main__ import main
from xflux.errors import DownloadError, ModelError, ModelFileError, WriteError
from xflux.model import FluxModel


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XFLUX_DATA_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@pytest.fixture
def shared(tmp_path: Path, daily_model: FluxModel) -> Path:
    """A model file as it lies on a server."""
    folder = tmp_path / "server"
    daily_model.push(folder, name="carbon")
    return folder / "carbon.safetensors"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run_line(line: str) -> FluxModel:
    """What the line that `push` returned gives, typed as it is."""
    found = eval(line, {"xflux": xflux})
    assert isinstance(found, FluxModel)
    return found


# --- push -------------------------------------------------------------------------------------


def test_push_writes_model_and_card_and_returns_the_line(tmp_path: Path, daily_model) -> None:
    line = daily_model.push(tmp_path / "models")
    file, card = sorted((tmp_path / "models").iterdir(), key=lambda path: path.suffix)[::-1]
    assert file.name == f"own-training-{sha256(file)[:8]}.safetensors"
    assert card.name == file.with_suffix(".md").name
    assert line == f'xflux.load_model("{file}", sha256="{sha256(file)}")'
    assert line in card.read_text(encoding="utf-8")
    assert run_line(line).sha256 == daily_model.sha256


def test_push_to_a_bucket_and_back(cache: Path, daily_model: FluxModel) -> None:
    line = daily_model.push("memory://bucket/models", name="carbon")
    assert '"memory://bucket/models/carbon.safetensors"' in line
    assert run_line(line).sha256 == daily_model.sha256
    assert len(list(cache.iterdir())) == 1


def test_push_keeps_another_model_of_the_same_name(tmp_path, daily_model, monthly_model) -> None:
    daily_model.push(tmp_path, name="carbon")
    daily_model.push(tmp_path, name="carbon")  # the same again is no harm
    with pytest.raises(WriteError, match="overwrite=True"):
        monthly_model.push(tmp_path, name="carbon.safetensors")
    assert xflux.load_model(tmp_path / "carbon.safetensors").time_step == "daily"
    monthly_model.push(tmp_path, name="carbon", overwrite=True)
    assert xflux.load_model(tmp_path / "carbon.safetensors").time_step == "monthly"


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "two words"])
def test_names_that_are_none(tmp_path: Path, daily_model: FluxModel, name: str) -> None:
    with pytest.raises(ModelError, match='name="carbon"'):
        daily_model.push(tmp_path, name=name)


@pytest.mark.parametrize("target", ["nosuch://bucket", "http://127.0.0.1:9/models"])
def test_where_nothing_can_be_written(target: str, daily_model: FluxModel) -> None:
    with pytest.raises(WriteError, match="s3://bucket/models"):
        daily_model.push(target)


# --- load -------------------------------------------------------------------------------------


def test_a_url_is_fetched_once_and_then_needs_no_network(cache, shared, daily_model) -> None:
    digest = sha256(shared)
    with Loopback(shared.parent) as server:
        url = server.url + shared.name
        for _ in range(2):
            assert xflux.load_model(url, sha256=digest).sha256 == daily_model.sha256
        assert server.requests[f"/{shared.name}"] == 1
    assert xflux.load_model(url, sha256=digest.upper()).sha256 == daily_model.sha256
    assert xflux.load_model(f"{url}#sha256={digest}").sha256 == daily_model.sha256
    named = f"https://elsewhere.invalid/carbon-{digest}.safetensors"
    assert xflux.load_model(named).sha256 == daily_model.sha256


def test_a_damaged_cache_is_fetched_anew(cache: Path, shared: Path, daily_model) -> None:
    with Loopback(shared.parent) as server:
        url = server.url + shared.name
        xflux.load_model(url, sha256=sha256(shared))
        next(cache.iterdir()).write_bytes(b"damaged")
        assert xflux.load_model(url, sha256=sha256(shared)).sha256 == daily_model.sha256


@pytest.mark.parametrize("fault", ["404", "503", "truncated", "corrupted", "dropped"])
def test_what_cannot_be_fetched_is_not_read_or_kept(cache, shared, monkeypatch, fault) -> None:
    monkeypatch.setattr(model_file, "read_model", lambda *_, **__: pytest.fail("was read"))
    with Loopback(shared.parent) as server:
        server.always = fault
        with pytest.raises(DownloadError, match=r"load it by its path|was not read"):
            xflux.load_model(server.url + shared.name, sha256=sha256(shared))
    assert not [path for path in cache.iterdir() if path.is_file()]


def test_another_hash_is_refused_before_reading(cache, shared, monkeypatch) -> None:
    monkeypatch.setattr(model_file, "read_model", lambda *_, **__: pytest.fail("was read"))
    with Loopback(shared.parent) as server, pytest.raises(DownloadError, match="was not read"):
        xflux.load_model(server.url + shared.name, sha256="0" * 64)
    assert not list(cache.iterdir())


@pytest.mark.parametrize("scheme", ["http", "memory"])
def test_a_file_that_is_too_large_is_not_fetched(cache, shared, monkeypatch, scheme) -> None:
    monkeypatch.setattr(model_file, "LIMIT", 1000)
    if scheme == "memory":
        import fsspec

        with fsspec.open("memory://large/carbon.safetensors", "wb") as file:
            file.write(shared.read_bytes())
        with pytest.raises(DownloadError, match="larger than"):
            xflux.load_model("memory://large/carbon.safetensors", sha256=sha256(shared))
    else:
        with Loopback(shared.parent) as server, pytest.raises(DownloadError, match="larger than"):
            xflux.load_model(server.url + shared.name, sha256=sha256(shared))
    assert not list(cache.iterdir())


@pytest.mark.parametrize(
    ("url", "digest", "said"),
    [
        ("https://x.invalid/a.safetensors", None, 'sha256="..."'),
        ("https://x.invalid/a-1a2b3c4d.safetensors", None, 'sha256="..."'),
        ("https://x.invalid/a.safetensors", "1a2b3c", "sha256sum"),
        ("https://x.invalid/a.safetensors#sha256=1a2b3c", None, "sha256sum"),
        (f"https://x.invalid/a.safetensors#sha256={'0' * 64}", "1" * 64, "leave one"),
        ("nosuch://x/a.safetensors", "0" * 64, "path or a URL"),
    ],
)
def test_urls_that_are_refused_without_asking_anybody(cache, url, digest, said) -> None:
    with pytest.raises(DownloadError, match=said.replace(".", r"\.")):
        xflux.load_model(url, sha256=digest)


def test_a_hash_is_checked_of_a_path_too(shared: Path) -> None:
    assert xflux.load_model(shared, sha256=sha256(shared)).time_step == "daily"
    with pytest.raises(ModelFileError, match="another file"):
        xflux.load_model(shared, sha256="0" * 64)


# --- the card ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", xflux.bundled_models())
def test_card_says_what_one_has_to_know(name: str, capsys) -> None:
    assert main(["card", name]) == 0
    page = capsys.readouterr().out
    model = xflux.load_model(name)
    assert f'xflux.load_model("{name}")' in page
    for text in (*model.card["where_not_to_use"], *model.card["data"], model.card["licence"]):
        assert f"- {text}" in page
    for text in (*model.inputs.drivers, *model.card["towers"], "W m-2", model.sha256):
        assert text in page
    row = next(line for line in page.splitlines() if line.startswith("| all |"))
    assert f"{model.card['scores']['GPP']:.2f}" in row


class Tags(HTMLParser):
    """Counts tags that are open, and keeps the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_is_whole_and_folds_what_is_long() -> None:
    tags = Tags()
    tags.feed(xflux.load_model("daily")._repr_html_())
    assert not tags.open
    assert tags.seen.count("details") == 5
    assert "AU-Tum" in tags.text
    assert "color:#" not in tags.text  # the notebook's own colours, light or dark


def test_what_a_stranger_writes_on_a_card_stays_text(daily_model: FluxModel) -> None:
    bad = "<script>x</script> | a\n# title ```"
    card = {**daily_model.card, "name": bad, "licence": bad, "data": bad, "towers": [bad]}
    card |= {"where_not_to_use": {"a": 1}, "cross_validation": {"by_x": {"y": 3}, "z": [1]}}
    model = dataclasses.replace(daily_model, card=card)
    tags = Tags()
    tags.feed(model._repr_html_())
    assert "script" not in tags.seen
    page = model.card_page()
    assert "<script>" not in page.replace("xflux.load_model", "").split("```")[2]
    assert "\n# title" not in page
    assert page.count("```") == 2
