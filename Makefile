# make demo: the whole product on sample data.  make test: every test.  Nothing else is needed
# beforehand but Python 3.11 or later and make.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test pytest install lint soak bench model lock clean
.DEFAULT_GOAL := demo

demo: install
	$(BIN)/mirante demo

# Side by side: what is linted takes one processor alone.
test: install
	@$(MAKE) --no-print-directory --jobs 2 lint pytest

pytest: install
	$(BIN)/pytest -m "not soak" --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

install: .venv/.installed

# The lock names versions and hashes; whatever index pip is set up with serves them. Python compiles what
# it imports by itself: compiling all of it takes longer than all else (98 s in place of 43).
.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'Python 3.11 or later is needed: make PYTHON=python3.11 …'; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo 'installing into .venv (about 1 GB, once) …'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# SQL is linted by a test: the dbt templater wants a database.
lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(if $(CI),--cache-dir=/dev/null)
	$(BIN)/bandit -q -c pyproject.toml --severity-level medium -r ai_enrich dashboard extract warehouse
	$(BIN)/python -m pip check --disable-pip-version-check

soak: install
	$(BIN)/pytest -m soak --timeout 7200

bench: install
	$(BIN)/python -m benchmarks.pipeline
	$(BIN)/python -m benchmarks.extract
	$(BIN)/python -m benchmarks.isolation

# The local provider's weights, from ai_enrich/data (minutes; the same each time).
model: install
	$(BIN)/python -m ai_enrich.train

# Needs uv (pip install uv).
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-header --no-strip-extras --group dev pyproject.toml --output-file requirements.lock

clean:
	rm -rf .venv .mirante target logs
