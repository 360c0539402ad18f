# make demo   everything on this machine, on real documents        make test   every test
# make check  lint and types                                       make up     everything but sample data

PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
# On Linux without a GPU: make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu spares 3 GB of CUDA packages.
TORCH_INDEX ?=

.PHONY: demo up test check bench lock clean

demo: $(VENV)/.installed
	$(BIN)/activekg-pipelines demo $(ARGS)

up: $(VENV)/.installed
	$(BIN)/activekg-pipelines up

# The whole system comes last and alone: it promises times, and other tests would take its cores.
test: $(VENV)/.installed
	$(BIN)/python -m pytest -n auto tests/unit tests/integration $(ARGS)
	$(BIN)/python -m pytest tests/e2e $(ARGS)

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Installed once, and again when the dependencies change. torch comes first and alone, so that everything after it finds
# the build that was chosen for it.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

# Ratios against the obvious way, from one run.
bench: $(VENV)/.installed
	PYTHONPATH=. $(BIN)/python benchmarks/stages.py

# The versions that this checkout is tested with; run it in a fresh virtual environment.
lock:
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > constraints.txt

clean:
	rm -rf $(VENV) .activekg .pytest_cache .mypy_cache .ruff_cache *.egg-info
