# Every target sets up what it needs in .venv the first time, and is quick from then on.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.installed
DEVELOPMENT := $(VENV)/.installed-dev
BENCHMARKS := $(VENV)/.installed-bench

.PHONY: demo test test-all check bench format clean help

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 12

demo: $(RUNTIME) ## Group 5,000 pictures of clothes and write demo-run/report.html
	$(BIN)/likewise demo

test: $(DEVELOPMENT) ## The fast tests, with coverage, in two processes
	$(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=term:skip-covered

test-all: $(DEVELOPMENT) ## All tests, also those that take minutes
	$(BIN)/python -m pytest -m "slow or not slow"

check: $(DEVELOPMENT) ## Format, lint, types, import contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

bench: $(DEVELOPMENT) $(BENCHMARKS) ## Speed beside other libraries and the machine's limit; tables into bench/ (half an hour on 2 cores)
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/settings.py
	$(BIN)/python benchmarks/views.py
	$(BIN)/python benchmarks/decoding.py
	$(BIN)/python benchmarks/assignment.py

format: $(DEVELOPMENT) ## Put the code into the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove what the targets made; runs are kept
	rm -rf $(VENV) .pytest_cache .ruff_cache .coverage

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("likewise needs Python 3.11 or newer; try make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

# The stamp of the development set-up counts for the plain one too: it installs a superset
$(RUNTIME): pyproject.toml | $(VENV)/bin/python
	test -e $(DEVELOPMENT) -a $(DEVELOPMENT) -nt pyproject.toml || $(BIN)/python -m pip install --quiet --editable .
	touch $@

$(DEVELOPMENT): pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

$(BENCHMARKS): pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	touch $@
