# `make book` and `make test` are the two that matter. `make help` lists all.
SHELL = /bin/sh
BIN = .venv/bin
PYTHON ?=
JOBS ?= 2
CHAPTER ?=
STUDY ?= compare
ARGS ?=

# Small networks are fastest with one thread. Bars have no place in stored or compared outputs.
OMP_NUM_THREADS ?= 1
export OMP_NUM_THREADS
export TQDM_DISABLE = 1
ifneq ($(NORMTUTORIAL_DATA),)
export NORMTUTORIAL_DATA := $(abspath $(NORMTUTORIAL_DATA))
endif

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

venv:  ## make .venv, or make it again when the requirements have changed; PYTHON=... picks a Python
	@PYTHON="$(PYTHON)" .ci/venv

book: venv  ## build the book from its stored outputs
	@rm -rf _build
	@$(BIN)/jupyter-book build . --all -W -n --keep-going --quiet
	@$(BIN)/python tools/check_html.py _build/html
	@echo "The book: $(CURDIR)/_build/html/index.html"

quick: venv  ## the unit tests without the slow ones, a minute; stops at the first failure
	@$(BIN)/python -m pytest tests normtutorial --ignore tests/slow --ignore tests/web -x -q \
	    -p no:nbval -p no:hypothesispytest -p no:xdist -p no:logging

test: venv  ## all unit tests, and every chapter again; JOBS=4 for four at once
	@$(BIN)/python -m pytest --nbval -n $(JOBS) --dist loadscope --maxfail 10 --tb short
	@echo "Left out here: the built pages in a browser. make web-test runs them."

web-test: venv  ## build the book, and check every page in a real browser
	@.ci/browser
	@$(MAKE) --no-print-directory book
	@NORMTUTORIAL_WEB=1 $(BIN)/python -m pytest tests/web -n $(JOBS) --dist worksteal -p no:cacheprovider

pdf: venv  ## the whole book as one PDF, printed from the pages of `make book`
	@.ci/browser
	@test -d _build/html || $(MAKE) --no-print-directory book
	@$(BIN)/python tools/pdf.py

preview: venv  ## the picture of README and of links to the book, from the stored first page
	@.ci/browser
	@$(BIN)/python tools/preview.py

lint: venv  ## style, layout, types, arrows between modules, packages that fit together
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m pip check

rules: venv  ## how the chapters keep to the rules of the page; CHAPTER=batch_norm for one
	@$(BIN)/python tools/page_rules.py $(CHAPTER)

refresh: venv  ## execute every chapter in place and store the outputs; CHAPTER=batch_norm for one
	@$(BIN)/python tools/refresh.py $(CHAPTER)

bench: venv  ## measure the speed of training, as ratios; writes benchmarks/results/
	@env -u OMP_NUM_THREADS $(BIN)/python benchmarks/bench.py
	@env -u OMP_NUM_THREADS $(BIN)/python benchmarks/layers.py

mutants: venv  ## break the module on purpose, one place at a time: the unit tests must notice; hours
	@$(BIN)/python tools/mutate.py --jobs $(JOBS)

choose: venv  ## the claims at five blocks of seeds, to settle thresholds; CHAPTER=batch_norm for one
	@$(BIN)/python tools/sweep.py choose $(CHAPTER) --jobs $(JOBS)

confirm: venv  ## the claims at ten blocks that nobody has looked at, recorded; CHAPTER=batch_norm for one
	@$(BIN)/python tools/sweep.py confirm $(CHAPTER) --jobs $(JOBS)

study: venv  ## what is too long for a chapter; STUDY=compare: two hours
	@$(BIN)/python tools/study.py $(STUDY)

audit: venv  ## which packages of requirements.lock.txt have known vulnerabilities; asks the package index
	@$(BIN)/uv --quiet tool run pip-audit --requirement requirements.lock.txt --no-deps --disable-pip

lab: venv  ## open the chapters in JupyterLab; ARGS="--no-browser --port 8899" are for it
	@env -u TQDM_DISABLE -u OMP_NUM_THREADS \
	    $(BIN)/jupyter lab book $$([ "$$(id -u)" -ne 0 ] || echo --allow-root) $(ARGS)

lock:  ## write requirements.lock.txt anew, as far as requirements.txt asks for it
	@$(BIN)/uv --quiet pip compile requirements.txt --universal --python-version 3.11 \
	    --no-emit-package normtutorial --annotation-style line \
	    --custom-compile-command "make lock" --output-file requirements.lock.txt
	@git diff --stat requirements.lock.txt

clean:  ## remove what was built and cached, but not .venv
	@rm -rf _build build .coverage .hypothesis .pytest_cache .ruff_cache .mypy_cache .import_linter_cache *.egg-info
	@find . -name .venv -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -exec rm -rf {} +

.PHONY: help venv book quick test web-test pdf preview lint rules refresh bench mutants choose confirm study audit lab lock clean
