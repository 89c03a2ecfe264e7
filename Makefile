# make help is the menu. PYTHON picks the interpreter (3.11 or newer).
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
INPUTS := pyproject.toml constraints.txt
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help up test check bench soak test-consul test-kube clean

help: ## show this menu
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/.run: $(INPUTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Headgate needs Python 3.11 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@echo "Installing Headgate into $(VENV) ..."
	@$(PIP) install -c constraints.txt -e '.[all]'
	@touch $@

$(VENV)/.dev: $(INPUTS) | $(VENV)/.run
	@echo "Installing the development tools into $(VENV) ..."
	@$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@

up: $(VENV)/.run ## install, then run the whole platform here (Ctrl-C stops it)
	@exec $(BIN)/headgate up $(ARGS)

test: $(VENV)/.dev ## install, then run the whole test suite
	@$(BIN)/python -m pytest -m 'not soak and not consul and not kube' -n auto --maxprocesses 4 $(ARGS)

check: $(VENV)/.dev ## ruff, mypy and import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

bench: $(VENV)/.dev ## run the benchmarks (ONLY=gateway for those named gateway_*)
	@$(BIN)/python -m benchmarks $(ONLY)

soak: $(VENV)/.dev ## the long tests that make test leaves out
	@$(BIN)/python -m pytest -m soak $(ARGS)

test-consul: $(VENV)/.dev ## the registry's tests on a real Consul, fetched from Debian when absent
	@tests/real/consul.sh $(BIN)/python -m pytest -m consul -n 0 tests/service/registry $(ARGS)

test-kube: $(VENV)/.dev ## the same on a real Kubernetes API server, built once in some minutes
	@tests/real/kube.sh $(BIN)/python -m pytest -m kube -n 0 tests/service/registry $(ARGS)

clean: ## remove the virtualenv and caches (keeps .headgate/, your data)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis build dist
