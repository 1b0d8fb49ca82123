# Everything from nothing: each target makes the environment it needs.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all test-rare check docs format clean

demo: .venv/installed
	$(BIN)/sharedllm demo --out out/demo.html

# Tests run beside one another, each on a core of its own.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile

test: .venv/installed
	$(PYTEST)

# What `make test` leaves out, the slower and the rarer, one after the other.
test-rare: .venv/installed
	$(BIN)/pytest -m rare

test-all: test test-rare

check: .venv/installed
	$(BIN)/ruff format --check src tests benchmarks experiments docs
	$(BIN)/ruff check src tests benchmarks experiments docs
	$(BIN)/mypy
	$(BIN)/lint-imports

# docs/api.md, from the docstrings; a test says when it is out of date.
docs: .venv/installed
	$(BIN)/python -m docs.api

format: .venv/installed
	$(BIN)/ruff format src tests benchmarks experiments docs
	$(BIN)/ruff check --fix src tests benchmarks experiments docs

# constraints.txt pins every package, transitive ones included, so that two machines install the same versions.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "sharedllm needs Python 3.11 or newer; try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf .venv out
