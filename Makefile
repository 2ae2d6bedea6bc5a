# make run    the proxy on stand-ins for Azure, with one call shown from end to end
# make test   the tests
.DEFAULT_GOAL := help
.PHONY: help run test test-all check chaos format lock clean

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

run: $(READY) ## the proxy on http://127.0.0.1:7071 (AZURE_* set: on the real services)
	@$(BIN)/python -m dev.up

test: $(READY) ## the tests that need nothing but Python
	$(BIN)/python -m pytest -q -n 4 --dist loadfile -m "not heavy"

test-all: $(READY) ## what needs Node, a browser or minutes
	$(BIN)/python -m pytest -q -m "heavy"

chaos: $(READY) ## a minute of calls while the broker and the proxy are killed, frozen and throttled
	$(BIN)/python -m tests.chaos

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

clean: ## remove what make made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(READY): requirements.txt requirements-dev.txt requirements-analytics.txt | $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.txt -r requirements-dev.txt \
	  -r requirements-analytics.txt
	@touch $@

# Python 3.13 from PATH, from pyenv, or by uv; a pyenv shim on PATH may exist and still not run.
$(VENV):
	@set -e; \
	for python in python3.13 python3 "$$(pyenv prefix 3.13 2>/dev/null)/bin/python" "$$HOME"/.pyenv/versions/3.13.*/bin/python; do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null; then \
	    exec "$$python" -m venv $(VENV); \
	  fi; \
	done; \
	if command -v uv >/dev/null; then exec uv venv -q --seed --python 3.13 $(VENV); fi; \
	echo "Python 3.13 is needed and was not found on PATH, in pyenv or through uv." >&2; \
	echo "Install it, for example: pyenv install 3.13   or   uv python install 3.13" >&2; \
	exit 1
