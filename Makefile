# make demo: set up, generate Mini-AVA, train, evaluate, draw.   make test: lint and tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The newest release. Others: make install TORCH="torch==X torchvision==Y"
TORCH ?= torch
# PyTorch's CPU build is a fifth as large. It is taken where there is no NVIDIA driver, no other
# version is asked for, and this index can be reached.
CPU_INDEX ?= https://download.pytorch.org/whl/cpu
TAKES_CPU_BUILD = [ "$(TORCH)$(CONSTRAINTS)" = torch ] && [ ! -e /proc/driver/nvidia/version ] && \
	$(PYTHON) -c 'import urllib.request as r; r.urlopen("$(CPU_INDEX)/torch/", timeout=5)' 2>/dev/null
# A file of pip constraints; test-oldest gives one.
CONSTRAINTS ?=
PIP := $(if $(CONSTRAINTS),PIP_CONSTRAINT=$(abspath $(CONSTRAINTS))) $(BIN)/python
# Writes compiled tests and modules, whatever the variable says: each process compiles what it lacks.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup
# Folders whose tests need no trained model and no generated dataset.
FAST := tests/evaluation tests/layers tests/data/datasets tests/model_zoo tests/test_config.py \
	tests/test_layering.py tests/test_packaging.py

.PHONY: install demo test test-fast test-wheel test-oldest test-newest test-slim soak audit \
	test-cuda benchmark-cuda wheels docs

install: $(STAMP)

$(STAMP): setup.py pyproject.toml Makefile ava_tools/install_detectron2.py $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "Python 3.10 to 3.13 is needed: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	if $(TAKES_CPU_BUILD); then \
		$(PIP) -m pip install --index-url $(CPU_INDEX) torch torchvision torchaudio; fi
	$(PIP) -m pip install $(TORCH) -e ".[test]"
	$(PIP) ava_tools/install_detectron2.py
	touch $(STAMP)

demo: install
	$(BIN)/python ava_tools/run_mini_demo.py

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST)

# Under a minute; for use while writing.
test-fast: install
	$(PYTEST) $(FAST)

# Builds the wheel, installs it into an empty environment, trains and scores there. Minutes.
test-wheel: install
	$(BIN)/python -m pytest -m wheel tests/test_packaging.py

# Proofs of docs/reliability.md: fuzzers, kills, flat memory. Under 40 minutes on two cores.
soak: install
	$(PYTEST) -m soak tests/robustness

# Needs a GPU; without one, all is skipped.
test-cuda: install
	$(BIN)/python -m pytest tests/test_cuda.py

# Table of training and testing on a GPU, for docs/performance.md. Minutes.
benchmark-cuda: install
	$(BIN)/python ava_tools/benchmark.py cuda --output benchmark_cuda.md

# For a GPU machine without a network: copy the repository with this folder, and there run
# .ci/run_on_gpu dist/wheels TABLE.md, which does what test-cuda and benchmark-cuda do.
wheels: install
	.ci/pack_wheels dist/wheels $(BIN)/python

# The lower bounds of pyproject.toml, and the newest releases of all, in environments of their own.
test-oldest:
	$(MAKE) install VENV=.venv-oldest CONSTRAINTS=.ci/oldest.txt
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest -n 2 --dist loadgroup

test-newest:
	rm -f .venv-newest/.installed
	$(MAKE) install VENV=.venv-newest TORCH="--upgrade --upgrade-strategy eager torch"
	OMP_NUM_THREADS=1 .venv-newest/bin/python -m pytest -n 2 --dist loadgroup

# Installation in a Debian system without libGL, git and compiler. Needs root and debootstrap.
test-slim:
	.ci/test_slim

# The pages as a website in build/site. Needs the network.
docs:
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet mkdocs-material
	rm -rf build/pages && mkdir -p build/pages/ava_tools
	cp -r README.md docs build/pages
	cp ava_tools/README.md build/pages/ava_tools
	.venv-docs/bin/mkdocs build --quiet --strict --config-file docs/mkdocs.yml

# Known vulnerabilities of the installed packages, and bandit on the code ([tool.bandit] explains
# the exceptions). Needs the network.
audit: install
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet pip-audit "bandit[toml]"
	.venv-audit/bin/bandit --quiet --configfile pyproject.toml --recursive avsf_det ava_tools \
		train_net.py setup.py
	$(BIN)/python .ci/audit.py .venv-audit/bin/pip-audit
