# Two environments, made once: .venv trains, tests and calls; .venv-server holds what the Triton server imports, without torch.

SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))
PYTHON ?= $(shell for python in python3.11 python3.12 python3; do \
	$$python -c '$(SUPPORTED)' 2>/dev/null && { echo $$python; break; }; done)
# Byte code is made where it is first imported: most of what is installed never is, and this halves the wait.
INSTALL := -m pip install --quiet --disable-pip-version-check --no-compile
RUN := .venv/bin/python
TRAINING := .venv/.ready
SERVER := .venv-server/.ready
BENCHMARKS := $(basename $(notdir $(wildcard benchmarks/[a-z]*.py)))

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench gpu clean
.DELETE_ON_ERROR:

help:  ## List the commands
	@echo "Usage: make COMMAND [PYTHON=python3.11]"
	@echo
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

setup: $(TRAINING) $(SERVER)  ## Make .venv (training, tests) and .venv-server (Triton Inference Server); does nothing where both are up to date

# OpenMP's idle threads spin for a moment and then sleep: for ever, they take the core from a neighbour whom everybody waits for.
demo: export GOMP_SPINCOUNT := 1000
demo: setup  ## Learn from a year of grocery shopping, serve the model with Triton, ask it about a household (10 minutes; goes on where it stopped)
	@echo "[1/5] Raw log to sequence store"
	@$(RUN) -m training.preprocess data=complete_journey
	@echo "[2/5] Sequence store to trained model and report"
	@$(RUN) -m training.run experiment=demo
	@echo "[3/5] Trained model to artifact"
	@$(RUN) -m training.export run=runs/demo
	@echo "[4/5] Artifact to Triton model repository"
	@$(RUN) -m serving.repository --artifact runs/demo/artifact --out runs/demo/repository
	@echo "[5/5] Questions to Triton Inference Server"
	@$(RUN) -m serving.demo --run runs/demo

test: setup  ## Run the tests
	@$(RUN) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: setup  ## Check style, formatting and types
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy

bench: setup  ## Run every benchmark: a table for people, then one JSON object
	@for name in $(BENCHMARKS); do echo "== $$name" && $(RUN) -m benchmarks.$$name || exit 1; done

gpu: setup  ## On a machine with an NVIDIA GPU: run the tests that need one, then the operators' price list on it
	@$(RUN) -c 'import sys, torch; torch.cuda.is_available() or sys.exit("error: expected an NVIDIA GPU, PyTorch sees none; run this on a machine with one")'
	@$(RUN) -m pytest -m gpu
	@$(RUN) -m pytest tests/test_kernels_*
	@$(RUN) -m benchmarks.kernels --device cuda

clean:  ## Remove caches and what the demo made; keep the environments, other runs and other stores
	rm -rf runs/demo stores/complete_journey outputs build dist
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path './.venv*' -prune -o -name __pycache__ -prune -exec rm -rf {} +

$(TRAINING): pyproject.toml constraints.txt
	$(require_python)
	@echo "setup: .venv (PyTorch, Lightning, Polars and the tools; a few minutes the first time)"
	@"$(PYTHON)" -m venv .venv
	@$(RUN) $(INSTALL) --constraint constraints.txt --editable '.[dev]'
	@touch $@
	@echo "setup: .venv is ready"

$(SERVER): requirements-server.txt
	$(require_python)
	@echo "setup: .venv-server (Triton Inference Server, ONNX Runtime)"
	@"$(PYTHON)" -m venv .venv-server
	@.venv-server/bin/python $(INSTALL) --requirement requirements-server.txt
	@touch $@
	@echo "setup: .venv-server is ready"

define require_python
@test -n "$(PYTHON)" && "$(PYTHON)" -c '$(SUPPORTED)' 2>/dev/null || { \
	echo "error: expected Python 3.11 or 3.12, found $$("$(or $(PYTHON),python3)" --version 2>&1 | head -n 1);" \
		"install one, or name it: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
endef
