# Village. Each target prepares what it needs, in a fresh clone too; the first run needs root or
# sudo (Debian packages) and a Python package index. No compiler.

BIN := .venv/bin
UV  := $(BIN)/uv --quiet
export UV_CACHE_DIR ?= $(CURDIR)/.cache/uv
SYSTEM_PYTHON := $(firstword $(wildcard /usr/bin/python3.11) python3)

ENVIRONMENT := .cache/environments/scientific
DEMO_DATA   := .cache/demo-data
PACKAGES    := protocol node enclave_host
SOURCES     := $(PACKAGES) tests tools $(wildcard bench)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
STATIC := types style
.PHONY: help setup demo test check $(STATIC) sim docs soak bench lock format clean

help:
	@echo 'make setup   environment, demo data, commands'
	@echo 'make demo    the whole story on this machine; results in demo-out/'
	@echo 'make test    checks and tests, below ten minutes'
	@echo 'make check   style, types, import rules, sizes, documentation'
	@echo 'make sim     the simulated network; SEED=7 runs one seed alone'
	@echo 'make docs    the generated pages'
	@echo 'make soak    the long tests'
	@echo 'make bench   benchmarks beside peers'
	@echo 'make format  format the code'
	@echo 'make lock    new lock files from the *.in files'
	@echo 'make clean   remove everything made here'

# --- what stands in the tree after set-up ---------------------------------------------------

PROJECT := .venv/.project
READY   := $(PROJECT) $(ENVIRONMENT).stamp $(DEMO_DATA).stamp
READER  := tests/vectors/reader/node_modules/.stamp

setup: $(READY)
	@:

.venv/.created: tools/debian.sh bootstrap.lock
	@sh tools/debian.sh
	@$(SYSTEM_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'setup: needs Python 3.11 or newer' >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(SYSTEM_PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes --no-deps \
		--only-binary :all: -r bootstrap.lock
	@touch $@

.venv/.locked: .venv/.created requirements.lock
	@$(UV) pip install --python $(BIN)/python --require-hashes --no-deps --no-build-isolation \
		--only-binary :all: --no-binary varint --no-binary python-baseconv -r requirements.lock
	@touch $@

$(PROJECT): .venv/.locked pyproject.toml requirements.in
	@$(UV) pip install --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

# A folder beside its stamp with exactly what the lock file names, wheels only; file for file what
# `village algorithm env build` makes of it (tests/unit/test_environments.py), in less time.
define install
	@rm -rf $(basename $@) && mkdir -p $(basename $@)
	@$(UV) pip install --python $(BIN)/python --python-version 3.11 --require-hashes --no-deps \
		--only-binary :all: --no-compile-bytecode --target $(basename $@) -r $<
	@rm -rf $(basename $@)/.lock $(basename $@)/bin
	@find $(basename $@) -path '*.dist-info/*' \( -name INSTALLER -o -name REQUESTED \
		-o -name direct_url.json -o -name uv_cache.json \) -delete
	@touch $@
endef

$(ENVIRONMENT).stamp: node/locks/scientific.lock | .venv/.locked
	$(install)

$(DEMO_DATA).stamp: configs/demo/lifelines.lock | .venv/.locked
	$(install)

# The second reader of the vectors runs where Node.js is; without it its test says that it is skipped.
$(READER): tests/vectors/reader/package-lock.json
	@if command -v npm >/dev/null; then npm ci --silent --no-audit --no-fund --prefix $(dir $<); fi
	@mkdir -p $(dir $@) && touch $@

# --- what one does with it ------------------------------------------------------------------

demo: $(READY)
	@$(BIN)/village demo --out demo-out

test: $(READY) $(READER)
	@$(MAKE) --no-print-directory -j2 $(STATIC)
	@timeout 1200 $(BIN)/python -m pytest -q -n 3 --dist loadscope --no-loadscope-reorder \
		-m 'not soak'

check: $(READY)
	@$(MAKE) --no-print-directory -j2 $(STATIC)
	@$(BIN)/python -m pytest -q tests/docs

types: $(READY)
	@$(BIN)/mypy --no-error-summary

style: $(READY)
	@$(BIN)/ruff check -q $(SOURCES)
	@$(BIN)/ruff format -q --check $(SOURCES)
	@said=$$($(BIN)/lint-imports --no-logo --cache-dir .cache/import-linter) \
		|| { echo "$$said"; exit 1; }
	@$(BIN)/python tools/sizes.py $(PACKAGES)
	@$(BIN)/python tools/foreign.py

sim: $(READY)
	@$(if $(SEED),SEED=$(SEED)) $(BIN)/python -m pytest -q -m 'not soak' tests/sim $(if $(SEED),-k test_any_weather)

docs: $(READY)
	@$(BIN)/python tools/refusals_docs.py
	@$(BIN)/python tools/limits_docs.py
	@$(BIN)/python tools/admin_docs.py
	@$(BIN)/python tools/cli_docs.py
	@$(BIN)/python tools/datacage_docs.py
	@$(BIN)/python -m tests.hooks.mutants_docs

soak: $(READY) $(READER)
	@$(BIN)/python -m pytest -q -m soak

bench: $(READY)
	@$(BIN)/python -m bench

format: $(READY)
	@$(BIN)/ruff check -q --fix $(SOURCES)
	@$(BIN)/ruff format -q $(SOURCES)

lock: $(PROJECT)
	@$(BIN)/python tools/lock.py

clean:
	@rm -rf .venv .cache demo-out build dist *.egg-info
	@find $(SOURCES) -name __pycache__ -prune -exec rm -rf {} +
