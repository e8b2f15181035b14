# Everything here works from a bare checkout: each target installs what it needs first (.ci/setup), once.
#
#   make run             play: ARGS='--osc-port 9700' are arguments of `demond run`
#   make test            all tests; PYTEST='-k osc' narrows them down
#   make check           formatting, lint, types, import rules
#   make format          rewrite the sources the way `make check` wants them
#   make survival        the kill tests, each kill twenty times
#   make soak            a quarter of an hour of hostile use, watched for wear; ARGS='--minutes 240' for a night
#   make fuzz            100,000 malformed messages and mappings
#   make gate            judge the model inside by its gate, a quarter of an hour; ARGS='--requests 16' is quicker
#   make pictures        draw the spectrograms of docs/sounds.md anew
#   make bench-latency   what a knob costs; `bench-engine`: a tick; `bench-audio`: the audio process; `bench-control`: messages; `bench-inside`: the model inside;
#                        `bench-advise`: which depth suits; `bench-model`: predicted against measured. ARGS as for `demond bench`
#   make bench-quick     two minutes of the first two, into bench-reports/
#   make wheel           dist/demond-*.whl
#   make install         /opt/demond and the systemd units; see systemd/install
#   make clean           remove what the tests and builds left; `make distclean` also the environment

SHELL := /bin/bash
BIN := .venv/bin
SOURCES := demond engine tests
ARGS ?=
PYTEST ?=
# `make PYTHON=python3.12 run` makes the environment with that interpreter.
export PYTHON

# Tests and tools never start a JACK server by accident; idle OpenMP threads sleep instead of spinning.
export JACK_NO_START_SERVER := 1
export OMP_WAIT_POLICY := PASSIVE

BENCHES := $(addprefix bench-,latency engine control audio advise model inside)

.PHONY: run test gate pictures check check-format check-lint check-types check-imports format survival soak fuzz $(BENCHES) bench-quick wheel install clean distclean setup-run setup-test

setup-run setup-test: setup-%:
	@.ci/setup $*

run: setup-run
	@exec .ci/play $(ARGS)

test: setup-test
	@.ci/test $(PYTEST)

# `make -k check` goes on after the first that finds something.
check: check-format check-lint check-types check-imports

check-format: setup-test
	$(BIN)/ruff format --check --quiet $(SOURCES)

check-lint: setup-test
	$(BIN)/ruff check $(SOURCES)

check-types: setup-test
	$(BIN)/mypy

check-imports: setup-test
	$(BIN)/lint-imports

format: setup-test
	$(BIN)/ruff check --fix-only $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

survival: setup-test
	DEMOND_KILLS=20 $(BIN)/python -m pytest tests/e2e/test_survival.py $(PYTEST)

soak: setup-test
	$(BIN)/python -m tests.soak $(ARGS)

fuzz: setup-test
	$(BIN)/python -m tests.fuzz --count 100000 $(ARGS)

gate: setup-test
	$(BIN)/python -m engine.embedded.gate $(ARGS)

pictures: setup-test
	$(BIN)/python -m demond.render.pictures

$(BENCHES): bench-%: setup-test
	$(BIN)/demond bench $* $(ARGS)

bench-quick: setup-test
	$(BIN)/demond bench engine --depths 1,4 --contexts 4 --ticks 8 --output bench-reports $(ARGS)
	$(BIN)/demond bench latency --level engine --phases 8 --kinds shared,moving --output bench-reports $(ARGS)

wheel: setup-run
	$(BIN)/python -m pip wheel --disable-pip-version-check --no-deps --wheel-dir dist .

# DESTDIR= for packagers (then no system packages are installed and no user is made), PREFIX=/opt/demond, UNITDIR=/usr/lib/systemd/system
install:
	@[ -n "$(DESTDIR)" ] || .ci/setup system
	@systemd/install

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find $(SOURCES) -name __pycache__ -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv demond/_native*.so
