# Every command a person needs. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PROTOS := $(wildcard proto/moorage/v1/*.proto)
GENERATED := libs/moorage/src

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

$(BIN)/uv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet "uv>=0.8"

$(VENV)/.synced: uv.lock pyproject.toml $(wildcard libs/*/pyproject.toml services/*/pyproject.toml) | $(BIN)/uv
	$(BIN)/uv sync --quiet --frozen --all-packages
	@touch $@

setup: $(VENV)/.synced ## Install everything into .venv

run: $(VENV)/.synced ## Start Moorage on its embedded default
	@exec $(BIN)/moorage up

proto: $(VENV)/.synced ## Generate the protobuf code
	$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=$(GENERATED) --mypy_out=$(GENERATED) \
	  --grpc_python_out=$(GENERATED) --mypy_grpc_out=$(GENERATED) $(PROTOS)
