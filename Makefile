# Everything here needs Python 3.11 or later and make, nothing else.
.DEFAULT_GOAL := help
.PHONY: help setup up demo test test-fast check soak counts chaos bench format lock openapi cli client browser promtool servers pictures docs
.DELETE_ON_ERROR:

PYTHON ?=
PIP := .venv/bin/python -m pip --disable-pip-version-check
READY := .venv/.installed
TOOLS := .venv/.installed-tools

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' Makefile

setup: $(TOOLS) ## Install into .venv, with the tools of the tests (done by the others when needed)

# Made again only when what is to be installed has changed.
$(READY): requirements.lock pyproject.toml
	@set -e; found=; \
	for python in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "make: Python 3.11 or later is needed (name it with PYTHON=...)" >&2; exit 1; \
	fi; \
	if ! $$found -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "make: $$found has no venv module; on Debian: apt-get install python3-venv" >&2; exit 1; \
	fi; \
	echo "installing into .venv with $$($$found --version): about a minute, 280 MB"; \
	$$found -m venv .venv
	@$(PIP) install --quiet --require-hashes -r requirements.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $(READY)

# To try it, and to run it, nobody needs them.
$(TOOLS): $(READY) requirements-dev.lock
	@echo "installing the tools of the tests: a minute or two, 1 GB"
	@$(PIP) install --quiet --require-hashes -r requirements-dev.lock
	@touch $(TOOLS)

up: $(READY) ## Run everything on this machine (options: ARGS="--port 8080")
	@exec .venv/bin/unbroken up $(ARGS)

demo: $(READY) ## Show it: ticks in, verified facts out (ONCE=1 stops by itself)
	@exec .venv/bin/python -m api.cli.demo.command $(if $(filter-out 0,$(ONCE)),--once)

# The tests of the dashboard need it; asked for only where it is missing.
browser: ## Install the browser of the tests (Debian's Chromium), unless it is there
	@if ! command -v chromium >/dev/null; then \
	  if [ "$$(id -u)" != 0 ]; then \
	    echo "make: the tests need Chromium; on Debian: apt-get install chromium" >&2; exit 1; \
	  fi; \
	  echo "installing chromium"; \
	  apt-get update -qq >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
	    --no-install-recommends chromium fonts-dejavu-core >/dev/null; \
	fi

# Unpacked, not installed: the package would start a server.
promtool: ## Fetch Debian's promtool, which tests the alerts, unless it is there
	@set -e; if ! command -v promtool >/dev/null && [ ! -x build/prometheus/usr/bin/promtool ]; then \
	  echo "fetching promtool"; mkdir -p build/prometheus; \
	  if [ "$$(id -u)" = 0 ]; then apt-get update -qq >/dev/null; fi; \
	  if ! (cd build/prometheus && apt-get download -qq prometheus >/dev/null 2>&1 \
	        && dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb); then \
	    echo "make: the tests need promtool; on Debian: apt-get install prometheus" >&2; exit 1; \
	  fi; \
	fi

# Unpacked, not installed: the packages would start servers. Those of the wheels have no TLS.
DEBS := build/servers/debs
servers: ## Fetch Debian's Redis with TLS and PgBouncer for the tests, unless they are there
	@set -e; if [ ! -x build/servers/usr/sbin/pgbouncer ] && \
	  ! { command -v redis-server && command -v pgbouncer; } >/dev/null; then \
	  echo "fetching redis-server and pgbouncer"; mkdir -p $(DEBS)/partial; \
	  if [ "$$(id -u)" = 0 ]; then apt-get update -qq >/dev/null; fi; \
	  if ! apt-get install -y -qq --download-only --no-install-recommends --reinstall \
	      -o Dir::Cache::archives="$$PWD/$(DEBS)" -o Debug::NoLocking=1 \
	      redis-server redis-tools pgbouncer >/dev/null 2>&1; then \
	    echo "make: the tests need redis-server and pgbouncer; on Debian:" \
	      "apt-get install redis-server pgbouncer" >&2; exit 1; \
	  fi; \
	  for package in $(DEBS)/*.deb; do dpkg-deb -x "$$package" build/servers; done; \
	  rm -r $(DEBS); \
	fi

docs: setup ## Build the documentation as a site into build/site, offline
	@.venv/bin/python -m sphinx -b html -q -W --keep-going docs build/site
	@echo "open build/site/index.html"

pictures: setup browser ## Take pictures of the dashboard into build/pictures
	@.venv/bin/python -m tests.e2e.pictures build/pictures

# Side by side, a file at a time, each process with servers of its own. Tests that cut off what they
# started and say when it must be back are marked `alone`: they run after the others.
PYTEST := .venv/bin/python -m pytest
SIDE_BY_SIDE := -n auto --maxprocesses 4 --dist loadfile
# All of them: one process more than cores, since many tests wait for what they have started; the
# files that take longest first, so that none is left over in the end.
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
BESIDE := $(PYTEST) -n $(if $(filter 1 2,$(CORES)),3,4) --dist loadfile --no-loadscope-reorder \
  -m "not alone and not soak" tests/e2e tests/integration tests/unit
ALONE := $(PYTEST) -m "alone and not soak" tests/e2e
BOTH := $(BESIDE); beside=$$?; $(ALONE) && exit $$beside
# Rules, schema, the examples of the documents, one tick through every process to a verified webhook.
FAST := tests/unit/rules tests/unit/models tests/integration/workers/test_schema.py \
  $(wildcard tests/integration/documents/test_seed_*.py) tests/e2e/deployment/test_compose.py
# The processes that tests start would compile every module again.
unexport PYTHONDONTWRITEBYTECODE

test: setup browser promtool servers ## Run the tests (options: ARGS="tests/unit -k slug")
	@$(if $(ARGS),$(PYTEST) $(ARGS),$(BOTH))

test-fast: setup ## Run rules, schema, the documents' examples and one tick, in a minute
	@$(PYTEST) $(SIDE_BY_SIDE) $(FAST)

check: setup browser promtool servers ## Format, lint, types, layers, tests: exactly what CI runs
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	$(BOTH)

soak: setup ## Run the long chaos runs and the controls of their checker, about 4 minutes
	@$(PYTEST) -m soak tests/e2e

counts: setup ## Count the code: folders, files, functions, cycles, the path of a tick (ARGS="--json")
	@.venv/bin/python -m tests.house.counts $(ARGS)

chaos: setup ## Break everything under load, compare with the truth (SEED=7 MINUTES=10)
	@.venv/bin/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES)) $(ARGS)

bench: setup ## Measure; writes build/bench.json
	@.venv/bin/python -m tests.bench $(ARGS)

format: setup ## Format the code and fix what can be fixed
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

openapi: $(READY) ## Write docs/openapi.json anew from the routes and models
	@.venv/bin/unbroken openapi > docs/openapi.json
	@.venv/bin/python -m docs.generate.errors_page

client: ## Build the TypeScript client (needs Node and npm)
	@cd clients/typescript && npm ci --ignore-scripts --no-audit --no-fund && npm run --silent build

cli: $(READY) ## Write docs/cli.md anew from the commands' --help
	@.venv/bin/python -m docs.generate.cli_page > docs/cli.md

COMPILE := pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
  --no-annotate --no-emit-index-url --no-emit-find-links
# uv resolves for every Python and platform at once; it is needed for this alone.
lock: setup ## Write the three requirements locks anew from pyproject.toml
	@.venv/bin/python -m venv build/lock
	@build/lock/bin/python -m pip install --quiet --disable-pip-version-check uv
	@build/lock/bin/uv $(COMPILE) --all-extras --upgrade --output-file requirements-dev.lock pyproject.toml
	@build/lock/bin/uv $(COMPILE) --extra embedded --extra build --constraint requirements-dev.lock \
	  --upgrade --output-file requirements.lock pyproject.toml
	@build/lock/bin/uv $(COMPILE) --extra build --constraint requirements.lock \
	  --upgrade --output-file requirements-image.lock pyproject.toml
