# `make demo` and `make test` each work on a fresh machine: what they need is installed into .venv first.
# Needs Python 3.11 or newer; name another with `make test PYTHON=python3.13`.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# The versions to install: the tested set, or with `CONSTRAINTS=` the newest that pyproject.toml allows.
CONSTRAINTS ?= -c constraints.txt
# Each process of the tests computes in one thread (tests/conftest.py).
PARALLEL := -n logical --maxprocesses 8 --dist worksteal

DEMO_PICTURE := examples/pictures/cat.jpg
DEMO_PROMPT := the cat
DEMO_OUTPUT := demo-output

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-web test-all lint format docs try site wheel clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## Segment an example picture with the bundled model
	$(BIN)/self1e segment $(DEMO_PICTURE) -p "$(DEMO_PROMPT)" --votes 2 --out $(DEMO_OUTPUT) --format overlay,mask,json --overwrite
	@echo "Look at the overlay: $$(ls $(DEMO_OUTPUT)/*overlay*)"

test: $(INSTALLED)  ## Run the tests, except slow and heavy ones, on all cores
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not heavy"

test-slow: $(INSTALLED)  ## Run the slow tests, too large for every change
	$(BIN)/python -m pytest $(PARALLEL) -m "slow and not heavy"

test-all: test test-slow  ## Run all tests; heavy ones need 24 GiB of memory
	$(BIN)/python -m pytest -m heavy

# Gradio takes no Pillow 13, with which the other tests compare pixels.
test-web:  ## Run the tests of both pages, slow ones too, in an environment of their own (.venv-web)
	@test -x .venv-web/bin/python || $(PYTHON) -m venv .venv-web
	@grep -v '^pillow==' constraints.txt > .venv-web/constraints.txt
	@.venv-web/bin/python -m pip install -qq --disable-pip-version-check -c .venv-web/constraints.txt \
		-e ".[web,forms,export]" pytest playwright
	.venv-web/bin/python -m pytest -m "not heavy" tests/web tests/cli/test_web.py tests/page

lint: $(INSTALLED)  ## Check style, types and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED)  ## Put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(INSTALLED)  ## Build the site into site/, without the network
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet --clean
	@echo "Look at site/index.html (its search needs a server: python3 -m http.server -d site)"

try: $(INSTALLED)  ## Build the page that segments in a browser into site/try (needs npm)
	rm -rf site/try
	$(BIN)/python docs/try/build.py site/try
	@echo "Look at http://127.0.0.1:8000 after: python3 -m http.server -d site/try"

site:  ## Build the site with that page in it
	@SITE_HAS_PAGE=true $(MAKE) docs
	@$(MAKE) try

# build/ is left over from the last wheel, and files deleted since would be packed again.
wheel: $(INSTALLED)  ## Build a wheel into dist/
	rm -rf build
	$(BIN)/python -m pip wheel -qq --no-deps --wheel-dir dist .
	@ls dist/*.whl

clean:  ## Remove what builds, tests and the demo leave behind (not .venv)
	rm -rf build dist site $(DEMO_OUTPUT) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Made again when the dependencies change. An interrupted installation leaves no stamp and is taken up again.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "self1e needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) -V 2>&1)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing self1e into $(VENV); this takes some minutes the first time."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check $(CONSTRAINTS) -e ".[dev]"
	@touch $@
