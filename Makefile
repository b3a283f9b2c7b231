# What one does here. `make` alone lists it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
NPM_TESTS := $(wildcard tests/npm/*/package.json)

.PHONY: help run test slow crashes check bench install npm lock docs clean

help: ## List what one can do
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

run: $(VENV)/.local ## Start everything on this machine, play a first conversation, then chat
	@$(BIN)/peerbot local $(ARGS)

test: $(VENV)/.dev ## Run the whole test suite
	@$(BIN)/python -m pytest $(ARGS)

slow: $(VENV)/.dev ## Run the tests of faults that take their time
	@$(BIN)/python -m pytest -m slow $(ARGS)

crashes: $(VENV)/.dev ## End the dispatcher before and after each of its writes, and see that all ends well
	@$(BIN)/python -m pytest -m crash -s $(ARGS)

check: $(VENV)/.dev ## Lint, check types and layers, compare the generated docs
	@$(BIN)/ruff check . && $(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python scripts/settings_page.py --check

bench: $(VENV)/.dev ## Measure what we add, beside the bare CLI, in one run
	@$(BIN)/python -m bench $(ARGS)

install: $(VENV)/.dev npm ## Install everything that tests, linters and benches need

npm: ## Install what some tests need from npm (Node.js 20); without it they are left out
	@command -v npm >/dev/null 2>&1 || { echo "peerbot: Node.js is missing; the tests that need it are left out."; exit 0; }; \
	for package in $(NPM_TESTS); do \
		(cd $$(dirname $$package) && { [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --silent --no-audit --no-fund; }) || exit 1; \
	done

lock: $(VENV)/.dev ## Make the lock files anew from pyproject.toml
	@for extra in worker dispatcher local dev; do \
		$(BIN)/uv pip compile pyproject.toml --extra $$extra --universal --python-version 3.11 --generate-hashes \
			--no-emit-index-url --no-annotate --no-header --quiet -o requirements/$$extra.txt || exit 1; \
	done
	@$(BIN)/uv pip compile requirements/build.in --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --no-header --quiet -o requirements/build.txt

docs: $(VENV)/.dev ## Make docs/settings.md anew from the settings
	@$(BIN)/python scripts/settings_page.py

clean: ## Remove what was installed and made here
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache tests/npm/*/node_modules

$(VENV)/bin/pip:
	@scripts/preflight.sh $(PYTHON)
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.local: $(VENV)/bin/pip requirements/local.txt requirements/build.txt pyproject.toml
	@echo "Installing PeerBot and what it needs into $(VENV) (once; the Claude Code CLI alone is 170 MB) …"
	@$(PIP) install --require-hashes -r requirements/build.txt
	@$(PIP) install --require-hashes -r requirements/local.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q src  # a sandboxed worker can't keep what it compiles
	@touch $@

$(VENV)/.dev: $(VENV)/.local requirements/dev.txt
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@
