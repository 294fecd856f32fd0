# Every target sets up what it needs in .venv; PYTHON names the interpreter that makes it.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
EXPERIMENT ?= quickstart
STORE ?= runs
# For all four stages, such as OPTIONS='--set search.trials=9'.
OPTIONS ?=

# Production trainers that install from PyPI: tests/hosts has the requirement and the tests of each.
HOSTS := transformers lightning litgpt torchtitan deepspeed olmo-core

.PHONY: setup demo test slow hosts lint types clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(READY)

# The whole way on real text: search of AdamW and Shampoo, prediction, proof at a held-out width, one page.
demo: $(READY)
	$(BIN)/hptransfer search --experiment $(EXPERIMENT) --store $(STORE) $(OPTIONS)
	$(BIN)/hptransfer transfer --experiment $(EXPERIMENT) --store $(STORE) $(OPTIONS) || [ $$? -eq 1 ]  # 1: a refusal, which the page shows
	$(BIN)/hptransfer validate --experiment $(EXPERIMENT) --store $(STORE) $(OPTIONS)
	$(BIN)/hptransfer report --experiment $(EXPERIMENT) --store $(STORE) $(OPTIONS)

# One thread for every library: two test processes, and what Ray starts, share the cores.
test slow hosts: export OMP_NUM_THREADS := 1
test slow hosts: export OPENBLAS_NUM_THREADS := 1
test slow hosts: export POLARS_MAX_THREADS := 1

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not slow and not host"

slow: $(READY)
	$(BIN)/python -m pytest -m "slow and not host"

# Each host in an environment of its own, which is made when it is not there or its requirement has changed.
hosts: $(HOSTS:%=.hosts/%/.ready)
	@for host in $(HOSTS); do \
	  echo "== $$host"; .hosts/$$host/bin/python -m pytest -m host tests/hosts/test_$$(echo $$host | tr - _).py || exit 1; \
	done

.hosts/%/.ready: tests/hosts/%.txt pyproject.toml constraints.txt
	$(PYTHON) -m venv .hosts/$*
	.hosts/$*/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e . -r tests/hosts/$*.txt
	.hosts/$*/bin/python -m pip uninstall --quiet --yes torchvision  # mup brings one that is not of torch's CPU build
	touch $@

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

clean:
	rm -rf .venv .hosts .pytest_cache .mypy_cache .ruff_cache
