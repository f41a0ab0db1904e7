# Two commands set everything up: `make demo` and `make test`. PYTHON picks the interpreter (3.11 to 3.13).
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# compiled modules are kept: else each of the hundreds of processes that tests start compiles gssl anew
export PYTHONDONTWRITEBYTECODE :=

# one process per core, each with one thread: two processes that fight for two cores wait for each other
TEST   := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help install demo test test-long test-all test-gpu battery lint format bench clean

help:  ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "gssl needs Python 3.11 to 3.13; try: make PYTHON=python3.11 ..." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@

install: $(STAMP)  ## Virtual environment in .venv with gssl and its development tools

demo: $(STAMP)  ## The main job on the embedded digits: GAN against SSL, six seeds, one report (minutes)
	$(BIN)/gssl compare experiment=demo

test: $(STAMP)  ## The default tests (minutes on two cores, no network)
	$(TEST)

test-long: $(STAMP)  ## Whole commands and killed processes, each command of the README (CI runs this, too)
	$(TEST) -m 'long and not slow'

test-all: $(STAMP)  ## Every test, the longest battery too
	$(TEST) -m ''

# no $(STAMP): a machine with torch and what gssl needs may have no index to install from, and no pytest
test-gpu:  ## Every recipe on a GPU against the CPU, data, memory, NCCL (one line where there is no GPU)
	$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) tests/gpu/battery.py

battery: $(STAMP)  ## Kills, damage, signals, crowds, hostile input: an hour, resumable (docs/reliability.md)
	$(BIN)/python -m scripts.battery --minutes 10

lint: $(STAMP)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy -m scripts.battery.__main__ $(patsubst scripts/battery/%.py,-m scripts.battery.%,$(wildcard scripts/battery/[a-z]*.py))

format: $(STAMP)  ## Reformat and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)  ## Speed, as ratios measured in one run (scripts/bench/)
	$(BIN)/python scripts/bench/startup.py
	$(BIN)/python scripts/bench/overhead.py
	$(BIN)/python scripts/bench/overhead_gan.py
	$(BIN)/python scripts/bench/metrics.py
	$(BIN)/python scripts/bench/views.py

clean:  ## Remove what builds and tests leave (runs/ stays)
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -exec rm -rf {} +
