# Every target is a sentence in `make help`. All of them prepare what they need by themselves.

VENV := .venv
PY := $(VENV)/bin/python
# The distribution's where it can make a venv, which Debian leaves out of it: it is built with optimizations,
# those of version managers mostly are not, and take up to a fifth more time for the same.
PYTHON ?= $(shell /usr/bin/python3.11 -c "import ensurepip" 2> /dev/null && echo /usr/bin/python3.11 || command -v python3.11 || command -v python3)
RUN_READY := $(VENV)/.run-ready
DEV_READY := $(VENV)/.dev-ready
COMPRESSED := $(VENV)/.static-compressed
PIP_INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check --no-input
PYTEST := $(PY) -m pytest
AT_ONCE := -n 2 --dist worksteal
# Of the larger tests some wait: for leases to run out, for receivers that hang, for a pace to be kept.
ONE_MORE := -n 3 --dist worksteal
CODE := app.py hatch_build.py licenzy tests
# Replaces internals of libraries by quicker ones of the tests' own (tests/support/library_patches.py); without
# it tests run what ships.
FAST := LICENZY_TESTS_FAST=1
AS_SHIPPED := LICENZY_TESTS_FAST=0
DOORS := tests/api tests/hooks tests/portal tests/cli tests/server

# Processes that start others must not have Python compile everything for each of them.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: setup run lint check test all-tests soak demo bench format lock migration vendored help

setup: $(DEV_READY)  ## Prepare .venv/ with everything that running and testing need.

run: $(RUN_READY) $(COMPRESSED)  ## Serve on http://127.0.0.1:8000 with the Stripe sandbox beside it, and print the link to begin with.
	@exec $(PY) -m licenzy serve

lint: $(DEV_READY)  ## Format, lint and types.
	$(VENV)/bin/ruff format --check $(CODE)
	$(VENV)/bin/ruff check $(CODE)
	$(VENV)/bin/mypy

check: lint  ## Format, lint, types and the quick tests, on SQLite: under 3 minutes.
	$(FAST) $(PYTEST) $(AT_ONCE) -m "not slow and not soak and not browser and not postgres"

# In one run, not after `check`: the long ones begin at once, and the quick ones fill what they leave idle.
test: $(DEV_READY)  ## All that `make check` does, and on Postgres, the browser, faults and properties; then the API, the pages and the commands once more without patched libraries: 12 to 15 minutes on two cores.
	@$(MAKE) --no-print-directory --jobs 2 lint all-tests

all-tests: $(DEV_READY)
	$(FAST) $(PYTEST) $(ONE_MORE) -m "not soak"
	$(AS_SHIPPED) $(PYTEST) $(AT_ONCE) -m "not slow and not soak and not browser and not postgres" $(DOORS)

soak: $(DEV_READY)  ## The large sizes of faults and properties, without patched libraries; takes long.
	$(AS_SHIPPED) $(PYTEST) -m soak --timeout 3600

demo: $(RUN_READY)  ## Run the demo in the terminal against the Stripe sandbox, printing each curl.
	@exec $(PY) -m licenzy demo

bench: $(DEV_READY)  ## Measure the hottest calls beside an old version's in one run, and the memory of everything: about 12 minutes.
	@exec $(PY) -m tests.bench

format: $(DEV_READY)  ## Format the code and fix what the linter can fix.
	$(VENV)/bin/ruff format $(CODE)
	$(VENV)/bin/ruff check --fix $(CODE)

migration: $(DEV_READY)  ## Write a migration from the models: make migration NAME="what it does".
	$(PY) -m tests.support.new_migration $(NAME)

lock: $(DEV_READY)  ## Pin requirements/ anew from pyproject.toml.
	CUSTOM_COMPILE_COMMAND="make lock" $(VENV)/bin/pip-compile $(LOCK_OPTIONS) -o requirements/run.txt pyproject.toml
	CUSTOM_COMPILE_COMMAND="make lock" $(VENV)/bin/pip-compile $(LOCK_OPTIONS) --build-deps-for wheel --only-build-deps -c requirements/run.txt -o requirements/build.txt pyproject.toml
	CUSTOM_COMPILE_COMMAND="make lock" $(VENV)/bin/pip-compile $(LOCK_OPTIONS) --extra dev -c requirements/run.txt -c requirements/build.txt -o requirements/dev.txt pyproject.toml

vendored: $(DEV_READY)  ## Reduce Tabler and Inter in static/vendor/ to what the pages use (needs npm).
	@sh tools/reduce_vendored.sh

LOCK_OPTIONS := --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links

help:  ## Show what can be made.
	@sed -n 's/^\([a-z]*\):.*  ## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name does; do printf '  make %-10s %s\n' "$$name" "$$does"; done

$(PY):
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Preparing $(VENV)/ with $$("$(PYTHON)" --version) …"
	@"$(PYTHON)" -m venv $(VENV)

# The project itself is installed too, as a link to this folder, so that there is a $(VENV)/bin/licenzy. What builds
# the link comes with hashes as well, which pip would otherwise fetch without.
$(RUN_READY): requirements/run.txt requirements/build.txt pyproject.toml hatch_build.py | $(PY)
	@echo "Installing what Licenzy runs on …"
	@$(PIP_INSTALL) --require-hashes -r requirements/run.txt -r requirements/build.txt
	@$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

# Next to each file of static/ that gains by it, a compressed copy for browsers that accept it.
$(COMPRESSED): $(shell find static -type f ! -name '*.gz') $(RUN_READY)
	@$(PY) -m whitenoise.compress --quiet --no-brotli static
	@touch $@

$(DEV_READY): requirements/dev.txt $(RUN_READY)
	@echo "Installing what the tests need …"
	@$(PIP_INSTALL) --require-hashes -r requirements/dev.txt
	@touch $@
