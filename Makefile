# `make run` and `make test` each work as the first and only command after a clone: Python >= 3.11 and git is all they need.
# PYTHON=/path/to/python chooses another interpreter; ARGS='...' is passed on to pytest or the launcher.

PORT ?= 8000
PYTHON ?=
ARGS ?=
ROUNDS ?= 200
SEED ?=

.DEFAULT_GOAL := help
.PHONY: help run demo test coverage test-other-pythons bench bench-fleet bench-serving bench-memory soak model lint format clean

help:
	@echo 'make run                 the FastAPI example on http://127.0.0.1:8000 (PORT=...)'
	@echo 'make demo                twenty launchers, a kill -9, one migration; and the usual script beside it'
	@echo 'make test                all tests (ARGS="-k words")'
	@echo 'make coverage            unit, contract and process tests, measured through subprocess, exec and fork'
	@echo 'make test-other-pythons  the tests on the other Pythons of this machine'
	@echo 'make bench               the benchmarks: start-up time against a shell script'
	@echo 'make bench-fleet         fifty launchers at once on PostgreSQL (some ten minutes)'
	@echo 'make bench-serving       CPU per request and memory against the bare servers (some ten minutes)'
	@echo 'make bench-memory        how fast a pool grows, and how many workers fit into 1 GiB (some six minutes, as root)'
	@echo 'make soak                a fleet under kills, partitions and restarts (ROUNDS=200 SEED=..., as root)'
	@echo 'make model               every state of the lock protocol, and its mutants (ARGS=--quick)'
	@echo 'make lint                ruff, mypy, import contracts'
	@echo 'make format              let ruff rewrite what it can'
	@echo 'make clean               remove the environments and everything a tool left'

# A stamp inside the environment: it goes when the environment goes.
.venv/.made: pyproject.toml .ci/make-environment $(wildcard plugins/*/pyproject.toml)
	@PYTHON='$(PYTHON)' .ci/make-environment .venv

run: .venv/.made
	cd examples/fastapi-alembic && exec env PATH="$(CURDIR)/.venv/bin:$$PATH" PORT='$(PORT)' launcher run --yes $(ARGS)

demo: .venv/.made
	@.venv/bin/python examples/demo/demo.py $(ARGS)

test: .venv/.made
	@.ci/install-debian-packages
	@.ci/build-drivers
	@.ci/test $(ARGS)

coverage: .venv/.made
	@.ci/install-debian-packages
	@.ci/build-drivers
	@.ci/test-with-coverage $(ARGS)

test-other-pythons: .venv/.made
	@.ci/install-debian-packages
	@.ci/test-other-pythons $(ARGS)

bench: .venv/.made
	.venv/bin/python tests/benchmarks/bench_start.py $(ARGS)
	.venv/bin/python tests/benchmarks/bench_cli.py

bench-fleet: .venv/.made
	@.ci/install-debian-packages
	.venv/bin/python tests/benchmarks/bench_fleet.py $(ARGS)

bench-serving: .venv/.made
	@.ci/install-debian-packages wrk util-linux
	.venv/bin/python tests/benchmarks/bench_serving.py $(ARGS)

bench-memory: .venv/.made
	.venv/bin/python tests/benchmarks/bench_ramp.py $(ARGS)
	.venv/bin/python tests/benchmarks/bench_density.py

soak: .venv/.made
	@.ci/install-debian-packages
	.venv/bin/python tests/soak/soak.py --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED)) $(ARGS)

model: .venv/.made
	@.ci/install-debian-packages spin gcc libc6-dev
	@.venv/bin/python docs/model/check.py $(ARGS)

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
