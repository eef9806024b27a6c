# Everything that people and CI run. `make help` lists it. Settings: PYTHON, VENV, WORKERS, TAILRACE_KAFKA, TAILRACE_PG_BIN,
# KAFKA_HOME, TAILRACE_CACHE, and PYTEST_ARGS for the test targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory

# The first Python that is new enough. A shim of a version manager may exist and not run: so each one is tried.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done || true)
ifeq ($(PYTHON),)
override PYTHON := python3
endif
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --retries 10 --timeout 60
PYTEST := $(BIN)/python -m pytest -p no:cacheprovider
PYTEST_ARGS ?=
# Containers like to set it. Tests start services by the hundred, each of which would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE
# A machine of unknown load decides over whole changes: what fails there is run once more, and listed to be looked into.
RERUNS = $(if $(CI),--reruns 1 --reruns-delay 5 -rR)
# Tests mostly wait for servers, so three at a time are three times as fast even on two cores; each worker starts its own.
WORKERS ?= 3

.DEFAULT_GOAL := help
.PHONY: help preflight venv check fmt lint unit integration test demo bench bench-compare chaos large-transaction large-values random works-with clean

help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

preflight: ## say what this machine lacks, and how to install it
	@$(PYTHON) -m deploy.local.preflight

venv: $(STAMP) ## the virtual environment, with everything in it

# pip tries each download again, and the whole is tried again: a busy index must not fail a build. It also builds the
# compiled twin if a C compiler is there.
$(STAMP): pyproject.toml setup.py $(wildcard schemas/twin/*.p*)
	@$(PYTHON) -m deploy.local.preflight lint --quiet
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@echo "installing Tailrace and what it needs into $(VENV) (a minute or two)"
	@for attempt in 1 2 3 4; do \
	  $(PIP_INSTALL) -e '.[dev]' && break; \
	  [ $$attempt -lt 4 ] || exit 1; \
	  echo "installing failed; trying again" >&2; sleep $$((attempt * 10)); \
	done
	@touch $@

check: lint unit ## the gate before a commit: format, lint, types, imports, unit tests

fmt: venv ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: venv ## format, lint, types and import rules, without changing anything
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy .
	$(BIN)/lint-imports

unit: venv ## unit, property and architecture tests: no servers
	$(PYTEST) tests/unit -n logical --dist worksteal $(PYTEST_ARGS)

integration: preflight-quiet venv ## tests on real Kafka and PostgreSQL servers
	@$(BIN)/python -m deploy.local.downloads
	$(PYTEST) tests/integration -n $(WORKERS) --dist worksteal $(RERUNS) $(PYTEST_ARGS)

test: preflight-quiet unit integration ## all tests; installs and starts what they need

demo: preflight-quiet venv ## watch a database move under fire (SOURCE=mysql TARGET=…; TARGETS=s3,opensearch: several; KEEP=1)
	@KEEP=$(KEEP) SOURCE=$(SOURCE) TARGET=$(TARGET) TARGETS=$(TARGETS) $(BIN)/python -m deploy.demo

bench: preflight-quiet venv ## the stages of the pipeline, measured (BENCH=name for one)
	@$(BIN)/python -m benchmarks $(BENCH)

bench-compare: preflight-quiet venv ## everything of docs/benchmarks.md, Debezium's stages beside ours first (ARGS='--shapes orders': a part of these only)
	@$(BIN)/python -m benchmarks.compare $(or $(ARGS),--record)
ifeq ($(ARGS),)
	@for part in .growth .sinks .options .python_peers .profile ''; do $(BIN)/python -m benchmarks$$part --record || exit 1; done
endif

chaos: preflight-quiet venv ## kill everything, again and again (SEED=n repeats a run, ROUNDS=n, SOURCE=mysql, TARGET=…, ORDERING=…, FAULTS=a,b, REPORT=file)
	SOURCE=$(SOURCE) TARGET=$(TARGET) SEED=$(SEED) FAULTS=$(FAULTS) ROUNDS=$(or $(ROUNDS),10) ORDERING=$(ORDERING) REPORT=$(REPORT) $(PYTEST) tests/integration -m chaos $(PYTEST_ARGS)

large-transaction: preflight-quiet venv ## one transaction of ROWS=n rows, and what memory it takes (SOURCE=…, COMPRESSED=1, ORDERING=…)
	ROWS=$(or $(ROWS),10000000) SOURCE=$(SOURCE) COMPRESSED=$(COMPRESSED) ORDERING=$(ORDERING) $(PYTEST) tests/integration/test_large_transaction.py -s $(PYTEST_ARGS)

large-values: preflight-quiet venv ## one value of SIZE=n MiB, and what memory it takes (KIND=text, SOURCE=…, TARGET=…)
	SIZE=$(or $(SIZE),256) KIND=$(KIND) SOURCE=$(SOURCE) TARGET=$(TARGET) $(PYTEST) tests/integration/test_large_values.py -s $(PYTEST_ARGS)

random: preflight-quiet venv ## random tables under random transactions and DDL (SEED=n, the first of ROUNDS=n; ENGINE=mysql; TARGET=mysql)
	ENGINE=$(ENGINE) TARGET=$(TARGET) SEED=$(SEED) ROUNDS=$(or $(ROUNDS),10) $(PYTEST) tests/integration/test_random.py $(PYTEST_ARGS)

.PHONY: preflight-quiet
preflight-quiet:
	@$(PYTHON) -m deploy.local.preflight --quiet

works-with: preflight-quiet venv ## other people's programs at the other end of the topics: Debezium, Kafka Connect
	$(PYTEST) tests/works_with $(PYTEST_ARGS)

clean: ## remove the environment and everything that was made (downloads stay in the cache)
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
