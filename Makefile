# make demo: from nothing to readable features. make test: every test. Needs Python >= 3.11 with venv, nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN ?= runs/demo

.PHONY: demo test lint install install-dev web chromium check compat peers clean

demo: $(VENV)/.installed
	$(BIN)/semascope demo --out $(RUN)

test: $(VENV)/.installed-dev chromium
	$(BIN)/pytest --numprocesses auto --dist loadfile

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python web/build.py check

check: lint test

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(BIN)/python:
	$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit(f"Semascope needs Python 3.11 or newer, and {sys.executable} is {v[0]}.{v[1]}: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

# constraints.txt pins the versions that are tested together; a plain `pip install semascope` takes newer ones too.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@ $(VENV)/.installed

# The browser application; installing builds it too, but only when it is installed.
web: $(VENV)/.installed-dev
	$(BIN)/python web/build.py

# The tests of the browser application drive a Chromium: Debian's, or else the one that Playwright downloads.
chromium: $(VENV)/.installed-dev
	@command -v chromium || command -v google-chrome \
	|| { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qq --yes chromium; } \
	|| $(BIN)/playwright install chromium \
	|| echo "There is no Chromium, and none could be installed: the tests of the browser application cannot run."

# SAELens, from an environment of its own, reads what Semascope saves.
SAELENS := .venv-saelens

compat: $(VENV)/.installed $(SAELENS)/.installed
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	$(BIN)/python tests/compat/write_dictionaries.py "$$folder" && \
	$(SAELENS)/bin/python tests/compat/read_with_saelens.py "$$folder"

$(SAELENS)/.installed: tests/compat/requirements.txt | $(BIN)/python
	$(BIN)/python -m venv $(SAELENS)
	$(SAELENS)/bin/python -m pip install --quiet --disable-pip-version-check --requirement tests/compat/requirements.txt
	touch $@

# The environment of benchmarks/peers: SAELens, sparsify and dictionary_learning.
PEERS := .venv-peers

peers: $(PEERS)/.installed

$(PEERS)/.installed: benchmarks/peers/requirements.txt benchmarks/peers/requirements-no-deps.txt | $(BIN)/python
	$(BIN)/python -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --requirement benchmarks/peers/requirements.txt
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement benchmarks/peers/requirements-no-deps.txt
	touch $@

clean:
	rm -rf $(VENV) $(SAELENS) $(PEERS) build dist web/node_modules src/semascope/server/static .pytest_cache .ruff_cache
