# `make` alone lists what there is. PYTHON=... chooses another interpreter, ARGS=... reaches pytest.
PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-bench
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

BENCHMARKS := startup input embedding training objective two_pass captions growth search serving ablation race
# Arguments of a short form; those not named here take --quick.
SHORT_objective := --dense --batch 2048

.DEFAULT_GOAL := help
.PHONY: help demo test torture check bench hooks wheel clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/installed  ## install, train on built-in data, evaluate, write the report (a few minutes)
	$(BIN)/cospace demo

# One thread a process: with more, processes beside each other spin and wait.
test: $(VENV)/develop  ## install with the development tools and run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow" $(ARGS)

torture: $(VENV)/develop  ## every fault of docs/reliability.md at many more moments, with its table (half an hour)
	rm -rf .torture && mkdir .torture
	- OMP_NUM_THREADS=1 TORTURE_FIGURES=$(CURDIR)/.torture/figures.jsonl $(BIN)/python -m pytest -n 2 --dist loadfile --junitxml=.torture/rows.xml tests/torture $$(cd tests && ../$(BIN)/python torture/rows.py) $(ARGS)
	- OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m slow --ignore tests/torture --junitxml=.torture/slow.xml $(ARGS)
	$(BIN)/python tests/torture/report.py .torture/figures.jsonl .torture/rows.xml .torture/slow.xml --write docs/reliability.md

check: $(VENV)/develop  ## lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(PEERS)/installed  ## the short form of every benchmark, rows into docs/benchmarks.md (a quarter of an hour)
	$(foreach name,$(BENCHMARKS),$(PEERS)/bin/python benchmarks/$(name).py $(or $(SHORT_$(name)),--quick) &&) true

hooks: $(VENV)/develop  ## run the checks before every commit
	$(BIN)/pre-commit install

wheel: $(VENV)/develop  ## build the wheel into dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:  ## remove what the other targets made
	rm -rf $(VENV) $(PEERS) dist build .torture .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Both install the working tree itself (-e), so a changed source file needs no new installation; a changed
# pyproject.toml or constraints.txt does, and the stamp files are older than it then.
$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e .
	@touch $@

$(VENV)/develop: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[dev]'
	@touch $(VENV)/installed $@

# The peers live apart: an installed torchvision changes what other libraries import.
$(PEERS)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
