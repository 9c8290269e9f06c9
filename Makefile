# make run         the environment, then the default workflow: rendered captures to the table
# make test        the environment, then every check and test
# make test-kill   the tiny workflow killed twenty times
# make test-slurm  the tiny workflow on a private one-node Slurm
# make bench       stage timings beside their peers, as ratios (bench.json); the plan of the workflow (bench_plan.json)

SHELL := /bin/bash
PYTHON ?= python3.11
CORES ?= $(shell nproc 2> /dev/null || sysctl -n hw.ncpu)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet install --constraint envs/constraints.txt
SNAKEMAKE := $(BIN)/snakemake --cores $(CORES) --resources gpu=1

.PHONY: run test test-stages test-workflow test-kill test-slurm check bench clean

run: $(VENV)/.run $(VENV)/.kernels
	@$(SNAKEMAKE)
	@echo "The table is in results/report/summary.md, the pictures beside it."

# The two halves run beside each other, each library on one thread: shorter, and no test waits for threads of another.
test: $(VENV)/.test $(VENV)/.kernels check
	@$(MAKE) --no-print-directory --jobs 2 $(if $(filter output-sync,$(.FEATURES)),--output-sync=line) test-stages test-workflow

test-stages test-workflow: export OMP_NUM_THREADS=1
test-stages test-workflow: export NUMBA_NUM_THREADS=1
test-stages test-workflow: export PYTHONUNBUFFERED=1

test-stages: $(VENV)/.test $(VENV)/.kernels
	@$(BIN)/pytest tests/unit tests/parity

test-workflow: $(VENV)/.test $(VENV)/.kernels
	@$(BIN)/pytest tests/workflow

# The tiny workflow killed twenty times and at its tender places, and run by other threads: some twelve minutes.
test-kill: $(VENV)/.test $(VENV)/.kernels
	OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/pytest tests/workflow/kill_tiny.py

# The tiny workflow on a private one-node Slurm; exit code 77: not possible here, and the sentence above says why.
test-slurm: $(VENV)/.test $(VENV)/.kernels
	tests/slurm/one_node.sh $(BIN)/pytest tests/slurm || test $$? -eq 77
	tests/slurm/one_node.sh --no-accounting $(BIN)/pytest tests/slurm || test $$? -eq 77

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

bench: $(VENV)/.test $(VENV)/.kernels
	$(BIN)/python tests/benchmarks/bench.py --large --output bench.json
	$(BIN)/python tests/benchmarks/bench_plan.py --output bench_plan.json

$(VENV)/.run: envs/requirements.txt envs/constraints.txt pyproject.toml
	@command -v $(PYTHON) > /dev/null || { echo "PorePatch needs Python 3.11: install it, or say make PYTHON=<your python 3.11>."; exit 1; }
	@echo "Making the environment in $(VENV) (some minutes, once) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --requirement envs/requirements.txt
	@$(PIP) --no-build-isolation --no-deps --editable .
	@envs/system_libraries.sh $(BIN)/python
	@touch $@

$(VENV)/.test: $(VENV)/.run envs/requirements-dev.txt
	@$(PIP) --requirement envs/requirements-dev.txt
	@touch $@

# Compiled kernels are kept, but numba does not see changes in the kernels that a kernel calls.
$(VENV)/.kernels: $(VENV)/.run $(wildcard porepatch_lib/*.py porepatch_lib/*/*.py)
	@find porepatch_lib -name '*.nb[ci]' -delete
	@touch $@

clean:
	rm -rf results
