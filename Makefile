# Needs Python 3.11 or newer and make; each target makes its own virtual environment if there is none.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: quickstart test lint docs benchmark clean

quickstart: $(VENV)/.quickstart
	$(BIN)/python run_emomm.py recipes/quickstart.json

# What is compiled beforehand is compiled once, and not by each of the many processes that tests start.
test: $(VENV)/.test
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/python -m compileall -q -x '[.]venv|build/' .
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.test
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

benchmark: $(VENV)/.test
	$(BIN)/python benchmarks/all.py $(BENCHMARKS)

# The root is the package, whatever its folder is called: mkdocstrings finds it by this link.
docs: $(VENV)/.docs
	mkdir -p build/docs && ln -sfn ../.. build/docs/emomm
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

$(VENV)/.%: setup.cfg constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "EmoMM needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[$*]"
	touch $@

clean:
	rm -rf build dist site *.egg-info
