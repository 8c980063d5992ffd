# Two commands set everything up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN ?= runs/demo

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow check docs format clean

help: ## List what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

install: $(VENV)/.installed ## Create .venv and install dalib with its development tools

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "dalib needs Python 3.11 or newer; say which with: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: install ## Train fonts -> handwriting, judge it on held-out digits, write the report
	$(BIN)/dalib train --out $(RUN) --overwrite

# One thread in each of several processes is nearly twice as fast as several threads in one: the networks are small. A
# file stays in one process, which trains what its tests share once.
PARALLEL := -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

test: install ## Run the tests (minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL)

test-slow: install ## Run the slow end-to-end checks too
	$(BIN)/python -m pytest -m 'slow or not slow' --timeout 1800

check: install ## Format, lint, wording of docstrings, types, doctests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python .ci/docstrings.py
	$(BIN)/mypy
	$(BIN)/mypy benchmarks/judging
	$(BIN)/mypy benchmarks/packages
	$(BIN)/python -m pytest --doctest-modules src/dalib -p no:cacheprovider

docs: install ## Build the documentation (docs/_build/html), and check its links
	$(BIN)/python -m sphinx --fail-on-warning -j auto -b html docs docs/_build/html
	$(BIN)/python docs/extensions/check_site.py docs/_build/html

format: install ## Format the code and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove the environment and what tools left behind
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build dist docs/_build docs/generated docs/gallery
