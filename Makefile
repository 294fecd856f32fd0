# Every target sets up what it needs in .venv; PYTHON names the interpreter that makes it.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
EXPERIMENT ?= quickstart
STORE ?= runs
# For all four stages, such as OPTIONS='--set search.trials=9'.
OPTIONS ?=

.PHONY: setup demo test slow lint types clean

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
test slow: export OMP_NUM_THREADS := 1
test slow: export OPENBLAS_NUM_THREADS := 1
test slow: export POLARS_MAX_THREADS := 1

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not slow"

slow: $(READY)
	$(BIN)/python -m pytest -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache
