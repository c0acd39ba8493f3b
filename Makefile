# Two commands for a newcomer: `make demo` and `make test`. Both set up .venv on the first call.
# `make test-real` has what needs the real weights of the bundled model, the pages' own examples among it.
PYTHON ?= python3
# Tests run on one thread each, side by side.
JOBS ?= 2
BIN := .venv/bin
export HF_HUB_OFFLINE := 1
.PHONY: demo test test-real lint clean

demo: .venv/demo.stamp
	$(BIN)/uncollapse demo --force

test: lint
	$(BIN)/pytest -n $(JOBS) -m "not real"

test-real: .venv/dev.stamp
	$(BIN)/pytest -n $(JOBS) -m real

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf .venv

# Debian's Python comes without the part of venv that brings pip, so the pip outside installs the one inside.
.venv/python.stamp:
	$(PYTHON) -m venv --clear --without-pip .venv
	$(PYTHON) -m pip --python $(BIN)/python install --quiet pip
	touch $@

# torch goes first and alone: left to a resolver, it brings gigabytes for graphics cards.
.venv/torch.stamp: constraints.txt .venv/python.stamp
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	touch $@

.venv/demo.stamp: pyproject.toml .venv/torch.stamp
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo]'
	touch $@

.venv/dev.stamp: pyproject.toml .venv/torch.stamp
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo,dev]'
	touch $@ .venv/demo.stamp
