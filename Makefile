# Each goal works from a bare clone: it makes .venv with the standard library, installs, runs.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
WORKERS ?= 2

.PHONY: help install demo test check docs bench clean

help:
	@echo "make demo   probe CREPE on synthetic speech (results/quickstart.html)"
	@echo "make test   run all tests"
	@echo "make check  ruff, mypy, import-linter, codespell"
	@echo "make docs   build the documentation (docs/_build/html/index.html)"
	@echo "make bench  run the benchmarks and print one table (about an hour)"

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --upgrade pip
	$(RUN)/python -m pip install --quiet --editable '.[dev]'
	# Their networks are compared with ours; what they require besides is not needed for that.
	$(RUN)/python -m pip install --quiet --no-deps \
		wespeaker-unofficial resemblyzer torchvggish torch-vggish-yamnet
	touch $@

demo: install
	$(RUN)/python examples/quickstart.py

test: install
	OMP_NUM_THREADS=1 $(RUN)/python -m pytest -n $(WORKERS)

check: install
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/lint-imports
	$(RUN)/codespell

docs: install
	$(RUN)/python -m sphinx -W -b html docs docs/_build/html

bench: install
	OMP_NUM_THREADS=1 $(RUN)/python -m benchmarks

clean:
	rm -rf $(VENV) results docs/_build
