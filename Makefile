# make study [PARAMS=params/studies/….yaml] [CORES=2]   run a study to its report
# make study PROFILE=params/profiles/slurm               the same, its cells as Slurm jobs
# make plan [PARAMS=…] [CORES=2]                        its runs, their cost and what is left, before anything starts
# make lint                                             ruff, layers of imports, mypy
# make test                                             lint, pytest, nbval
# make test-slow                                        what CI leaves out: golden values of switches, long forms of tests
# make golden                                           golden values made anew; prints what moved
# make mutate [MUTATIONS=100]                           break lines by hand: which does no test notice?
# make docs                                            the pages of docs/ as a site, in site/
# make notebooks                                        re-execute and normalise the committed notebooks
# make publish STUDY=name                               copy a finished report to reports/
# make verify [STUDY=name]                              does a published report still stand? all of them: a line each
# make results                                          every run as one table, results.parquet and .csv
# make kills                                            twenty SIGKILLs of a study, to reports/kills/
# make slurm                                            the same grid on a Slurm of its own (root on Debian)
# make fuzz [INPUTS=100000]                             hostile inputs to every loader, to reports/fuzz/
# make bench                                            speed, as ratios within one run, to reports/benchmarks/
# make gpu-check                                        on a machine with a GPU: results and speed, to gpu-check.json
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PARAMS ?= params/studies/quickstart.yaml
CORES ?=
INPUTS ?= 100000
MUTATIONS ?= 100
PROFILE ?=
export HF_HUB_DISABLE_TELEMETRY := 1
# Checked notebooks must give the same digits on another processor: pin the kernels that demo runs use.
PIN := ATEN_CPU_CAPABILITY=avx2 MKL_CBWR=AVX2 DNNL_MAX_CPU_ISA=AVX2

.PHONY: study plan test pytest nbval test-slow golden mutate lint docs notebooks publish verify results bench gpu-check fuzz kills slurm clean
study: $(VENV)/.done $(if $(PROFILE),$(VENV)/.slurm)
	@$(BIN)/auxlearn study $(PARAMS) $(if $(CORES),--cores $(CORES)) $(if $(PROFILE),--profile $(PROFILE))

plan: $(VENV)/.done
	@$(BIN)/auxlearn plan $(PARAMS) $(if $(CORES),--cores $(CORES))

# Side by side: a notebook uses one core, and so does mypy.
test: $(VENV)/.done
	@$(MAKE) --no-print-directory --jobs 3 --output-sync=target lint pytest nbval

pytest: $(VENV)/.done
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest tests -m "not benchmark and not slurm and not slow" --numprocesses 2 \
	  --dist loadfile --no-loadscope-reorder

nbval: $(VENV)/.done
	rm -rf $(VENV)/nbval-runs
	cd notebooks && $(PIN) AUXLEARN_RUNS=$(CURDIR)/$(VENV)/nbval-runs ../$(BIN)/python -m pytest --nbval --nbval-current-env \
	  -p no:cacheprovider --timeout 600 .

test-slow: $(VENV)/.done
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest tests -m slow --numprocesses 2 --dist loadfile --no-loadscope-reorder

golden: $(VENV)/.done
	$(BIN)/python tests/golden/golden.py --write

mutate: $(VENV)/.done
	OPENBLAS_NUM_THREADS=1 $(BIN)/python tests/mutation/mutate.py --count $(MUTATIONS) reports/mutation/results.md

lint: $(VENV)/.done
	$(BIN)/ruff check lib tests docs
	$(BIN)/ruff format --check lib tests docs
	@$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

docs: $(VENV)/.done
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

notebooks: $(VENV)/.done
	$(PIN) $(BIN)/auxlearn notebooks

publish: $(VENV)/.done
	$(BIN)/auxlearn publish $(STUDY)

verify: $(VENV)/.done
	@$(BIN)/auxlearn verify $(STUDY)

results: $(VENV)/.done
	@$(BIN)/auxlearn results --csv

bench: $(VENV)/.done
	AUXLEARN_BENCH=$(CURDIR)/reports/benchmarks \
	  $(BIN)/python -m pytest tests/benchmarks -m benchmark -s --timeout 1800

# Exit status 2: PyTorch sees no GPU here.
gpu-check: $(VENV)/.done
	HF_HUB_OFFLINE=1 $(BIN)/python tests/gpu_check.py

# With the extra `fuzz` installed, atheris adds 2,000 inputs a loader that coverage guides.
fuzz: $(VENV)/.done
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python tests/fuzz/fuzz_run.py --inputs $(INPUTS) --guided 2000 reports/fuzz/results.md

kills: $(VENV)/.done
	AUXLEARN_KILLS=20 AUXLEARN_KILLS_RESULTS=$(CURDIR)/reports/kills/results.md \
	  $(BIN)/python -m pytest tests/whole/test_kills.py -s --timeout 3600

# Installs Debian's slurm and munge for as long as it runs, and starts them on this machine.
slurm: $(VENV)/.done $(VENV)/.slurm
	AUXLEARN_SLURM=install nice -n 19 $(BIN)/python -m pytest tests/slurm -m slurm -s --timeout 7200

# Python compiles what it imports; compiling all of it would take a third of the installation.
$(VENV)/.done: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

# Apart from the rest: where Slurm's tools have no controller to ask, the plugin makes every start of Snakemake slow.
$(VENV)/.slurm: $(VENV)/.done
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[slurm]'
	@touch $@

clean:
	rm -rf $(VENV) runs
