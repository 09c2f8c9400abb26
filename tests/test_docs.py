"""The README and the documentation say what is true: names exist, links lead, examples run."""

from __future__ import annotations

import ast
import contextlib
import importlib
import json
import re
import runpy
import warnings
from pathlib import Path

import pytest

import xflux
from xflux import errors
from xflux.errors import XfluxWarning
from xflux.training import fitting

ROOT = Path(__file__).resolve().parents[1]
if not (ROOT / "docs").is_dir():
    pytest.skip("the documentation is not in this copy of xflux", allow_module_level=True)

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[str]:
    """The Python of a page, block by block."""
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_names_exist(page: Path) -> None:
    for dotted in re.findall(r"`(xflux(?:\.\w+)+)", page.read_text(encoding="utf-8")):
        parts = dotted.split(".")
        found: object = xflux
        for i, part in enumerate(parts[1:], start=1):
            if not hasattr(found, part):
                found = importlib.import_module(".".join(parts[: i + 1]))
            else:
                found = getattr(found, part)


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    gone = [link for link in links if not (page.parent / link.partition("#")[0]).exists()]
    assert not gone


def test_reference_names_all_that_is_public() -> None:
    listed = set((ROOT / "docs" / "reference.md").read_text(encoding="utf-8").split())
    methods = [name for name in dir(xflux.accessor.FluxAccessor) if not name.startswith("_")]
    wanted = {f"Dataset.flux.{name}" for name in methods} | {
        f"errors.{name}" if hasattr(errors, name) else name
        for name in xflux.__all__
        if not name.startswith("_") and name != "datasets"
    }
    assert not wanted - listed, "name them in docs/reference.md"


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_python_is_python(page: Path) -> None:
    for block in blocks(page):
        ast.parse(block)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.stem in ("README", "tutorial")], ids=relative
)
def test_examples_run(page: Path, tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("matplotlib")
    load, fit = xflux.datasets.load, fitting.fit_towers

    def small(name: str, **options: object) -> object:
        size = {"sites": 12, "years": 1} if "towers" in name else {"shape": (6, 12)}
        return load(name, **{**options, **size})

    def quick(towers: object, **options: object) -> object:
        return fit(towers, **{**options, "epochs": 1, "settings": {"members": 1, "hidden": 4}})

    monkeypatch.setattr(xflux.datasets, "load", small)
    monkeypatch.setattr(fitting, "fit_towers", quick)
    names: dict[str, object] = {}
    with contextlib.chdir(tmp_path), warnings.catch_warnings():
        warnings.simplefilter("ignore", XfluxWarning)
        for block in blocks(page):
            exec(compile(block, relative(page), "exec"), names)
    assert (tmp_path / "fluxes.nc").exists()


def test_table_of_variables_is_of_today() -> None:
    tables = runpy.run_path(str(ROOT / "docs" / "make_tables.py"))
    text = tables["PAGE"].read_text(encoding="utf-8")
    assert tables["page"](text) == text, "run: python docs/make_tables.py"
    text = tables["CHECK_PAGE"].read_text(encoding="utf-8")
    assert tables["check_page"](text) == text, "run: python docs/make_tables.py"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=relative)
def test_notebooks_are_kept_without_outputs(notebook: Path) -> None:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]


def test_figures_are_small() -> None:
    figures = [path for path in (ROOT / "docs" / "images").iterdir() if path.suffix == ".png"]
    assert figures
    assert not [path.name for path in figures if path.stat().st_size > 300_000]
