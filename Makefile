# Everything on a fresh machine with Python 3.11 or newer, pip and make:
#   make sample   the runtime alone, without PyTorch: 64 digits from the shipped model into samples.png
#   make test     everything: lint, types and tests; needs npm too
PYTHON ?= python3
RUNTIME := .venv-runtime
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(shell test $$(id -u) = 0 || echo sudo)
PACKAGES := -p aae_zoo.runtime -p aae_zoo.zoo -p aae_zoo.export -p aae_zoo.cli

.PHONY: sample install install-engines engines test lint bench variants zoo generated clean

sample:
	test -d $(RUNTIME) || $(PYTHON) -m venv $(RUNTIME)
	$(RUNTIME)/bin/pip install --quiet --disable-pip-version-check '.[cpu]'
	$(RUNTIME)/bin/aae-zoo sample -n 64 -o samples.png

install:
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --config-settings editable_mode=strict -e '.[cpu,train,dev]'

test: install install-engines lint
	$(BIN)/pytest

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(PACKAGES)
	$(BIN)/mypy tests/*.py tests/benchmarks/*.py tests/engines/*.py

# Other engines that the tests run the graphs in: Python's, Node's, a browser and a C compiler.
install-engines: install tests/engines/node_modules/.package-lock.json
	$(BIN)/pip install --quiet --disable-pip-version-check --config-settings editable_mode=strict -e '.[engines]'
	command -v chromium >/dev/null && command -v cc >/dev/null || { $(SUDO) apt-get update -qq && \
	$(SUDO) apt-get install -y -qq --no-install-recommends chromium gcc libc6-dev; }

# No scripts: one would download a GPU's libraries.
tests/engines/node_modules/.package-lock.json: tests/engines/package-lock.json
	npm ci --prefix tests/engines --ignore-scripts --no-audit --no-fund
	touch $@

# Rewrites the README's table of engines.
engines: install-engines
	$(BIN)/python tests/engines/registry.py README.md

# Rewrites docs/benchmarks.md; needs MNIST (see README).
bench: install
	$(BIN)/python tests/benchmarks/run.py docs/benchmarks.md

# Rewrites docs/variants.md; needs the shipped models' data sets.
variants: install
	$(BIN)/python tests/benchmarks/variants.py docs/variants.md

# Trains, measures and exports every shipped model: hours. What is done is left alone, what was interrupted goes on.
zoo: install
	$(BIN)/python -m aae_zoo.export.zoo; made=$$?; $(BIN)/python -m aae_zoo.export.generated && exit $$made

# Rewrites the catalogue, the README's tables of models and the gallery from the shipped bundles.
generated: install
	$(BIN)/python -m aae_zoo.export.generated

clean:
	rm -rf build $(VENV) $(RUNTIME) samples.png
