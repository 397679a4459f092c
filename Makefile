# One command runs the main job (make demo), one tests (make test). Everything is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
CHECKLIST ?= ../shared/CHECKLIST.md
# As many as the cores of a small machine: with more, what is measured under traffic is measured beside too much.
# A test that fails is asked once more (the last line counts such reruns): machines stand still at times, faults stay.
PROCESSES ?= 2
# Tests start hundreds of processes: without bytecode on disk each would compile the product anew.
export PYTHONDONTWRITEBYTECODE =

.PHONY: demo test check prove bars rows lock screenshot clean

demo: .venv/demo
	@$(BIN)/modelkeep demo $(DEMO)

test: .venv/dev
	$(BIN)/pytest -n $(PROCESSES) --no-loadscope-reorder --reruns 1 -m "not prove"

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest tests/test_house.py

prove: .venv/dev
	$(BIN)/pytest -m prove --timeout 3600

bars: .venv/dev
	@$(BIN)/python benchmarks/bars/run.py $(BARS)

rows:
	@$(PYTHON) tools/rows.py $(CHECKLIST)

lock: .venv/dev
	$(BIN)/python tools/lock.py

screenshot: .venv/dev
	$(BIN)/python tools/screenshot.py docs/overview.png

clean:
	rm -rf .venv build .mypy_cache .ruff_cache .hypothesis .import_linter_cache

.venv/demo: requirements.txt pyproject.toml tools/bootstrap.py
	@$(PYTHON) tools/bootstrap.py .venv requirements.txt
	@touch $@

.venv/dev: requirements-dev.txt pyproject.toml tools/bootstrap.py
	@$(PYTHON) tools/bootstrap.py .venv requirements-dev.txt
	@touch $@ .venv/demo
