# Two verbs are enough to begin: `make test` and, for the rest, what stands below.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest

.PHONY: test soak lint mutants ci-wheel clean

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[cpu,train,export,compact,dev]'
	touch $@

# Fresh environment with everything, then the style checks and the suite.
test: $(VENV)/installed lint
	$(PYTEST)

lint: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The same suite, long tests at their full count.
soak: $(VENV)/installed
	MTCLIP_SOAK=1 $(PYTEST) -m 'slow or realdata'

# Applies each fault of tests/mutants to a clean copy; every one must be caught.
mutants: $(VENV)/installed
	$(BIN)/python tests/mutants/run.py

clean:
	rm -rf $(VENV) build dist *.egg-info
