SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help serve serve-oip test test-oip test-all test-spark test-without-vnni test-torch check ab model image manifests sbom requirements clean

PYTHON ?= python3.12
TORCH_PYTHON ?= python3.11
VENV := .venv
OIP := .venv-oip
KSERVE := .venv-kserve
TORCH := .venv-torch
DATA ?= ../shared/data
RUN := $(VENV)/bin/python

help:
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' Makefile | expand -t 20

# The server's packages, pinned and hashed.
$(VENV)/server: requirements.txt scripts/make_venv.sh
	@PYTHON="$(PYTHON)" scripts/make_venv.sh $(VENV) requirements.txt
	@touch $@

# The same, with what the tests and the checks need; the user of a rehearsed pod has to read it, too.
$(VENV)/dev: $(VENV)/server requirements-dev.txt
	@umask 022; $(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

serve: $(VENV)/server  ## start the model server
	@$(RUN) -m scripts.serve

# MLServer in an environment of its own, without the wrapper and its licence.
$(OIP)/server: requirements-oip.txt scripts/make_venv.sh
	@PYTHON="$(PYTHON)" scripts/make_venv.sh $(OIP) requirements-oip.txt
	@touch $@

$(OIP)/dev: $(OIP)/server requirements-oip-dev.txt
	@umask 022; $(OIP)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-oip-dev.txt
	@touch $@

# KServe's client, which needs a later FastAPI than MLServer, for one of its tests.
$(KSERVE)/ready: tests/oip_node/kserve.txt scripts/make_venv.sh
	@PYTHON="$(PYTHON)" scripts/make_venv.sh $(KSERVE) tests/oip_node/kserve.txt
	@touch $@

serve-oip: $(OIP)/server  ## start the model server of the Open Inference Protocol
	@$(OIP)/bin/python -m scripts.serve oip

PYTEST := $(RUN) -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile

test: $(VENV)/dev  ## run the tests, but for those that take long
	$(PYTEST) -m "not long" $(ARGS)

test-all: $(VENV)/dev  ## run all tests
	$(PYTEST) $(ARGS)

test-oip: $(OIP)/dev  ## run the tests of the Open Inference Protocol, in its environment
	$(OIP)/bin/python -m pytest --confcutdir=tests/oip_node tests/oip_node $(ARGS)

# Training and conversion: PyTorch in an environment of its own, on the CPU.
# The build of torch for CPUs where it is offered, else the index's, which pins the GPU libraries that it needs.
$(TORCH)/ready: lab/training/requirements.txt lab/training/torch.txt lab/training/torch-cpu.txt
	@$(TORCH_PYTHON) -m venv --clear $(TORCH)
	@$(TORCH)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r lab/training/requirements.txt
	@$(TORCH)/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
		-r lab/training/torch-cpu.txt 2>/dev/null || \
		$(TORCH)/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r lab/training/torch.txt
	@$(TORCH)/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
	@touch $@

# Spark comes from PyPI, its JVM from the system.
$(VENV)/spark: $(VENV)/dev requirements-spark.txt
	@umask 022; $(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-spark.txt
	@touch $@

test-spark: $(VENV)/spark  ## run the tests that start Spark's executors; need Java
	$(RUN) -m pytest tests/spark $(ARGS)

# CPUID is made to fault and answered as by a CPU with AVX2 only; pytest's own handler of faults would get in the way.
test-without-vnni: $(VENV)/dev  ## run the classifier's tests as if the CPU had no VNNI
	@mkdir -p build
	cc -O2 -shared -fPIC -o build/without_vnni.so lab/benchmarks/without_vnni.c
	LD_PRELOAD=$(CURDIR)/build/without_vnni.so $(PYTEST) -p no:faulthandler tests/roberta_sentiment -m "not long" $(ARGS)

test-torch: $(TORCH)/ready  ## run the tests that need PyTorch, in an environment of its own
	$(TORCH)/bin/python -m pytest --noconftest tests/conversion tests/lab/training $(ARGS)

model: $(VENV)/dev $(TORCH)/ready  ## make the default model from its checkpoint
	lab/make_default.sh $(RUN) $(TORCH)/bin/python $(DATA) $(CHECKPOINT)
	$(RUN) -m lab.same_model build/default/int8 models/default

check: $(VENV)/dev  ## lint and types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

# With s2i, else with Docker; IMAGE=name:tag names it otherwise than deployment.yaml does.
image:  ## build the image with s2i or Docker
	@scripts/build_image.sh $(IMAGE)

sbom: $(VENV)/dev  ## bill of materials and the page of licences
	$(RUN) -m scripts.sbom --output build/sbom.cdx.json --licences docs/licences.md
	$(RUN) -m scripts.sbom --requirements requirements-serving.txt --output build/sbom-serving.cdx.json

manifests: $(VENV)/dev  ## render deploy/*.yaml from base and overlays; needs kubectl
	@$(RUN) -m scripts.manifests

# The A/B test of deploy/ab-test.yaml on this machine, in about a minute. make itself ends with 0 or 2: a pipeline runs the
# command that it shows.
ab: $(VENV)/dev  ## rehearse the A/B test of deploy/ab-test.yaml
	$(RUN) -m rehearsal $(ARGS)

# transformers is for models without tokenizer.json, and the hub's client for downloads; Spark's executors do without, too.
NOT_SERVING := transformers huggingface-hub
# Its releases follow those of onnxruntime by some weeks.
ONNXRUNTIME_GPU := onnxruntime-gpu[cuda,cudnn]==1.31.1

requirements:  ## renew the pins from the .in files; needs uv
	uv pip compile --quiet --upgrade --generate-hashes --no-header --no-emit-index-url \
		--python-version 3.12 requirements.in -o requirements.txt
	uv pip compile --quiet --generate-hashes --no-header --no-emit-index-url \
		--excludes <(printf '%s\n' $(NOT_SERVING)) --constraints requirements.txt \
		--python-version 3.12 requirements.in -o requirements-serving.txt
	sed 's/^onnxruntime==.*/$(ONNXRUNTIME_GPU)/' requirements.in | uv pip compile --quiet --generate-hashes \
		--no-header --no-emit-index-url --excludes <(printf '%s\n' $(NOT_SERVING)) --constraints requirements.txt \
		--python-version 3.12 - -o requirements-gpu.txt
	uv pip compile --quiet --upgrade --generate-hashes --no-header --no-emit-index-url \
		--python-version 3.12 requirements-dev.in -o requirements-dev.txt
	uv pip compile --quiet --generate-hashes --no-header --no-emit-index-url \
		--excludes <(printf '%s\n' $(NOT_SERVING)) --python-version 3.12 requirements-spark.in -o requirements-spark.txt
	for name in requirements-oip requirements-oip-dev tests/oip_node/kserve; do uv pip compile --quiet --upgrade --generate-hashes \
		--no-header --no-emit-index-url --python-version 3.12 $$name.in -o $$name.txt; done
	cd lab/training && uv pip compile --quiet --upgrade --generate-hashes --no-header --no-emit-index-url \
		--python-version 3.11 requirements.in -o requirements.txt
	cd lab/benchmarks/contenders && uv pip compile --quiet --upgrade --generate-hashes --no-header --no-emit-index-url \
		--python-version 3.11 mlserver.in -o mlserver.txt
	for name in lexicon linear; do (cd baselines/$$name && \
		uv pip compile --quiet --upgrade --generate-hashes --no-header --no-emit-index-url \
		--python-version 3.12 requirements.in -o requirements.txt); done

clean:  ## remove what make has made
	rm -rf $(VENV) $(OIP) $(KSERVE) $(TORCH) build .pytest_cache .mypy_cache .ruff_cache .hypothesis
