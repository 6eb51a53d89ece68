# `make run` trains, scores and samples the quickstart model; `make test` checks the project.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN := runs/quickstart

.PHONY: install run test pytest test-slow bench lint types lock clean

install: $(VENV)/installed

run: $(VENV)/installed
	$(BIN)/rnnlm train --config=configs/quickstart.py --workdir=$(RUN)
	$(BIN)/rnnlm eval --workdir=$(RUN) --split=test --compressors
	@echo; echo "once more on the first 100,000 bytes, where the model goes on learning while it reads:"
	$(BIN)/rnnlm eval --workdir=$(RUN) --split=test --symbols_to=100000 --compressors \
	  --dynamic=rms --learning_rate=1.6e-4 --decay=2e-3
	@echo; echo "and what it writes:"
	$(BIN)/rnnlm sample --workdir=$(RUN) --prompt='class Parser:\n    def parse(self, text):\n        ' \
	  --length=450 --temperature=0.7 --top_p=0.9 --seed=0
	@echo "run folder: $(RUN)   (tensorboard --logdir $(RUN))"

test: lint types pytest

pytest: $(VENV)/installed
	$(BIN)/pytest

# Run the tests that take minutes.
test-slow: $(VENV)/installed
	$(BIN)/pytest -m slow

# Compare speed and memory with PyTorch and flax; WHAT=train,sample,compile,memory,read,quality selects benchmarks. With
# AGAINST=DIR compare the speed with another checkout of rnnlm, such as an older commit; WHAT=train,sample,compile,read.
WHAT ?=
AGAINST ?=
bench: $(if $(AGAINST),$(VENV)/installed,$(VENV)/bench)
	$(BIN)/python benchmarks/run.py $(if $(WHAT),--what=$(WHAT)) $(if $(AGAINST),--against=$(AGAINST))

# Install PyTorch, which the lock file lacks, in the version of the published measurements.
$(VENV)/bench: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation \
	  --config-settings editable_mode=compat --editable '.[bench]'
	touch $@

lint: $(VENV)/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/installed
	$(BIN)/mypy

# Install exactly the packages of requirements.lock for this Python, with their hashes checked, and this project in
# editable form. Give another Python its own environment: make pytest VENV=.venv-3.12 PYTHON=python3.12
$(VENV)/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps \
	  --config-settings editable_mode=compat --editable .
	touch $@

# Resolve the versions of all packages again, for every Python that pyproject.toml allows. Needs uv.
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml
lock:
	$(LOCK) --extra dev --output-file requirements.lock
	$(LOCK) --extra cuda --output-file requirements-cuda.lock
	$(LOCK) --extra tpu --output-file requirements-tpu.lock

clean:
	rm -rf $(VENV)
