# Everything runs in .venv, which the first target that needs it makes. `make help` lists what there is.

# The interpreter that .venv is made of: the first of these that runs. Any from 3.11 on will do: make PYTHON=python3.12
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,\
            $(shell $(name) -c 'print("$(name)")' 2>/dev/null)))
# Another index for torch alone, for the build that fits the machine; empty: the build of pip's own index.
# A torch that is installed stays: make clean first.
TORCH_INDEX ?=
# Extras of pyproject.toml, with commas: make test EXTRAS=dev,openvino
EXTRAS ?= dev
# What `make search` runs, and further options for it: make search ARGS='--trials 8'
STUDY ?= studies/digits.toml
ARGS ?=

PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input -qq
INSTALLED := .venv/.installed-$(EXTRAS)

.DEFAULT_GOAL := help
.PHONY: search test test-systems soak bench bench-search gpu-check check docs clean help

search: $(INSTALLED) ## the main job: search STUDY (studies/digits.toml), or go on with it where it was stopped
	@start=$$(date +%s); code=0; .venv/bin/hwnas search $(STUDY) --resume $(ARGS) || code=$$?; \
	echo "search: $$(( $$(date +%s) - start )) s"; exit $$code

test: $(INSTALLED) ## tests that any machine can run: no root; some 20 minutes on 2 cores
	@$(PY) -m pytest -n 4 --dist worksteal --durations 8

test-systems: $(INSTALLED) ## tests against real installs and servers; they may need root and Debian packages
	@$(PY) -m pytest -m "systems and not soak" -v --timeout 600 -n 2 --dist loadfile --durations 8

soak: $(INSTALLED) ## the long forms of the tests
	@$(PY) -m pytest -m soak -v --timeout 0

bench: $(INSTALLED) ## measure hwnas itself, hours at first; appends to what was measured before and goes on from there
	@$(PY) -m benchmarks.bench

bench-search: ## search quality on exact tables, hwnas beside others; goes on where it stopped, hours at first
	@$(MAKE) --no-print-directory EXTRAS=dev,bench .venv/.installed-dev,bench
	@OMP_NUM_THREADS=1 $(PY) -m benchmarks.bench search

gpu-check: $(INSTALLED) ## every GPU engine on two models, to docs/results-gpu.md; EXTRAS=dev,cuda,tensorrt brings them
	@$(PY) -m benchmarks.gpu_check $(ARGS)

check: $(INSTALLED) ## linter, format, types, layers and house rules
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check
	@$(PY) -m mypy
	@$(PY) -m pytest -q tests/test_layers.py tests/test_house.py

docs: $(INSTALLED) ## docs/commands.md from the command line's own help, then all of docs/ as a site in site/
	@.venv/bin/typer benchmarks.cli utils docs --name hwnas --title Commands --output docs/commands.md
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --quiet && echo "docs: site/index.html"

clean: ## remove .venv, caches and builds; runs/ and hwnas.db stay
	@rm -rf .venv build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 15

# torch first and by itself, so that no later package can pull another build; the second pip brings what torch needs.
# -qq: pip's warnings about its own configuration say nothing about hwnas. Errors are still printed.
$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python found; hwnas needs 3.11 or later: make PYTHON=/path/to/python3.11" >&2; exit 3; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	echo "$(PYTHON) is $$($(PYTHON) -V 2>&1); hwnas needs 3.11 or later: make PYTHON=/path/to/python3.11" >&2; exit 3; }
	@start=$$(date +%s); set -e; \
	echo "installing into .venv; the first time takes some minutes"; \
	test -x $(PY) || $(PYTHON) -m venv .venv; \
	$(PIP) install --no-deps $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $$(grep '^torch==' constraints.txt); \
	$(PIP) install -c constraints.txt -e '.[$(EXTRAS)]'; \
	case ',$(EXTRAS),' in *,cuda,*) \
	  $(PIP) uninstall -y onnxruntime; \
	  $(PIP) install -c constraints.txt --force-reinstall --no-deps onnxruntime-gpu;; \
	esac; \
	touch $@; echo "install: $$(( $$(date +%s) - start )) s"
