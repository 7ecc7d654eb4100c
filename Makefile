# Everything on a fresh machine with Python 3.11 or newer, its venv and make:
#   make sample   the runtime alone, without PyTorch: 64 digits from the shipped model into samples.png;
#                 with LOCKED=1 from the versions and hashes in requirements/
#   make test     everything: lint, types and tests; needs npm too
# PYTHON=python3.12 takes another Python, for environments that are not there yet: make clean removes those that are.
PYTHON ?= python3
RUNTIME := .venv-runtime
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(shell test $$(id -u) = 0 || echo sudo)
EXTRAS := cpu,serve,train,dev
# The packages under their names, for mypy, which does not follow an editable install; pyproject.toml has it too.
TYPES := build/types/aae_zoo
PACKAGES := -p aae_zoo
# An environment in this folder, with a mark if make has made it; one that was left without pip is completed.
environment = test -d $(1) || { mkdir $(1) && touch $(1)/.aae-zoo; }; test -x $(1)/bin/pip || $(PYTHON) -m venv $(1)

LOCK := $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command 'make lock'

.PHONY: sample lock sbom install install-engines engines docs notebooks test lint bench bench-newcomer bench-serve \
	bench-attacks bench-defects bench-detectors bench-drift bench-explore bench-oneclass bench-own fuzz verify-arm64 variants zoo generated screenshots clean

sample:
	@$(call environment,$(RUNTIME))
ifdef LOCKED
	$(RUNTIME)/bin/pip install --quiet --disable-pip-version-check --require-hashes \
		-r requirements/build.txt -r requirements/runtime.txt
	$(RUNTIME)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation .
else
	$(RUNTIME)/bin/pip install --quiet --disable-pip-version-check '.[cpu]'
endif
	$(RUNTIME)/bin/aae-zoo sample -n 64 -o samples.png

# Rewrites requirements/: the newest versions of what aae-zoo[cpu] brings and of what builds its wheel, with hashes.
lock: install
	mkdir -p requirements
	$(LOCK) pyproject.toml --extra cpu --output-file requirements/runtime.txt
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' | \
		$(LOCK) - --output-file requirements/build.txt

# Writes build/sbom.cdx.json: what aae-zoo[cpu] brings by requirements/runtime.txt, as a CycloneDX list with hashes.
sbom: install
	mkdir -p build
	$(BIN)/cyclonedx-py requirements requirements/runtime.txt --pyproject pyproject.toml --output-reproducible \
		--output-file build/sbom.cdx.json

install:
	@$(call environment,$(VENV))
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[$(EXTRAS)]'
	mkdir -p $(TYPES) && cd $(TYPES) && ln -sf ../../../front/*.py ../../../runtime ../../../zoo ../../../export ../../../cli .

# By whole files, which share what they train and export: two at a time take two cores, the long ones first.
test: install-engines lint
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(PACKAGES)
	$(BIN)/mypy tests

# What tests run graphs, programs and pages in: other engines for Python, Node's packages, a browser, C and C++.
install-engines: tests/support/node_modules/.package-lock.json
	$(MAKE) install EXTRAS=$(EXTRAS),engines,docs
	command -v chromium >/dev/null && command -v c++ >/dev/null && command -v strace >/dev/null || { $(SUDO) apt-get update -qq && \
	$(SUDO) apt-get install -y -qq --no-install-recommends chromium gcc g++ libc6-dev strace; }

# No scripts: one would download a GPU's libraries.
tests/support/node_modules/.package-lock.json: tests/support/package-lock.json
	npm ci --prefix tests/support --ignore-scripts --no-audit --no-fund
	touch $@

# The documentation as a site in build/site, to be read from disk or put on any static server.
docs:
	$(MAKE) install EXTRAS=$(EXTRAS),docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo build/site/index.html

# Runs the notebooks and keeps in them what they print and draw.
notebooks:
	$(MAKE) install EXTRAS=$(EXTRAS),docs
	$(BIN)/python tests/support/run_notebooks.py

# Rewrites the table of docs/quickstart.md: a newcomer's first minutes, in fresh environments. Needs npm.
bench-newcomer: install
	$(BIN)/python tests/benchmarks/newcomer.py docs/quickstart.md

# Rewrites the table of engines in docs/embedding.md.
engines: install-engines
	$(BIN)/python tests/support/engines/registry.py docs/embedding.md

# Rewrites docs/benchmarks.md; needs MNIST (see docs/training.md).
bench: install
	$(BIN)/python tests/benchmarks/run.py docs/benchmarks.md

# Rewrites the screenshots of docs/: what the test of the pages sees.
screenshots: install-engines
	SCREENSHOTS=docs $(BIN)/pytest tests/export/test_explore.py

# Rewrites docs/variants.md; needs the shipped models' data sets.
variants: install
	$(BIN)/python tests/benchmarks/variants.py docs/variants.md

# Rewrites docs/oneclass.md: a detector for each class of MNIST and Fashion-MNIST, with three seeds; half an hour. Goes
# on with the rows of build/oneclass.jsonl.
bench-oneclass: install
	$(BIN)/python tests/benchmarks/oneclass.py docs/oneclass.md README.md

# Rewrites the table of docs/serving.md; needs wrk (apt install wrk).
bench-serve: install
	$(BIN)/python tests/benchmarks/serve.py docs/serving.md

# Rewrites the table of docs/why-our-own.md: what is written here beside the library that does the same.
bench-own: install-engines
	$(BIN)/python tests/benchmarks/own.py docs/why-our-own.md

# Rewrites the table of alarms in docs/drift.md; needs MNIST and Fashion-MNIST (see docs/training.md).
bench-drift: install
	$(BIN)/python tests/benchmarks/drift.py docs/drift.md

# Rewrites the tables of docs/detector.md; makes a detector on the way, and needs MNIST and Fashion-MNIST.
bench-detectors: install
	$(BIN)/python tests/benchmarks/detectors.py docs/detector.md

# Rewrites the table of attacks in docs/serving.md, and fails where what it says does not hold.
bench-attacks: install
	$(BIN)/python tests/benchmarks/attacks.py docs/serving.md

# Rewrites the table of defects in docs/anomalies.md; needs Fashion-MNIST and avatars (aae-zoo data avatars).
bench-defects: install
	$(BIN)/python tests/benchmarks/defects.py docs/anomalies.md

# Rewrites the table of hostile inputs in docs/proof.md: a million of them, in twenty minutes; fails where one does harm.
fuzz: install
	$(BIN)/python tests/support/fuzz.py --write docs/proof.md

# The shipped models as on an ARM64 machine, which QEMU emulates: a quarter of an hour. Needs root, debootstrap and QEMU.
verify-arm64: install
	$(SUDO) env PYTHON=$(BIN)/python sh tests/support/arm64.sh

# Rewrites the table of pages over a slow network in docs/embedding.md.
bench-explore: install-engines
	$(BIN)/python tests/benchmarks/explore.py docs/embedding.md

# Trains, measures and exports every shipped model: hours. What is done is left alone, what was interrupted goes on.
zoo: install
	$(BIN)/python -m aae_zoo.export.release.zoo; made=$$?; $(BIN)/python -m aae_zoo.export.release.generated && exit $$made

# Rewrites the shipped bundles' cards, the catalogue, the tables of models, the gallery and the README's pictures.
generated: install
	$(BIN)/python -m aae_zoo.export.release.generated

# Environments that were made here, as their mark tells, and what setuptools builds; nothing of anybody else.
clean:
	for made in $(VENV) $(RUNTIME); do \
	if test -f $$made/.aae-zoo; then rm -rf $$made; elif test -e $$made; then echo "$$made stays: make did not make it"; fi; \
	done
	rm -rf build/lib build/bdist.* build/__editable__.* build/types build/site
	test ! -d build/arm64 || $(SUDO) rm -rf build/arm64
	test ! -d build || rmdir build || true
