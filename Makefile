# make demo and make test need only Python (3.11 or newer) and make: each installs what it
# needs into .venv once, in the versions of constraints.txt, and runs. make help lists the rest.

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
PYTEST_ARGS ?=
DATA ?=

BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test lint types notebooks docs bench format clean distclean

help:
	@echo "make demo        train, evaluate and predict on simulated towers (no network needed)"
	@echo "make demo DATA=fluxnet2015-monthly"
	@echo "                 the same on real towers, downloaded once"
	@echo "make test        the tests and the examples in the docstrings (PYTEST_ARGS='-m \"not slow\"')"
	@echo "make lint        ruff: rules and format"
	@echo "make types       mypy"
	@echo "make notebooks   run every notebook"
	@echo "make docs        run the notebooks and build the documentation into docs/_build/html"
	@echo "make bench       run the benchmarks that need no other data"
	@echo "make format      let ruff put the code in order"
	@echo "make clean       remove what was built; make distclean removes $(VENV) as well"
	@echo ""
	@echo "Another Python: make demo PYTHON=python3.12"
	@echo "torch for the CPU alone, a much smaller download on Linux:"
	@echo "  make demo PIP_ARGS='--extra-index-url https://download.pytorch.org/whl/cpu'"

demo: $(VENV)/.with-plots
	@$(BIN)/python -m xflux demo $(if $(DATA),--data $(DATA))

test: $(VENV)/.with-tests
	@$(BIN)/python -m pytest -n logical --maxprocesses=4 $(PYTEST_ARGS)

lint: $(VENV)/.with-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.with-dev
	@$(BIN)/mypy

format: $(VENV)/.with-dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

notebooks: $(VENV)/.with-notebooks
	@MPLBACKEND=agg $(BIN)/python notebooks/execute.py

docs: $(VENV)/.with-docs
	@$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(VENV)/.with-benchmarks
	@set -e; for script in $(wildcard benchmarks/bench_*.py); do \
	    echo "$$script"; $(BIN)/python "$$script"; \
	done

clean:
	@rm -rf build dist docs/_build docs/notebooks docs/reference .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean
	@rm -rf "$(VENV)"

$(VENV)/.made:
	@command -v "$(PYTHON)" >/dev/null || { \
	    echo "xflux needs Python 3.11 or newer, and '$(PYTHON)' is not a command here."; \
	    echo "Install Python, or name yours: make PYTHON=/path/to/python3"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "xflux needs Python 3.11 or newer; '$(PYTHON)' is $$("$(PYTHON)" --version 2>&1)."; \
	    echo "Name a newer one: make PYTHON=python3.12"; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "'$(PYTHON)' cannot make an environment: its venv module is not complete."; \
	    echo "On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@"$(PYTHON)" -m venv "$(VENV)"
	@touch $@

$(VENV)/.with-%: pyproject.toml constraints.txt | $(VENV)/.made
	@echo "Installing xflux and what '$*' needs into $(VENV) (once; a few minutes at first)"
	@$(INSTALL) $(PIP_ARGS) --constraint constraints.txt --editable '.[$*]'
	@touch $@
