# make serve   start the model server        make test   run all tests        make check   lint and types        make ab   rehearse an A/B test
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help serve test check ab requirements clean

PYTHON ?= python3.12
VENV := .venv
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

check: $(VENV)/dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

# The A/B test of deploy/ab-test.yaml on this machine, in about a minute.
ab: $(VENV)/dev
	@$(RUN) -m ab rehearse $(ARGS)

# Renew the pins from the .in files; needs uv.
requirements:
	uv pip compile --quiet --upgrade --generate-hashes --no-header --no-emit-index-url \
		--python-version 3.12 requirements.in -o requirements.txt
	uv pip compile --quiet --upgrade --generate-hashes --no-header --no-emit-index-url \
		--python-version 3.12 requirements-dev.in -o requirements-dev.txt
	for name in lexicon linear; do (cd baselines/$$name && \
		uv pip compile --quiet --upgrade --generate-hashes --no-header --no-emit-index-url \
		--python-version 3.12 requirements.in -o requirements.txt); done

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis
