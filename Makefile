# `make demo` and `make test` do all the set-up they need; PYTHON chooses the interpreter, 3.11 or newer, and STORE where
# the demo keeps what it trains.
PYTHON ?= python3
STORE ?= tombola-store
BIN := .venv/bin

.PHONY: demo test test-all lint types check check-all clean

demo: .venv/ready
	$(BIN)/tombola run search_spaces/quickstart.yaml --store '$(STORE)'

test: lint types check

# The same with the tests that are slow.
test-all: lint types check-all

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready
	$(BIN)/mypy

check: .venv/ready
	$(BIN)/pytest -m 'not slow and not ray'
	$(BIN)/pytest -m 'not slow and ray' --numprocesses=0

check-all: .venv/ready
	$(BIN)/pytest -m 'not ray'
	$(BIN)/pytest -m ray --numprocesses=0

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'tombola needs Python 3.11 or newer; name one with: make PYTHON=python3.x'; exit 1; }
	$(PYTHON) -m venv --clear .venv || \
	  { echo 'making a virtual environment failed; on Debian and Ubuntu: apt install python3-venv'; exit 1; }
	$(BIN)/pip install --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv tombola-store
