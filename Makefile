# make run    the proxy on stand-ins for Azure, with one call shown from end to end
# make test   the tests
.DEFAULT_GOAL := help
.PHONY: help run test test-newest test-all bench profile consume ask check chaos format lock audit sbom licences clean

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV := .cache/uv
# in an environment of its own: nothing of a tool gets into ours
TOOL := $(BIN)/uv tool run -q

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

run: $(READY) ## the proxy on http://127.0.0.1:7071 (AZURE_* set: on the real services)
	@$(BIN)/python -m dev.up

test: $(READY) ## the tests that need nothing but Python
	$(BIN)/python -m pytest -q -n 4 --dist loadfile -m "not heavy"

test-all: $(READY) ## what needs Node, a browser or minutes
	$(BIN)/python -m pytest -q -m "heavy"

NEWEST := .cache/newest

test-newest: $(READY) ## the tests on the newest releases of all dependencies, in .cache/newest (ARGS="tests/otel")
	@mkdir -p .cache && cat requirements.in requirements-dev.in requirements-analytics.in | grep -v '^-c' > .cache/newest.in
	$(BIN)/uv venv -q --clear --python $(BIN)/python $(NEWEST)
	$(BIN)/uv pip install -q --python $(NEWEST)/bin/python --upgrade -r .cache/newest.in
	@echo "what differs from the pins:"; $(BIN)/uv pip list -q --python $(NEWEST)/bin/python --format freeze \
	  | grep -vixFf requirements.txt -f requirements-dev.txt -f requirements-analytics.txt || true
	$(NEWEST)/bin/python -m pytest -q -n 4 --dist loadfile -m "not heavy" $(ARGS)

chaos: $(READY) ## a minute of calls while the broker and the proxy are killed, frozen and throttled
	$(BIN)/python -m tests.chaos

BENCH_SECONDS ?= 2
BENCH_ROUNDS ?= 3
PEERS := .cache/bench/litellm/.ready

bench: $(VENV)/.bench $(if $(BENCH_PEERS),$(PEERS)) ## what it costs beside nginx, in minutes (BENCH_PEERS=1: LiteLLM too; ARGS="--write docs/performance.md")
	$(BIN)/python -m bench --seconds $(BENCH_SECONDS) --rounds $(BENCH_ROUNDS) $(if $(BENCH_PEERS),--peers) $(ARGS)

profile: $(VENV)/.bench ## where its time goes, as flame graphs (ARGS="streams-1000 --native")
	$(BIN)/python -m bench.profile $(ARGS)

TABLE ?= records

consume: $(READY) ## the hub's records into the table TABLE=DIR, until Ctrl-C (ARGS="--once": to its present end)
	$(BIN)/python -m analytics.consume --table $(TABLE) $(ARGS)

ask: $(READY) ## a question to the table: Q=calls_over_time TABLE=DIR; without Q the list of questions
	@$(BIN)/python -m analytics.ask $(if $(Q),$(Q) --table $(TABLE),--list) $(ARGS)

dashboard: $(READY) ## a page to look at the calls of TABLE=DIR, on http://127.0.0.1:7072 (ARGS="--port N")
	@$(BIN)/python -m analytics.dashboard --table $(TABLE) $(ARGS)

check: $(READY) ## format, lint, types, architecture
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

format: $(READY) ## put the code in form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(READY) ## pin anew what requirements*.in name
	$(BIN)/uv pip compile -q --upgrade --no-header --no-annotate --python-version 3.13 requirements.in -o requirements.txt
	$(BIN)/uv pip compile -q --upgrade --no-header --no-annotate --python-version 3.13 requirements-dev.in -o requirements-dev.txt
	$(BIN)/uv pip compile -q --upgrade --no-header --no-annotate --python-version 3.13 requirements-analytics.in -o requirements-analytics.txt
	$(BIN)/uv pip compile -q --upgrade --no-header --no-annotate --python-version 3.13 requirements-bench.in -o requirements-bench.txt

audit: $(READY) ## known weaknesses in what is deployed; asks PyPI
	$(TOOL) --from pip-audit==2.10.1 pip-audit -r requirements.txt --no-deps --disable-pip --strict

sbom: $(READY) ## what is deployed, as CycloneDX in sbom.json
	$(TOOL) --from cyclonedx-bom==7.5.0 cyclonedx-py requirements requirements.txt --of JSON -o sbom.json

licences: $(READY) ## whose licences it is under; one of the GPL family is a fault
	$(TOOL) --from pip-licenses==5.5.5 pip-licenses --python $(BIN)/python --format markdown --order license \
	  --packages $$(sed 's/==.*//' requirements.txt) --partial-match --fail-on GPL

$(VENV)/.bench: requirements-bench.txt $(READY)
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements-bench.txt
	@touch $@

# in an environment of its own: its pins are not ours
$(PEERS): requirements-bench-peers.txt $(READY)
	$(BIN)/uv venv -q --clear --python $(BIN)/python .cache/bench/litellm
	$(BIN)/uv pip sync -q --python .cache/bench/litellm/bin/python requirements-bench-peers.txt
	@touch $@

clean: ## remove what make made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(READY): requirements.txt requirements-dev.txt requirements-analytics.txt | $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.txt -r requirements-dev.txt \
	  -r requirements-analytics.txt
	@touch $@

# Python 3.13 from PATH, from pyenv, or by uv, which comes from PyPI where it is missing; PYTHON=python3.14 takes that one.
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
	  echo "Python 3.13 was not found: uv is to provide it." >&2; \
	  if python3 -m venv $(UV) >/dev/null 2>&1 && $(UV)/bin/python -m pip install -q --disable-pip-version-check "$$(grep '^uv==' requirements-dev.txt)"; then \
	    uv=$(UV)/bin/uv; \
	  fi; \
	fi; \
	if [ -n "$$uv" ] && "$$uv" venv -q --seed --python 3.13 $(VENV); then exit 0; fi; \
	rm -rf $(VENV); \
	echo "Python 3.13 is needed, was not found on PATH or in pyenv, and could not be downloaded." >&2; \
	echo "Install it (Debian: apt install python3.13 python3.13-venv; macOS: brew install python@3.13; pyenv install 3.13)," >&2; \
	echo "or connect to the network and have python3 with venv, or uv." >&2; \
	exit 1
