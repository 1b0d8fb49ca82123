# Everything from nothing: each target makes the environment it needs.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all check format clean

demo: .venv/installed
	$(BIN)/sharedllm demo --out out/demo.html

test: .venv/installed
	$(BIN)/pytest

# What `make test` leaves out as well: the slower and the rarer.
test-all: .venv/installed
	$(BIN)/pytest -m 'rare or not rare'

check: .venv/installed
	$(BIN)/ruff format --check src tests benchmarks experiments
	$(BIN)/ruff check src tests benchmarks experiments
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/installed
	$(BIN)/ruff format src tests benchmarks experiments
	$(BIN)/ruff check --fix src tests benchmarks experiments

# constraints.txt pins every package, transitive ones included, so that two machines install the same versions.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "sharedllm needs Python 3.11 or newer; try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf .venv out
