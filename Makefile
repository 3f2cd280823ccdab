# Everything a person or CI runs. Each target does its own set-up; running one twice is quick and safe.
.DEFAULT_GOAL := help
.PHONY: help setup demo up down status check test lint format verify bench docs lock clean

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
CODE := dags plugins include deploy local tests benchmarks docs
LINTED = $(wildcard $(CODE))
TYPED = $(wildcard plugins include deploy local)
export PYTHONPATH := $(CURDIR):$(CURDIR)/include:$(CURDIR)/local

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: ## virtual environment from the lock file, system packages by apt where permitted
	@PYTHONPATH=local $(PYTHON) -m stack.setup

# Empty, or what is wrong with the user's logs. As make's own error it is the last line that a person reads.
WRONG_LOGS = $(shell if ! said=$$($(BIN)/python -m ingestion.own_logs --data '$(DATA)' --check 2>&1); then \
  printf '%s\n' "$$said" | tail -n 1; fi)

demo: setup ## the whole lifecycle once; DATA=<dir> for your own logs, SEED=<n>, APPROVE=ask to decide yourself, STALL_SECONDS=<n>
	$(if $(DATA),$(if $(WRONG_LOGS),$(error $(WRONG_LOGS))))
	@DATA='$(DATA)' SEED='$(SEED)' APPROVE='$(APPROVE)' STALL_SECONDS='$(STALL_SECONDS)' $(BIN)/python -m demo

up: setup ## start the stack with the Airflow UI and leave it running
	@$(BIN)/python -m stack up

down: ## stop what `make up` or `make demo` started
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m stack down build/demo/stack; else echo "nothing was running"; fi

status: setup ## the state of each process of the stack
	@$(BIN)/python -m stack status

lint: setup ## ruff and mypy: what pre-commit runs too
	$(BIN)/ruff check $(LINTED)
	$(BIN)/ruff format --check $(LINTED)
	$(BIN)/mypy $(TYPED)

# Each worker takes a whole module, so that what its tests share is started once; in order, so that the long wait of
# the end-to-end test begins early beside the others.
TWO_AT_A_TIME := -n 2 --dist loadfile --no-loadscope-reorder

check: lint ## lint, types and the tests that start neither a server nor Spark; pre-push runs it
	$(BIN)/python -m pytest -q $(TWO_AT_A_TIME) -m "not verify and not spark and not stack and not e2e"

test: lint ## lint, types, all tests but the long campaigns
	$(BIN)/python -m pytest $(TWO_AT_A_TIME) -m "not verify" --durations=15

verify: ## the long campaigns
	@PYTHONPATH=local $(PYTHON) -m stack.setup --browser
	$(BIN)/python -m pytest -m verify --durations=0

bench: setup ## side-by-side measurements, half an hour (FULL=1: hours); the ratios are in build/bench/results.json
	@for name in archiver_throughput broker_cost hourly_features materialise online_fetch; do \
	  $(BIN)/python -m benchmarks.$$name $(if $(FULL),--full) || exit 1; \
	done

format: setup ## put imports and layout right
	$(BIN)/ruff check --fix --select I $(LINTED)
	$(BIN)/ruff format $(LINTED)

docs: setup ## generate docs/DAGS.md and docs/FEATURES.md
	$(BIN)/python docs/generate.py

# The whole environment is resolved first; every image's own, smaller set must agree with it.
LOCK := pip compile --quiet --python-version 3.11 --custom-compile-command "make lock"
IMAGES := requirements $(basename $(wildcard include/*/requirements.in))

lock: setup ## resolve all requirements files anew, keeping versions that still fit (UPGRADE=1 to renew them)
	$(BIN)/uv $(LOCK) $(if $(UPGRADE),--upgrade) requirements-dev.in -o requirements-dev.txt
	@for image in $(IMAGES); do \
	  echo "$(BIN)/uv $(LOCK) $$image.in -c requirements-dev.txt -o $$image.txt"; \
	  $(BIN)/uv $(LOCK) $$image.in -c requirements-dev.txt -o $$image.txt --upgrade || exit 1; \
	done

clean: ## stop the stack; delete its data and everything built, but not the virtual environment
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m stack discard build/demo/stack; fi
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis spark-warehouse metastore_db derby.log
