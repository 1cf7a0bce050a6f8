# Two verbs are enough to begin: `make test` and, for the rest, what stands below.
# `make test PYTHON=python3.13` makes an environment of its own, .venv-3.13.
PYTHON ?= python3
VERSION := $(if $(filter python3,$(PYTHON)),,-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'))
VENV := .venv$(VERSION)
LIGHT := .venv-light$(VERSION)
BIN := $(VENV)/bin
# Two workers, a thread each: what two cores do best. `make test WORKERS=0` runs in one process.
WORKERS ?= 2
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
SOURCES := $(shell git ls-files cli.py "mtclip_edge/*" "train/*.py" "export/*.py")

.PHONY: test fast demo soak lint mutants demo-bundle wheelhouse clean

$(VENV)/installed: pyproject.toml constraints.txt
	@echo "making a fresh environment with everything; some minutes, torch is large"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[cpu,train,export,compact,dev]'
	touch $@

# Fresh environment with everything, then the style checks and the suite.
test: $(VENV)/installed lint
	$(PYTEST)

# What needs no torch: an environment of a minute, and the tests that are quick there.
fast: $(LIGHT)/installed
	OMP_NUM_THREADS=1 $(LIGHT)/bin/python -m pytest -n $(WORKERS) --dist worksteal -m 'not (slow or realdata or torch)'

$(LIGHT)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(LIGHT)
	$(LIGHT)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[cpu,parquet,dev]'
	touch $@

lint: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# From a clone to an answer: a fresh environment with the runtime only, then one film and one text against the demo bundle.
demo: .venv-demo/installed
	.venv-demo/bin/mtclip query examples/effusion.png --format table
	.venv-demo/bin/mtclip query --text "pleural effusion left" --format table
	@echo "mtclip is $(CURDIR)/.venv-demo/bin/mtclip"
	@echo "next: . .venv-demo/bin/activate, then: mtclip query examples/effusion.png --save answer.html"

.venv-demo/installed: pyproject.toml constraints.txt $(SOURCES)
	@echo "making a fresh environment with the runtime; about a minute, hnswlib is compiled"
	$(PYTHON) -m venv .venv-demo
	.venv-demo/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt '.[cpu]'
	touch $@

# Train, export and measure the demo bundle again; about twenty minutes.
demo-bundle: $(VENV)/installed
	$(BIN)/python examples/make_demo_bundle.py

# Every wheel (hnswlib built for any processor), the demo bundle or BUNDLE=DIR, and an installer, in one folder for a machine without network.
wheelhouse:
	PYTHON=$(PYTHON) BUNDLE=$(BUNDLE) sh packaging/wheelhouse.sh

# The same suite, long tests at their full count.
soak: $(VENV)/installed
	MTCLIP_SOAK=1 $(PYTEST) -m 'slow or realdata'

# Applies each fault of tests/mutants to a clean copy; every one must be caught.
mutants: $(VENV)/installed
	$(BIN)/python tests/mutants/run.py

clean:
	rm -rf .venv .venv-* wheelhouse build dist *.egg-info
