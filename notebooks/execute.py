"""Run notebooks in memory, leaving their files as they are: make notebooks.

An error ends the run, and so does a warning of xflux that the notebook does not expect.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent


def execute(path: Path) -> list[str]:
    """Run one notebook and return the warnings of xflux that it shows."""
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(FOLDER)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=place).execute()
    shown = [
        output.text
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.output_type == "stream" and output.name == "stderr"
    ]
    return [text.strip() for text in shown if "XfluxWarning" in text]


def main(names: list[str]) -> int:
    """Run the notebooks of these names, or all of them; 1 where there were warnings."""
    warned = 0
    for path in [Path(name) for name in names] or sorted(FOLDER.glob("*.ipynb")):
        start = time.perf_counter()
        warnings = execute(path)
        print(f"{path.name:<24}{time.perf_counter() - start:5.0f} s", *warnings, sep="\n  ")
        warned += len(warnings)
    return 1 if warned else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
