# What one does here. `make` alone lists it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LINT := $(VENV)/lint/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
NPM_TESTS := $(wildcard tests/npm/*/package.json)

.PHONY: help run test unit slow states crashes chaos browser-test screenshots debian-test cluster-test cluster-bench check bench install web npm tools lock docs clean

help: ## List what one can do
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

run: $(VENV)/.local ## Start everything on this machine, play a first conversation, then chat
	@$(BIN)/python scripts/web_modules.py || true  # it has said why, and the terminal does without
	@$(BIN)/peerbot local $(ARGS)

test: $(VENV)/.dev ## Run the whole test suite
	@$(BIN)/python scripts/tools.py helm
	@$(BIN)/python -m pytest -n 3 --dist worksteal $(ARGS)

unit: $(VENV)/.dev ## Run the pure tests (under 20 s), without the long ones that play whole conversations
	@$(BIN)/python -m pytest tests/unit -n 2 --dist worksteal -m "not machine" $(ARGS)

slow: $(VENV)/.dev ## Run the tests of faults that take their time
	@$(BIN)/python -m pytest -n 3 --dist worksteal -m slow --hypothesis-seed=0 $(ARGS)

states: $(VENV)/.dev ## Leave repositories in every state there is, in Slack with the real CLI, and see that nothing is lost
	@$(BIN)/python -m pytest tests/service/test_keep_cli.py -m states $(ARGS)

crashes: $(VENV)/.dev ## End dispatchers and workers before and after each of their writes, and see that all ends well
	@$(BIN)/python -m pytest -m crash -s $(ARGS)

chaos: $(VENV)/.dev ## Hold 500 conversations while everything dies, and look from outside whether all ended well
	@$(BIN)/python -m pytest tests/chaos -m chaos -s $(ARGS)

browser-test: $(VENV)/.dev web ## Use the pages with Debian's Chromium (packages chromium and fonts-noto-color-emoji)
	@$(BIN)/python -m pytest tests/browser -m browser $(ARGS)

screenshots: $(VENV)/.dev web ## Make docs/pictures/ again (as browser-test): look at each before you commit it
	@$(BIN)/python tests/browser/screenshots.py

debian-test: ## Run `make run` and `make test` on a minimal Debian 12, as an ordinary user (root, debootstrap)
	@$(PYTHON) tests/debian/check.py $(ARGS)

cluster-test: $(VENV)/.dev ## Start a Kubernetes cluster of our own (root, Go 1.26), run the tests that need one, remove it
	@$(BIN)/python tests/cluster/run.py $(ARGS)

cluster-bench: $(VENV)/.dev ## Measure what we add in a cluster, beside a bare pod (as cluster-test)
	@$(BIN)/python tests/cluster/run.py --bench $(ARGS)

check: $(VENV)/.dev $(VENV)/.lint web tools ## Lint, check types, layers and spelling, compare what is made from other things
	@$(BIN)/ruff check . && $(BIN)/ruff format --check --quiet .
	@$(BIN)/python scripts/web_modules.py --check
	@$(BIN)/deno fmt --check --quiet && $(BIN)/deno lint --quiet && $(BIN)/deno check --quiet $$(git ls-files 'src/peerbot/web/static/*.js')
	@$(BIN)/mypy
	@PYTHONPATH=src $(LINT)/lint-imports --no-logo
	@$(LINT)/codespell . .ci .devcontainer .github
	@$(LINT)/semgrep scan --metrics off --disable-version-check --quiet --error --config .semgrep.yml src
	@$(BIN)/python scripts/audit.py $(LINT)/pip-audit
	@$(LINT)/shellcheck .ci/run scripts/*.sh
	@$(BIN)/zizmor --offline --quiet .
	@[ ! -x .tools/actionlint ] && [ -z "$$CI" ] || .tools/actionlint -shellcheck $(LINT)/shellcheck
	@$(LINT)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[!c]*.yml
	@$(LINT)/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	@$(LINT)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	@$(LINT)/pre-commit validate-config
	@$(BIN)/python scripts/version.py --check
	@$(BIN)/python scripts/settings_page.py --check
	@$(BIN)/python scripts/log_page.py --check
	@$(BIN)/python scripts/metrics_page.py --check
	@$(BIN)/python scripts/chart_page.py --check
	@$(BIN)/python scripts/slack_app_page.py --check

bench: $(VENV)/.dev web ## Measure what we add, beside the bare CLI, in one run
	@$(BIN)/python -m bench $(ARGS)

install: $(VENV)/.dev $(VENV)/.lint web npm tools ## Install everything that tests, linters and benches need

web: $(VENV)/.local ## Put what the pages load of others into src/peerbot/web/static/vendor/ (from npm, without Node.js)
	@$(BIN)/python scripts/web_modules.py

npm: ## Install what some tests need from npm (Node.js 20); without it they are left out
	@command -v npm >/dev/null 2>&1 || { echo "peerbot: Node.js is missing; the tests that need it are left out."; exit 0; }; \
	for package in $(NPM_TESTS); do \
		(cd $$(dirname $$package) && { [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --silent --no-audit --no-fund; }) || exit 1; \
	done

tools: $(VENV)/.dev ## Put helm, kubectl and actionlint into .tools/, which tests and linters use
	@$(BIN)/python scripts/tools.py

lock: $(VENV)/.dev ## Make the lock files again from pyproject.toml
	@for extra in worker dispatcher local dev; do \
		$(BIN)/uv pip compile pyproject.toml --extra $$extra --universal --python-version 3.11 --generate-hashes \
			--no-emit-index-url --no-annotate --no-header --quiet -o requirements/$$extra.txt || exit 1; \
	done
	@for other in build lint web; do \
		$(BIN)/uv pip compile requirements/$$other.in --universal --python-version 3.11 --generate-hashes \
			--no-emit-index-url --no-annotate --no-header --quiet -o requirements/$$other.txt || exit 1; \
	done
	@$(BIN)/deno install --frozen=false --quiet

docs: $(VENV)/.dev ## Make again what is made from other things: pages of settings, metrics, values, log events and the Slack app, the chart's schema and version
	@$(BIN)/python scripts/version.py
	@$(BIN)/python scripts/settings_page.py
	@$(BIN)/python scripts/metrics_page.py
	@$(BIN)/python scripts/log_page.py
	@$(BIN)/python scripts/chart_page.py
	@$(BIN)/python scripts/slack_app_page.py

clean: ## Remove what was installed and made here
	rm -rf $(VENV) .tools node_modules src/peerbot/web/static/vendor .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache tests/npm/*/node_modules

$(VENV)/bin/pip:
	@scripts/preflight.sh $(PYTHON)
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.local: $(VENV)/bin/pip requirements/local.txt requirements/build.txt requirements/web.txt pyproject.toml
	@echo "Installing PeerBot and what it needs into $(VENV) (once; the Claude Code CLI alone is 170 MB) …"
	@$(PIP) install --require-hashes -r requirements/build.txt
	@$(PIP) install --require-hashes -r requirements/local.txt
	@$(PIP) install --require-hashes -r requirements/web.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q src  # a sandboxed worker can't keep what it compiles
	@touch $@

$(VENV)/.dev: $(VENV)/.local requirements/dev.txt
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

$(VENV)/.lint: $(VENV)/bin/pip requirements/lint.txt
	@# Apart: it brings rich, which every worker's structlog would import where it is there (0.1 s of CPU).
	@$(PYTHON) -m venv $(VENV)/lint
	@$(VENV)/lint/bin/pip --disable-pip-version-check --quiet install --require-hashes -r requirements/lint.txt
	@touch $@
