# make run     sets up everything and runs the main job: the realms example, with a real kill in the middle
# make test    sets up everything, also a redis-server, and runs the tests
# make test-docker   the same against the servers of docker-compose.test.yml, which it starts and removes
# make check   ruff, mypy, pyright, import-linter
# make docs    the documentation as a site, in build/docs/index.html
# make stress  the full counts (at most an hour on two cores; STRESS=n scales them)
# make mutants  whether the tests that a promise names fail where it does not hold (8 minutes)
# make bench   ours and its rivals, compared in the same run
# make profile where the microseconds of one execution go
# make curves  how cost grows with callers, sessions, tenants, payload, steps, history
# make budget  the rows of the budget that have no rival: start, recovery, a million stored, queries, two cores
# make soak    whether memory stays flat over two million executions on each store
# make bench-ours   ours alone, over stores, callers, steps and event loops

SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
STRESS ?= 1
# more than two cores: a third of the time tests wait for servers, disks and processes
WORKERS ?= 3
# prints what tests tell of themselves, which are the numbers of each run
FULL = STRESS=$(STRESS) $(BIN)/pytest -q -rP --show-capture=stdout -p no:cacheprovider -o timeout=0
# tests start hundreds of processes, which should not compile our modules each time
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run test test-docker redis check docs stress mutants bench bench-ours curves budget soak profile lock clean

run: $(READY)
	$(BIN)/intendant demo

test: $(READY) redis
	$(BIN)/pytest -q -n $(WORKERS) --dist worksteal $(ARGS)

test-docker: $(READY) redis
	docker compose --file docker-compose.test.yml up --detach --wait
	INTENDANT_TEST_DOCKER=1 $(BIN)/pytest -q -n $(WORKERS) --dist worksteal $(ARGS); status=$$?; \
		docker compose --file docker-compose.test.yml down --volumes; exit $$status

# tests kill servers of their own: a server elsewhere does not replace this one
redis:
	@command -v redis-server >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
		&& apt-get update -qq && apt-get install -y -qq redis-server >/dev/null; } \
		|| { echo "redis-server is missing; on Debian: apt-get install redis-server"; exit 1; }

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/pyright --project pyproject.toml --pythonpath $(BIN)/python

docs: $(VENV)/.docs
	$(BIN)/sphinx-build -q -E -W --keep-going -c docs . build/docs
	@echo "build/docs/index.html"

# 5: of what ARGS says none is such a test
stress: $(READY) redis
	$(FULL) -n $(WORKERS) --dist worksteal -m "(stress or scaled) and not alone" $(ARGS); beside=$$?; \
		$(FULL) -m "(stress or scaled) and alone" $(ARGS); alone=$$?; \
		case "$$beside $$alone" in "0 0"|"0 5"|"5 0") ;; *) exit 1 ;; esac

mutants: $(READY) redis
	$(BIN)/python -m tests.mutants $(ARGS)

bench: $(READY) redis
	$(BIN)/python -m benchmarks.comparison $(ARGS)

profile: $(READY)
	$(BIN)/python -m benchmarks.costs $(ARGS)

curves: $(READY) redis
	$(BIN)/python -m benchmarks.curves $(ARGS)

budget: $(READY) redis
	$(BIN)/python -m benchmarks.budget $(ARGS)

soak: $(READY) redis
	$(BIN)/python -m benchmarks.soak $(ARGS)

bench-ours: $(READY) redis
	$(BIN)/python -m benchmarks.throughput $(ARGS)

# the versions that developers and CI get; users get the ranges of pyproject.toml
lock:
	$(BIN)/pip install -q uv
	$(BIN)/uv pip compile --universal --python-version 3.11 --extra dev --no-emit-index-url --no-header -o requirements-dev.lock pyproject.toml
	$(BIN)/uv pip compile --universal --python-version 3.11 --extra docs --no-emit-index-url --no-header -c requirements-dev.lock -o requirements-docs.lock pyproject.toml

$(READY): pyproject.toml requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Intendant needs Python 3.11 or newer; say PYTHON=python3.12 make ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing; on Debian: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }
	@echo "installing into $(VENV) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements-dev.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.docs: $(READY) requirements-docs.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements-docs.lock
	@touch $@

clean:
	rm -rf $(VENV) .bench build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
