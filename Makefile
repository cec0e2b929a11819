.DEFAULT_GOAL := help
.PHONY: help setup run test lab refresh figures stop

PYTHON ?= python3 python3.14 python3.13 python3.12
VENV := .venv
export PYTHONPATH := notebooks
# The workbook's own kernel before any that the user has installed.
export JUPYTER_PREFER_ENV_PATH := 1

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo 'SCALE=small|medium|large sets the row counts, DATABASE_URL=postgresql://… the server.'

setup: $(VENV)/ready ## Make the virtual environment and install the pinned requirements

$(VENV)/ready: requirements.txt
	@for python in $(PYTHON); do \
		if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then \
			echo "Installing the requirements into $(VENV) (once, about a minute)"; \
			"$$python" -m venv --clear $(VENV) \
				&& $(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements.txt \
				&& touch $@ && exit 0; \
			exit 1; \
		fi; \
	done; \
	echo "The workbook needs Python 3.12 or newer: install it, or say where it is with make PYTHON=/path/to/python3.12." >&2; \
	exit 1

run: setup ## Run every notebook on fresh databases and write the HTML report to build/html
	@$(VENV)/bin/python -m workbook run

test: setup ## Run all tests: the notebooks against their stored outputs, and the package
	@$(VENV)/bin/pytest

lab: setup ## Open JupyterLab on the start notebook
	@$(VENV)/bin/python -m workbook lab

refresh: setup ## Run the notebooks in place, so that their stored outputs are current
	@$(VENV)/bin/python -m workbook refresh

figures: setup ## Measure the README's figures and write them there (a few minutes)
	@$(VENV)/bin/python -m workbook figures

stop: ## Stop the embedded server
	@if [ -e $(VENV)/ready ]; then $(VENV)/bin/python -m workbook stop; else echo "Nothing is installed yet, so nothing runs."; fi
