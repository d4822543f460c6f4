# make demo: set up, generate Mini-AVA, train, evaluate, draw.   make test: lint and tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# These three belong together, and torchaudio's releases end with 2.11
# (https://github.com/pytorch/audio/issues/3902). Others: make install TORCH="torch torchvision ..."
TORCH ?= "torch==2.11.*" "torchvision==0.26.*" "torchaudio==2.11.*"

.PHONY: install demo test

install: $(STAMP)

$(STAMP): setup.py Makefile ava_tools/install_detectron2.py
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "Python 3.10 to 3.13 is needed: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install $(TORCH)
	$(BIN)/pip install -e ".[test]"
	$(BIN)/python ava_tools/install_detectron2.py
	@# Slim images have no libGL.so.1, without which only the headless build of OpenCV imports.
	$(BIN)/python -c 'import cv2' || { $(BIN)/pip uninstall -y opencv-python && \
		$(BIN)/pip install opencv-python-headless && $(BIN)/python -c 'import cv2'; }
	touch $(STAMP)

demo: install
	$(BIN)/python ava_tools/run_mini_demo.py

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup
