# Every target starts from a fresh clone with nothing but Python 3.11, 3.12 or 3.13, and can be run again at any time.
#   PYTHON=…   the Python that makes the environment          VENV=…   where it is made (.venv)
#   WORKERS=…  notebooks, simulators or files of tests at a time              ARGS=…   passed on to the command

FITS     = -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null
PYTHON  ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do $$p $(FITS) && { command -v $$p; exit; }; done; echo python3.11)
VENV    ?= .venv
BIN     := $(VENV)/bin
WORKERS ?= 2
TORCH   := $(shell sed -n 's/^torch==//p' constraints.txt)
# where torch's CPU build is fetched when pip's usual sources have only the CUDA build; empty: nowhere
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

PIP  := $(BIN)/python -m pip --disable-pip-version-check --no-input
# --no-compile: half a minute for 18,000 files of which a quarter are ever imported; each is compiled when it first is
WITH := $(PIP) install -qq --no-compile --constraint constraints.txt
HOME_OK := $(shell test -n "$$HOME" && test -w "$$HOME" && echo yes)
ifneq ($(HOME_OK),yes)
export HOME := $(CURDIR)/.cache/home
endif
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV
export PIP_ROOT_USER_ACTION := ignore

.DEFAULT_GOAL := help
.PHONY: help demo test lab analysis export docs bench pack doctor readme clean setup

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(BIN)/.ready ## see two trained policies act, train a third, compare them (a few minutes)
	@$(BIN)/vlm4vla demo $(ARGS)

test: $(BIN)/.ready ## everything CI checks: notebooks, generated files, tests
	@echo "notebooks: running nbs/ top to bottom"
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python tests/notebooks.py $(WORKERS)
	@echo "tests: what no single notebook can say"
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

lab: $(BIN)/.ready ## open the notebooks in JupyterLab, at their first page
	@$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/nbs/index.ipynb $(ARGS)

analysis: $(BIN)/.ready ## rebuild every table and figure from results/, and what the pages in nbs/analysis/ show
	@WORKERS=$(WORKERS) $(BIN)/python docs/outputs.py nbs/analysis

export: $(BIN)/.ready ## notebooks → vlm4vla/ and README.md
	@$(BIN)/nbdev-export
	@$(BIN)/nbdev-clean
	@$(BIN)/python docs/readme.py

docs: $(BIN)/.ready-docs ## the site, in _site/ (ARGS=--no-run: without running the notebooks again; --gallery: with executed ones)
	@WORKERS=$(WORKERS) $(BIN)/python docs/build.py $(ARGS)
	@$(BIN)/python -m pytest -rs -n $(WORKERS) --dist loadgroup tests/test_site.py

bench: $(BIN)/.ready ## our speed against the plain Hugging Face loop, in one run
	@set -e; for nb in nbs/bench/*.ipynb; do echo "$$nb"; \
	  (cd nbs/bench && $(CURDIR)/$(BIN)/papermill --log-level ERROR --no-progress-bar $$(basename $$nb) /dev/null $(ARGS)); done

pack: $(BIN)/.ready ## one file with what a node without a network lacks (ARGS=node.txt; vlm4vla pack --help)
	@$(BIN)/vlm4vla pack $(ARGS)

doctor: $(BIN)/.ready ## what this machine can run, and how to get what is missing
	@$(BIN)/vlm4vla doctor

setup: $(BIN)/.ready ## only make the environment

clean: ## remove the environment and everything that can be made again
	rm -rf $(VENV) .cache build _site *.egg-info

# --- the environment: made once, made again when what it depends on has changed ---

$(BIN)/python:
	@"$(PYTHON)" $(FITS) || \
	  { echo "vlm4vla needs Python 3.11, 3.12 or 3.13, but $(PYTHON) is $$("$(PYTHON)" --version 2>/dev/null || echo missing); run: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 2; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) cannot make environments; install its venv module (Debian: apt install python3-venv)." >&2; exit 2; }
	@echo "setting up $(VENV) (once, a few minutes)"
	@rm -rf $(VENV) && "$(PYTHON)" -m venv $(VENV)

# An ordinary pip would fetch gigabytes of CUDA for torch: without an NVIDIA driver the CPU build is looked for first, in pip's own sources, then in TORCH_INDEX.
NO_CPU_BUILD := no CPU build of torch $(TORCH) can be had (TORCH_INDEX=$(TORCH_INDEX)); the ordinary one comes instead: on x86 it brings CUDA, 3 GB to download and 5 GB on the disk
$(BIN)/.ready: settings.ini setup.py pyproject.toml constraints.txt | $(BIN)/python
	@mkdir -p "$$HOME"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	@$(WITH) --upgrade pip   # the one that comes with Python 3.11 resolves ten times slower
	@if $(BIN)/python -c 'import importlib.metadata as m; assert m.version("torch").split("+")[0] == "$(TORCH)"' 2>/dev/null; then :; \
	  elif command -v nvidia-smi >/dev/null && timeout 20 nvidia-smi >/dev/null 2>&1; then $(WITH) torch==$(TORCH); \
	  elif $(WITH) torch==$(TORCH)+cpu 2>/dev/null; then :; \
	  elif test -n "$(TORCH_INDEX)" && $(WITH) --timeout 15 --retries 1 --extra-index-url "$(TORCH_INDEX)" torch==$(TORCH)+cpu 2>/dev/null; then :; \
	  else test "$$(uname -s)" != Linux || echo "$(NO_CPU_BUILD)"; $(WITH) torch==$(TORCH); fi
	@$(WITH) --editable '.[dev]'
	@$(BIN)/python -m ipykernel install --sys-prefix --name python3 --display-name python3 >/dev/null 2>&1
	@touch $@

$(BIN)/.ready-docs: $(BIN)/.ready
	@$(WITH) --editable '.[docs]'
	@touch $@
