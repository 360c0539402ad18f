# make demo   everything on this machine, on real documents    make up     without sample data
# make test   our own parts, and the whole system              make chaos  faults at random moments
# make check  lint, types and the floors of the architecture   make bench  the measurements
# make audit  known vulnerabilities of the dependencies        make lock   their versions, hashes
# make test-systems  the same beside servers that are not our own

PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
# On Linux without a GPU: make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
# spares 3 GB of CUDA packages.
TORCH_INDEX ?=
TORCH := torch==2.13.0
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo up test test-systems chaos check audit bench lock clean

demo: $(VENV)/.installed
	$(BIN)/activekg-pipelines demo $(ARGS)

up: $(VENV)/.installed
	$(BIN)/activekg-pipelines up

# The whole system comes last and alone: it promises times, and other tests would take its cores.
test: $(VENV)/.installed
	$(BIN)/python -m pytest -n auto tests/unit tests/integration $(ARGS)
	$(BIN)/python -m pytest tests/e2e $(ARGS)

# What needs foreign servers, or more than the package index has. What cannot be had here is
# skipped, with a sentence that says so.
test-systems: $(VENV)/.installed
	$(BIN)/python -m pytest tests/systems $(ARGS)

# Named faults, and seeded rounds of them, against the running system: make chaos N=200 SEED=1.
# A failed round names its seed. A round takes about a minute, so they stand beside the tests.
N ?= 20
SEED ?= 1
chaos: $(VENV)/.installed
	CHAOS_ROUNDS=$(N) CHAOS_SEED=$(SEED) $(BIN)/python -m pytest tests/chaos $(ARGS)

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Installed once, and again when the dependencies change. Every package has to have a hash of the
# lock. Only torch, whose build differs from machine to machine, is pinned by version, and so are
# the GPU libraries that some of its builds name.
$(VENV)/.installed: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes --no-deps --requirement requirements.lock
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

# Known vulnerabilities of the locked versions. Those that the index holds no advisories for are
# named, and do not fail it.
audit: $(VENV)/.installed
	$(BIN)/pip-audit --progress-spinner off --disable-pip --require-hashes \
		--requirement requirements.lock

# Ratios against the obvious way and against what each stage can do at most; each also runs alone.
bench: $(VENV)/.installed
	for script in extraction encoder scan database search whole idle neighbour; do \
		$(BIN)/python -m benchmarks.$$script || exit 1; \
	done

# torch and the GPU libraries that its builds name.
UNLOCKED := torch triton cuda-bindings cuda-pathfinder cuda-toolkit $(addprefix nvidia-, \
	cublas cuda-cupti cuda-nvrtc cuda-runtime cudnn-cu13 cufft cufile curand cusolver cusparse \
	cusparselt-cu13 nccl-cu13 nvjitlink nvshmem-cu13 nvtx)

# The versions and hashes that this checkout is tested with. It keeps what it can.
# make lock ARGS=--upgrade renews all.
lock: $(VENV)/.installed
	$(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --extra dev \
		--generate-hashes --no-annotate --custom-compile-command 'make lock' \
		--output-file requirements.lock $(ARGS) $(addprefix --no-emit-package ,$(UNLOCKED))

clean:
	rm -rf $(VENV) .activekg .pytest_cache .mypy_cache .ruff_cache .import_linter_cache *.egg-info
