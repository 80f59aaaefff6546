# make serve   start the model server        make test   run all tests        make check   lint and types        make image   build the image        make sbom   list what is in it
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help serve test test-torch model check image sbom requirements clean

PYTHON ?= python3.12
TORCH_PYTHON ?= python3.11
VENV := .venv
TORCH := .venv-torch
DATA ?= ../shared/data
RUN := $(VENV)/bin/python

help:
	@sed -n '1p' Makefile | sed 's/^# //; s/        /\n/g'

# The server's packages, pinned and hashed.
$(VENV)/server: requirements.txt scripts/make_venv.sh
	@PYTHON="$(PYTHON)" scripts/make_venv.sh $(VENV) requirements.txt
	@touch $@

# The same, with what the tests and the checks need.
$(VENV)/dev: $(VENV)/server requirements-dev.txt
	@$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

serve: $(VENV)/server
	@$(RUN) -m scripts.serve

test: $(VENV)/dev
	$(RUN) -m pytest $(ARGS)

# Training and conversion: PyTorch in an environment of its own, on the CPU.
$(TORCH)/ready: training/requirements.txt
	@$(TORCH_PYTHON) -m venv --clear $(TORCH)
	@$(TORCH)/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
	@$(TORCH)/bin/pip install --quiet --disable-pip-version-check -r training/requirements.txt
	@touch $@

test-torch: $(TORCH)/ready
	$(TORCH)/bin/python -m pytest --noconftest tests/conversion $(ARGS)

# The default model from its checkpoint, compared with the shipped one.
model: $(VENV)/dev $(TORCH)/ready
	scripts/make_default.sh $(RUN) $(TORCH)/bin/python $(DATA)
	$(RUN) -m scripts.same_model build/default/int8 models/default

check: $(VENV)/dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

# With s2i, else with Docker; IMAGE=name:tag names it otherwise than deployment.yaml does.
image:
	@scripts/build_image.sh $(IMAGE)

# Bill of materials and the page of licences.
sbom: $(VENV)/dev
	$(RUN) -m scripts.sbom --output build/sbom.cdx.json --licences docs/licences.md

# Renew the pins from the .in files; needs uv.
requirements:
	uv pip compile --quiet --upgrade --generate-hashes --no-header --no-emit-index-url \
		--python-version 3.12 requirements.in -o requirements.txt
	uv pip compile --quiet --upgrade --generate-hashes --no-header --no-emit-index-url \
		--python-version 3.12 requirements-dev.in -o requirements-dev.txt

clean:
	rm -rf $(VENV) $(TORCH) build .pytest_cache .mypy_cache .ruff_cache .hypothesis
