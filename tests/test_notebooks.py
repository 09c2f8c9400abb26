"""Notebooks as they are committed: without outputs, in order, each saying what it needs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

if not FOLDER.is_dir():
    pytest.skip("there are no notebooks here: this is not a checkout", allow_module_level=True)


def cells(path: Path, kind: str) -> list[dict]:
    read = json.loads(path.read_text(encoding="utf-8"))
    return [cell for cell in read["cells"] if cell["cell_type"] == kind]


def test_notebooks_are_numbered_one_after_another() -> None:
    assert [path.name[:3] for path in NOTEBOOKS] == [f"{k:02d}_" for k in range(1, 7)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_outputs_are_committed(path: Path) -> None:
    left = [c for c in cells(path, "code") if c["outputs"] or c["execution_count"] is not None]
    assert not left, f"{path.name} has outputs: clear them before the commit"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_begins_with_what_it_needs(path: Path) -> None:
    first = "".join(cells(path, "markdown")[0]["source"])
    assert first.startswith("# ")
    assert re.search(r"`pip install \"xflux\[plots[a-z,]*\]\"`; .*no network.*core", first)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_lead_somewhere(path: Path) -> None:
    words = "".join("".join(cell["source"]) for cell in cells(path, "markdown"))
    links = re.findall(r"\]\((?!http)([^)#]+)", words)
    assert not [link for link in links if not (FOLDER / link).exists()]
