# Everything a person or a CI needs. `make` alone lists it.
#   make test PYTHON=python3.13 VENV=.venv-3.13     with another Python, beside the first

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo test test-long check fmt localstack-test lambda-test mutants simulate mutants-simulated bench bench-memory bench-peers fleet isolation pins build clean

PYTHON ?= python3 python3.13 python3.12 python3.11 python
VENV ?= .venv
TESTS ?=
SEEDS ?= 0-999
LEDGER ?=
BIN := $(VENV)/bin

help:  ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.local  ## the whole job on real data, with a worker killed half-way; no AWS account needed
	@$(BIN)/streamkit demo

test: $(VENV)/.dev  ## all tests but the LocalStack tier; TESTS=... chooses
	$(BIN)/pytest --numprocesses auto --dist worksteal $(TESTS)

test-long: $(VENV)/.dev  ## the tests whose shorter twins are in `make test`
	$(BIN)/pytest -m long $(TESTS)

check: $(VENV)/.dev  ## format, lint and types, as CI checks them
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python

fmt: $(VENV)/.dev  ## format, and fix what can be fixed safely
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

localstack-test: $(VENV)/.dev  ## contract and end-to-end tests against LocalStack: running, or started here without Docker
	STREAMKIT_LOCALSTACK=required $(BIN)/python localstack/host.py -- $(BIN)/pytest tests/localstack -q

lambda-test: $(VENV)/.dev  ## functions under Lambda's own runtime client and emulator, fetched from PyPI
	@$(BIN)/python -m tests.lambda_runtime.fetch
	$(BIN)/pytest tests/lambda_runtime -q -rs

mutants: $(VENV)/.dev  ## break every rule on purpose, one by one: the tests must notice
	$(BIN)/python -m tests.mutants

simulate: $(VENV)/.dev  ## a fleet of real workers in a hostile world, seed by seed; SEEDS=0-999 LEDGER=file adds up runs of one commit
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) $(if $(LEDGER),--ledger $(LEDGER))

mutants-simulated: $(VENV)/.dev  ## the same with each rule broken on purpose: how many seeds it takes to notice
	$(BIN)/python -m tests.simulation --mutants

bench: $(VENV)/.dev bench-peers  ## what a record costs, beside bare loops and peers, into docs/performance.md; QUICK=1 prints a part
	BENCH_PEERS=.cache/bench-peers $(BIN)/python -m benchmarks $(if $(QUICK),--quick)

bench-memory: $(VENV)/.dev  ## memory at full speed for SECONDS=600: it must not grow
	$(BIN)/python -m benchmarks.memory --seconds $(or $(SECONDS),600)

bench-peers: .cache/bench-peers/.made  ## the peers that `make bench` measures, in an environment of their own

.cache/bench-peers/.made: benchmarks/peers.txt | $(BIN)/python
	@$(BIN)/python -m venv .cache/bench-peers
	@.ci/pip .cache/bench-peers 'installing the peers' install --requirement benchmarks/peers.txt || \
	  echo 'without peers: their rows will say so' >&2
	@touch $@

bench-kcl: $(VENV)/.dev .cache/bench-kcl/.made  ## the real KCL beside streamkit at the same work, into docs/kcl.md; needs Java
	$(BIN)/python -m benchmarks.kcl

.cache/bench-kcl/.made: benchmarks/kcl/peers.txt | $(BIN)/python
	@$(BIN)/python -m venv .cache/bench-kcl
	@command -v java >/dev/null || exit 0; \
	  .cache/bench-kcl/bin/python -m pip install --quiet --requirement benchmarks/kcl/peers.txt && touch $@

fleet: $(VENV)/.dev  ## deploys, crashes, pauses, restarts and reshards of real processes, measured, into docs/fleet.md
	$(BIN)/python -m benchmarks.fleet

isolation: $(VENV)/.dev  ## one bad record among a hundred in Lambda: bisection, Powertools, streamkit, side by side
	$(BIN)/python -m benchmarks.isolation

pins: $(BIN)/python  ## resolve all extras anew into constraints.txt; needs Python 3.11, the oldest supported
	$(BIN)/python .ci/pins.py

build: $(BIN)/python  ## the wheel, into dist/
	@.ci/pip $(VENV) 'building a wheel' wheel --no-deps --wheel-dir dist .
	@ls dist/*.whl

clean:  ## remove everything that was made, the virtual environment included
	rm -rf $(VENV) build dist .cache .hypothesis .localstack .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Two environments in one place: the demo waits for nothing that only developers need.
$(VENV)/.local: pyproject.toml constraints.txt | $(BIN)/python
	@.ci/pip $(VENV) 'installing streamkit[local]' install --editable '.[local]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@.ci/pip $(VENV) 'installing streamkit[dev,local,metrics,zstd]' install --editable '.[dev,local,metrics,zstd]'
	@touch $(VENV)/.local $@

$(BIN)/python:
	@for python in $(PYTHON); do \
	  "$$python" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	    && exec "$$python" -m venv $(VENV); \
	done; \
	echo "expected Python 3.11 or newer with its venv module, got none of: $(PYTHON). Try: make PYTHON=/path/to/python3.11" >&2; \
	exit 1
