# Two commands: `make run` starts a gateway to try, `make test` runs all tests. PYTHON=python3.12 picks another Python.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONFIG ?= gateway.toml
PYTEST_ARGS ?=
ROUNDS ?= 30
SOAK := crash kills postgresql standby standstill
UV ?= uv
UV_COMPILE := $(UV) pip compile --quiet --generate-hashes --universal --python-version 3.11 --custom-compile-command "make requirements"

# Twice quiet: errors only, not what pip thinks of the indexes it was told of.
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet
# Folders as well, so that a module deleted counts as a change.
SOURCES := $(shell find gateway twisted -name __pycache__ -prune -o \( -name '*.py' -o -type d \) -print) setup.cfg pyproject.toml $(wildcard README.md)

.PHONY: run drivers test soak bench bench-quick lint format requirements clean
.DELETE_ON_ERROR:

run: $(VENV)/package.done
	@test -e $(CONFIG) || $(BIN)/smtp-gateway --config $(CONFIG) init
	@exec $(BIN)/twistd -n --pidfile= smtp-gateway --config $(CONFIG) --card

# The drivers of PostgreSQL and MySQL, into .venv: pinned with hashes, as everything else.
drivers: $(VENV)/runtime.done
	@$(PIP) install --require-hashes --only-binary :all: --requirement requirements-drivers.txt

# Unit tests import the checkout; the processes that acceptance tests start run the wheel, from another directory.
test: $(VENV)/dev.done $(VENV)/package.done
	@$(BIN)/python -m pytest --numprocesses 2 --dist worksteal $(PYTEST_ARGS)

# The long form of the kill loop: rounds of kill -9 under load, of gateways, workers, next hop and store, each with every accepted
# message accounted for. GATEWAY_SOAK_SEED=... brings a seed back that an earlier run has printed.
soak: $(VENV)/dev.done $(VENV)/package.done
	@GATEWAY_SOAK_ROUNDS=$(ROUNDS) $(BIN)/python -m pytest --capture=no $(SOAK:%=tests/acceptance/test_%.py) $(PYTEST_ARGS)

# Beside Postfix with Dovecot, as root, on a machine that does nothing else; half an hour. ROWS=A,B picks rows, WORKERS=1 is the
# gateway's server.workers. A complete run writes benchmarks/results/ and the table of README.md. See benchmarks/README.md.
bench: $(VENV)/bench.done $(VENV)/package.done
	@$(BIN)/python -m benchmarks

# Two minutes of it, for a first impression: few runs, and nothing is written.
bench-quick: $(VENV)/bench.done $(VENV)/package.done
	@$(BIN)/python -m benchmarks --quick

lint: $(VENV)/dev.done
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

format: $(VENV)/dev.done
	@$(BIN)/ruff check --fix --exit-zero
	@$(BIN)/ruff format

# Pins the newest versions that setup.cfg allows; UV=... names the program.
requirements:
	@$(UV_COMPILE) --upgrade requirements.in --output-file requirements.txt
	@$(UV_COMPILE) --upgrade requirements-drivers.in --output-file requirements-drivers.txt
	@$(UV_COMPILE) --upgrade requirements-dev.in --output-file requirements-dev.txt
	@$(UV_COMPILE) --upgrade requirements-bench.in --output-file requirements-bench.txt

clean:
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/venv.done:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "make: '$(PYTHON)' is not Python 3.11 or later: apt-get install python3, or PYTHON=python3.12 make ..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "make: '$(PYTHON)' has no venv or ensurepip: apt-get install python3-venv" >&2; exit 1; }
	@echo "Making $(VENV); this happens once"
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/runtime.done: $(VENV)/venv.done requirements.txt
	@$(PIP) install --require-hashes --only-binary :all: --requirement requirements.txt
	@touch $@

$(VENV)/dev.done: $(VENV)/runtime.done requirements-dev.txt
	@$(PIP) install --require-hashes --only-binary :all: --requirement requirements-dev.txt
	@touch $@

$(VENV)/bench.done: $(VENV)/dev.done requirements-bench.txt
	@$(PIP) install --require-hashes --only-binary :all: --requirement requirements-bench.txt
	@touch $@

# build/ goes first: a module deleted since would live on in it, and in the wheel. The last command writes Twisted's plugin
# cache as the installing user, who may be the only one that can.
$(VENV)/package.done: $(VENV)/runtime.done $(SOURCES)
	@rm -rf build dist
	@$(PIP) wheel --no-index --no-deps --no-build-isolation --wheel-dir dist .
	@rm -rf build *.egg-info
	@$(PIP) install --no-index --no-deps --force-reinstall dist/account_smtp_gateway-*.whl
	@cd $(VENV) && bin/python -c 'from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))'
	@touch $@
