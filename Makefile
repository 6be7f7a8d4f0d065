# Every command a person needs. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup run check proto spec lock test-unit test test-ways soak bench

# PYTHON=/path/to/python3 chooses the Python that .venv is made from; 3.11 or later.
export PYTHON
# The packages come from PyPI, Python from the system.
export UV_PYTHON_DOWNLOADS := never

VENV := .venv
BIN := $(VENV)/bin
SOURCES := libs/moorage/src $(wildcard services/*/src)

GATEWAY_TESTS := $(patsubst %,services/api-gateway/tests/test_%.py,blobs connections lending manifests uploads)
# How a connection ends within TLS is test_tls's own matter; what goes through it is that of these.
TLS_TESTS := $(patsubst %,services/api-gateway/tests/test_%.py,blobs manifests)
UP_TESTS := $(patsubst %,tests/e2e/test_%.py,clients content oci_distribution uploads)

# Tests at once. One more than there are processors: most of them wait for something most of the time.
JOBS ?= $(shell echo $$(($$(nproc) + 1)))
# A worker that has none left takes half of another one's.
PYTEST := $(BIN)/pytest --quiet --numprocesses $(JOBS) --dist worksteal

# More arguments for pytest, such as PYTEST_ARGS="-k upload".
PYTEST_ARGS ?=
# More arguments for the benchmark, such as BENCH_ARGS="--quick --only manifest"; --help lists them.
BENCH_ARGS ?=

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

$(BIN)/uv:
	@scripts/make-venv.sh $(VENV)

$(VENV)/.synced: uv.lock pyproject.toml $(wildcard libs/*/pyproject.toml services/*/pyproject.toml) | $(BIN)/uv
	@$(BIN)/uv sync --quiet --frozen --all-packages
	@scripts/link-rados.sh $(VENV) --if-installed
	@touch $@

setup: $(VENV)/.synced ## Install everything into .venv
	@:

run: $(VENV)/.synced ## Start Moorage on its embedded default; REGISTRY_* variables override it
	@exec $(BIN)/moorage up

check: $(VENV)/.synced ## Lint, types, layering, generated code, lock
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --check --quiet
	$(BIN)/mypy --strict $(SOURCES)
	$(BIN)/lint-imports --no-logo
	scripts/check-proto.sh
	$(BIN)/python -m api_gateway.spec --check
	$(BIN)/uv lock --check --quiet

proto: $(VENV)/.synced ## Generate the protobuf code
	scripts/generate-proto.sh libs/moorage/src

spec: $(VENV)/.synced ## Generate docs/spec/api.md from the route descriptors
	$(BIN)/python -m api_gateway.spec

lock: $(BIN)/uv ## Bring uv.lock up to date
	$(BIN)/uv lock

test-unit: $(VENV)/.synced ## Run the tests of the library and the services: no root once the packages are there
	@scripts/test-setup.sh
	$(PYTEST) libs services $(PYTEST_ARGS)

test: $(VENV)/.synced ## Install what the end-to-end tests need, and run every test
	@scripts/test-setup.sh
	$(PYTEST) $(PYTEST_ARGS)

# What a client sees, once more over the ways that bytes take between hosts, over TLS, and where there is no data
# channel and nothing is kept in memory (tests/support/ways.py).
test-ways: $(VENV)/.synced ## Run the tests of the HTTP interface over the other ways
	@scripts/test-setup.sh
	MOORAGE_WAY=spliced $(PYTEST) $(GATEWAY_TESTS) tests/e2e/test_transport.py $(PYTEST_ARGS)
	MOORAGE_WAY=tls $(PYTEST) $(TLS_TESTS) $(PYTEST_ARGS)
	MOORAGE_WAY=plain $(PYTEST) $(GATEWAY_TESTS) $(UP_TESTS) $(PYTEST_ARGS)

# The campaigns at their whole length. MOORAGE_SEED repeats the random one.
soak: export MOORAGE_KILLS ?= 200
soak: export MOORAGE_HISTORY_SECONDS ?= 300
soak: export MOORAGE_COMPOSE_ROUNDS ?= 10
soak: export MOORAGE_EVENTS ?= 10000
soak: export MOORAGE_FORGERIES ?= 10000
soak: export MOORAGE_EXAMPLES ?= 2000
soak: $(VENV)/.synced ## Run the fault campaigns at their whole length
	@scripts/test-setup.sh
	$(BIN)/pytest $(patsubst %,tests/e2e/test_%.py,faults leases notifications compose) \
		$(patsubst %,services/api-gateway/tests/%.py,access/test_forged_tokens test_openapi_requests) $(PYTEST_ARGS)

bench: $(VENV)/.synced ## Measure Moorage beside docker-registry, for half an hour or as BENCH_ARGS says
	@scripts/test-setup.sh
	PYTHONPATH=tests $(BIN)/python -m bench $(BENCH_ARGS)
