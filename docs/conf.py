"""How `make docs` builds the documentation.

Everything is made on this machine: the reference from the docstrings, the figures of the notebooks
by running them. Links into the documentation of xarray, dask and others need a network, so they are
made only where XFLUX_DOCS_LINKS is set in the environment.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import sphinx_autosummary_accessors
from sphinx.application import Sphinx

import xflux

HERE = Path(__file__).resolve().parent

project = "xflux"
author = "xflux developers"
copyright = "the xflux developers; the text is under the BSD 3-clause licence, as is the code"
version = release = xflux.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "numpydoc",
    "myst_nb",
    "sphinx_autosummary_accessors",
    "sphinx_design",
]
exclude_patterns = ["_build", "_static", "_templates"]
default_role = "py:obj"
templates_path = ["_templates", sphinx_autosummary_accessors.templates_path]
myst_enable_extensions = ["colon_fence", "smartquotes"]
myst_heading_anchors = 4

# Notebooks are kept without outputs. They run once, and again only when their code has changed.
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE / "_build" / "notebooks")
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc shows the types that the docstrings name
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

intersphinx_mapping = (
    {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "xarray": ("https://docs.xarray.dev/en/stable", None),
        "dask": ("https://docs.dask.org/en/stable", None),
    }
    if os.environ.get("XFLUX_DOCS_LINKS")
    else {}
)

html_theme = "pydata_sphinx_theme"
html_title = "xflux"
html_static_path = ["_static"]
html_css_files = ["xflux.css"]
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "xflux"},
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "show_prev_next": True,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}
html_sidebars = {"index": [], "changelog": []}


def bring_notebooks(app: Sphinx) -> None:
    """Copy ../notebooks to docs/notebooks, which git ignores: Sphinx reads one folder only.

    Their links lead to pages of the documentation, not to files of the repository.
    """
    folder = HERE / "notebooks"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path in sorted((HERE.parent / "notebooks").glob("*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                cell["source"] = within_docs("".join(cell["source"]), up="../")
        (folder / path.name).write_text(json.dumps(notebook), encoding="utf-8")


def links_of_page(app: Sphinx, docname: str, source: list[str]) -> None:
    """Lead the links of a page to the copies of the notebooks."""
    source[0] = within_docs(source[0], up="")


def links_of_docstring(
    app: Sphinx, what: str, name: str, found: object, options: object, lines: list[str]
) -> None:
    """A docstring names a page as docs/towers.md; here it is a link."""
    lines[:] = [re.sub(r"`*docs/([\w-]+)\.md`*", r":doc:`/\1`", line) for line in lines]


def signature(
    app: Sphinx, what: str, name: str, found: object, options: object, arguments: str, result: str
) -> tuple[str, str] | None:
    """A model comes from training or a file; nobody calls its class."""
    return ("", "") if name == "xflux.FluxModel" else None


def within_docs(text: str, *, up: str) -> str:
    """Links between files of the repository as links between pages; `up` leads to docs/."""
    text = re.sub(r"\]\(\.\./notebooks/", f"]({up}notebooks/", text)
    text = re.sub(r"\]\(\.\./docs/", f"]({up}", text)
    text = re.sub(r"\]\(\.\./README\.md", f"]({up}index.md", text)
    return re.sub(r"\]\(\.\./CHANGELOG\.md", f"]({up}changelog.md", text)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("builder-inited", bring_notebooks, priority=100)
    app.connect("source-read", links_of_page)
    app.connect("autodoc-process-docstring", links_of_docstring)
    app.connect("autodoc-process-signature", signature)
