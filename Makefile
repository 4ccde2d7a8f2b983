# `make help` lists every chore. Each makes .venv by itself when it is first needed.

PYTHON ?= python3
ARGS ?=
export PYTHON
# Where it is set, each of the thousands of processes that the tests start compiles all it imports.
unexport PYTHONDONTWRITEBYTECODE
# Most tests wait for processes most of the time. (ARGS=-n0: one after the other)
SIDE_BY_SIDE = -n auto --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help demo test test-quick soak check format docs bench bench-scale bench-pool bench-web bench-load clean

help:  ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.has-demo  ## See it work on real input, about a minute (ARGS=--serve: in the browser)
	@.venv/bin/python -m treadle_demo $(ARGS)

test: .venv/.has-test  ## All tests; where Python 3.13 is there, on it too: newest Django, CPython's own
	@scripts/fetch-suites .venv/bin/python
	@scripts/test-newest
	@.venv/bin/python -m pytest $(SIDE_BY_SIDE) $(ARGS)

test-quick: .venv/.has-test  ## The tests that start no servers
	@.venv/bin/python -m pytest $(SIDE_BY_SIDE) --ignore=tests/end_to_end --ignore=tests/treadle_demo $(ARGS)

soak: .venv/.has-test  ## The tests of deaths, leaks and faults for much longer
	@TREADLE_SOAK=1 .venv/bin/python -m pytest -o faulthandler_timeout=3600 tests/treadle/pools/processes/test_deaths.py \
	  tests/treadle/pools/processes/test_owner.py tests/treadle/pools/processes/test_leaks.py \
	  tests/treadle/testing/test_store_machine.py tests/end_to_end/faults $(ARGS)

check: .venv/.has-check  ## Lint, format, types and the layers of imports
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-logo

format: .venv/.has-check  ## Put the code into its form
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

docs: .venv/.has-docs  ## The documentation as HTML, in docs/_build; a warning is an error
	@.venv/bin/sphinx-build -q -W --keep-going -b html docs docs/_build

bench: .venv/.has-bench  ## Speed of the queue beside its peers, in one run (ARGS=--quick: in a minute)
	@.venv/bin/python benchmarks/queue.py $(ARGS)

bench-scale: .venv/.has-bench  ## Speed and size of the stores with up to a million jobs (ARGS=--quick: in a minute)
	@.venv/bin/python benchmarks/scale.py $(ARGS)

bench-pool: .venv/.has-bench  ## Speed of the process pool beside its peers (ARGS=--quick: in a minute)
	@.venv/bin/python benchmarks/pool.py $(ARGS)

bench-web: .venv/.has-bench  ## What a web process feels while its pool computes (ARGS=--quick: in a minute)
	@.venv/bin/python benchmarks/web_latency.py $(ARGS)

bench-load: .venv/.has-bench  ## A site whose visitors follow jobs while every core computes (ARGS=--quick: in a minute)
	@.venv/bin/python benchmarks/web_load.py $(ARGS)

clean:  ## Remove what the other chores made
	@rm -rf .venv .venv-3.13 .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist build docs/_build

.venv/.has-%: pyproject.toml scripts/install
	@scripts/install $*
