# Two commands are enough:
#   make walkthrough   run every notebook from top to bottom, then rebuild every figure and table
#   make test          unit tests, both backends, and every notebook compared with its outputs
# and one while working:
#   make check         style, types and the quick tests, in about a minute
# An active virtualenv or conda environment is used; without one, .venv is made here.

NOTEBOOK_DIR := notebooks
WALKTHROUGH_DIR := build/walkthrough
EXTRAS := experiments,notebooks,tensorflow,jax,dev
WORKERS ?= 2
# For `make notebooks`: the notebooks to execute, e.g. NB=notebooks/01_activation_derivation.py
NB ?= $(wildcard $(NOTEBOOK_DIR)/[0-9][0-9]_*.py)

# `make env LOCKED=1` installs the very versions of the last green run, from constraints.txt.
LOCKED ?=

# The tests' models are compiled for longer than they run; JAX has no other way than XLA.
QUICKLY := --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true

TF_CPP_MIN_LOG_LEVEL ?= 3
export TF_CPP_MIN_LOG_LEVEL
export PYTHONUNBUFFERED := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# conda's `base` holds conda itself: it does not count as an environment of the reader's choice.
ACTIVE := $(if $(VIRTUAL_ENV),$(VIRTUAL_ENV),$(if $(filter-out base,$(CONDA_DEFAULT_ENV)),$(CONDA_PREFIX)))
PREFIX := $(if $(ACTIVE),$(ACTIVE),$(CURDIR)/.venv)
PY := "$(PREFIX)/bin/python"
# What was installed, and for which checkout: while this stays the same nothing is installed again.
STAMP := $(PREFIX)/.sgblend-installed
CONSTRAINTS := $(if $(LOCKED),constraints.txt)
WANTED := $(shell cat pyproject.toml $(CONSTRAINTS) | cksum) $(CURDIR)

# Executes a notebook, $$1, with the nbconvert options that follow.  As under pytest --nbval, which is
# what PYTEST_CURRENT_TEST tells the kernel, lines that C libraries write to the terminal stay out of
# the notebook; they go to a log, shown when a cell fails.
export PYTHON := $(PREFIX)/bin/python
EXECUTE = notebook="$$1"; shift; log="build/$$(basename "$$notebook" .ipynb).log"; mkdir -p build; \
    began=$$(date +%s); \
    PYTEST_CURRENT_TEST=1 "$$PYTHON" -m nbconvert --log-level ERROR --to notebook --execute "$$@" \
      "$$notebook" 2>"$$log" || { echo "$$notebook failed"; cat "$$log" >&2; exit 255; }; \
    echo "$$notebook $$(($$(date +%s) - began)) s"

.PHONY: help env walkthrough test check report notebooks site lab clean

help:
	@echo 'make walkthrough   run every notebook, rebuild every figure and table, say where to look'
	@echo 'make test          unit tests on every backend, then every notebook against its outputs'
	@echo 'make check         style, types and the quick tests, in about a minute'
	@echo 'make report        figures and tables from the stored records alone'
	@echo 'make lab           JupyterLab on the notebooks'
	@echo 'make site          notebooks and pages as HTML in build/site, every link checked'
	@echo 'make notebooks     for authors: execute notebooks in place, .py -> .ipynb'
	@echo 'make env           only the environment (LOCKED=1: the versions of constraints.txt)'
	@echo 'make clean         remove build/ and .venv'

env:
	@if [ "$$(cat '$(STAMP)' 2>/dev/null)" != '$(WANTED)' ]; then \
	  set -e; \
	  if [ -z '$(ACTIVE)' ] && ! $(PY) -m pip --version >/dev/null 2>&1; then \
	    found=; usable='import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'; \
	    for python in python3 python3.12 python3.13 python3.11 python; do \
	      if "$$python" -c "$$usable" >/dev/null 2>&1; then found="$$python"; break; fi; \
	    done; \
	    if [ -z "$$found" ]; then \
	      echo 'No Python 3.11, 3.12 or 3.13 with venv was found: install one (Debian, Ubuntu: python3-venv).' >&2; \
	      exit 2; \
	    fi; \
	    echo "Making .venv with $$("$$found" --version)"; \
	    "$$found" -m venv --clear '$(PREFIX)'; \
	  fi; \
	  echo 'Installing into $(PREFIX): about 3.5 GB of packages, a few minutes, once.'; \
	  $(PY) -m pip install -e '.[$(EXTRAS)]' $(addprefix -c ,$(CONSTRAINTS)); \
	  echo '$(WANTED)' > '$(STAMP)'; \
	fi

# The committed notebooks stay as they are: what is executed here goes to build/walkthrough.
walkthrough: env
	@set -e; rm -rf $(WALKTHROUGH_DIR); mkdir -p $(WALKTHROUGH_DIR); start=$$(date +%s); \
	printf '%s\n' $(NOTEBOOK_DIR)/*.ipynb | \
	  xargs -P $(WORKERS) -I '{}' sh -c '$(EXECUTE)' sh '{}' --output-dir $(WALKTHROUGH_DIR); \
	echo '[report] figures and tables from the stored records'; \
	"$(PREFIX)/bin/sgblend" report >/dev/null; \
	echo "Done in $$(($$(date +%s) - start)) s. Where to look:"; \
	echo '  $(WALKTHROUGH_DIR)/   the notebooks as they ran just now, from 00_start_here on (make lab)'; \
	echo '  $(NOTEBOOK_DIR)/           the same as published'; \
	echo '  figures/             every figure; tables/RESULTS.md has every table'

test: env
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pytest tests -n $(WORKERS)
	KERAS_BACKEND=jax XLA_FLAGS='$(QUICKLY)' $(PY) -m pytest tests -m backend -n $(WORKERS)
	@if $(PY) -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)'; then \
	  set -x; KERAS_BACKEND=torch $(PY) -m pytest tests -m backend -n $(WORKERS); \
	else echo 'PyTorch is not installed here: its pass is left out.'; fi
	$(PY) -m pytest --nbval --nbval-current-env $(NOTEBOOK_DIR) -n $(WORKERS) --dist loadfile

check: env
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m pytest tests -m 'not slow' -n $(WORKERS)

report: env
	"$(PREFIX)/bin/sgblend" report

notebooks: env
	@set -e; for source in $(NB); do \
	  base="$${source%.*}"; \
	  $(PY) -m jupytext --quiet --update --set-kernel python3 --to ipynb "$$base.py"; \
	  sh -c '$(EXECUTE)' sh "$$base.ipynb" --inplace --ExecutePreprocessor.record_timing=False; \
	done

site: env
	$(PY) .ci/site.py

lab: env
	$(PY) -m jupyterlab --notebook-dir .

clean:
	rm -rf build .venv
