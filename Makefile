# `make run` and `make test` each work as the first and only command after a clone: Python >= 3.11 and git is all they need.
# PYTHON=/path/to/python chooses another interpreter; ARGS='...' is passed on to pytest or the launcher.

PORT ?= 8000
PYTHON ?=
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run test test-other-pythons bench lint format clean

help:
	@echo 'make run                 the FastAPI example on http://127.0.0.1:8000 (PORT=...)'
	@echo 'make test                all tests, with coverage (ARGS="-k words")'
	@echo 'make test-other-pythons  the tests on the other Pythons of this machine'
	@echo 'make bench               the benchmarks: start-up time against a shell script'
	@echo 'make lint                ruff, mypy, import contracts'
	@echo 'make format              let ruff rewrite what it can'
	@echo 'make clean               remove the environments and everything a tool left'

# A stamp inside the environment: it goes when the environment goes.
.venv/.made: pyproject.toml .ci/make-environment $(wildcard plugins/*/pyproject.toml)
	@PYTHON='$(PYTHON)' .ci/make-environment .venv

run: .venv/.made
	cd examples/fastapi-alembic && exec env PATH="$(CURDIR)/.venv/bin:$$PATH" PORT='$(PORT)' launcher run --yes $(ARGS)

test: .venv/.made
	@.ci/install-debian-packages
	@.ci/test-with-coverage $(ARGS)

test-other-pythons: .venv/.made
	@.ci/install-debian-packages
	@.ci/test-other-pythons $(ARGS)

bench: .venv/.made
	.venv/bin/python tests/benchmarks/bench_start.py $(ARGS)
	.venv/bin/python tests/benchmarks/bench_cli.py

lint: .venv/.made
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.ci/check-types
	PYTHONPATH=.ci .venv/bin/lint-imports

format: .venv/.made
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

clean:
	rm -rf .venv .venv-* .coverage .coverage.* htmlcov dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
