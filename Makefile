# Every target installs what it needs into .venv with pip; repeated calls cost nothing.
#
# Without a GPU, PyTorch's CPU build saves gigabytes on Linux:
#   make demo PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= python3
PIP_ARGS ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo pipeline wheel test proofs check docs size bench robustness ui up clean

help:
	@echo "make demo    mine the docstrings of the installed libraries: offline, a few minutes"
	@echo "make pipeline  mine, train and evaluate on the same: offline, about ten minutes"
	@echo "make wheel   what others install, in dist/"
	@echo "make ui      see its run in the Prefect UI"
	@echo "make up      server and worker in containers; needs Docker and .env: docs/operations.md"
	@echo "make test    run the tests"
	@echo "make proofs  run the tests that take minutes each: kills, clusters, work pools, notebooks"
	@echo "make check   ruff, mypy, import-linter"
	@echo "make docs    the documentation as a site, in build/docs"
	@echo "make size    measure the code itself: lines, functions, rooms, start-up"
	@echo "make bench   measure against the baselines"
	@echo "make robustness  faults, bad input and services: is anything lost?"
	@echo "make clean   remove caches and the demo's output"

demo: .venv/.installed
	$(BIN)/polymine demo

pipeline: .venv/.installed
	$(BIN)/polymine pipeline configs/pipeline.toml

wheel: .venv/bin/python
	rm -rf build/lib  # setuptools would pack what an earlier build left there
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

ui: .venv/.installed
	$(BIN)/polymine ui

up:
	docker compose up --build --detach

# One process per core shares the tests, so none of them may take all cores.
test: .venv/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

proofs: .venv/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m proof

check: .venv/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

size: .venv/.installed-dev
	$(BIN)/python -m benchmarks.size

bench: .venv/.installed-dev
	$(BIN)/python -m benchmarks.data squad-dev med cranfield cisi cacm scifact epqa-dev xquad \
	  medquad piaf tquad pquad jaquad arcd stsb-multi-mt ntrex tatoeba sib200 lareqa-xquad-r
	$(BIN)/python -m benchmarks.speed.mining
	$(BIN)/python -m benchmarks.negatives.false_negatives
	$(BIN)/python -m benchmarks.training.triplets
	$(BIN)/python -m benchmarks.training.objectives
	$(BIN)/python -m benchmarks.training.crosslingual
	$(BIN)/python -m benchmarks.languages.gap
	$(BIN)/python -m benchmarks.speed.throughput

robustness: .venv/.installed-dev
	$(BIN)/python -m robustness.faults
	$(BIN)/python -m robustness.bad_input
	$(BIN)/python -m robustness.services

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache runs/demo runs/pipeline
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# The stamps are written last, so that an installation that failed is tried again.
.venv/.installed: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing into .venv; the first time takes some minutes"
	@$(PIP) -e .
	@touch $@

.venv/.installed-dev: .venv/.installed
	@$(PIP) -e '.[dev]'
	@touch $@

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Polymine needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1)."; \
	  echo "Name another one: make demo PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "Python's venv module is missing. On Debian and Ubuntu: apt-get install python3-venv"; \
	  exit 1; }
	@$(PYTHON) -m venv .venv
