# `make demo` and `make test` work on a bare machine: they make .venv themselves, and again only when the requirements change.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# the accessibility checks; where there is no npm they are skipped
AXE := tests/browser/node_modules/axe-core/axe.min.js

.PHONY: demo real test quick thorough smollm2 check bench pictures deploy lock clean
.DEFAULT_GOAL := demo

demo: $(VENV)/.run-time
	$(BIN)/python app.py

# a published model, of 93 MB, that stands in the page's list from then on, without a network
real: $(VENV)/.gguf
	$(BIN)/python -m headroles get smollm2

# Two at once: half of the time is waiting, for servers and browsers. Each takes half of the files, in an order that is another one
# each time, and whoever is done first takes tests from the other. COVERAGE=1 says how much of the code they run.
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal $(if $(COVERAGE),--cov --cov-report=term:skip-covered)

# six minutes: what must pass before anything lands
test: $(VENV)/.development $(AXE) smollm2
	$(PYTEST) -m "not thorough"

# ninety seconds, to run after every change: no browser, no other processes, no sweep over models
quick: $(VENV)/.development
	$(PYTEST) -m "not browser and not processes and not slow and not thorough"

# everything, with 200 examples a property
thorough: $(VENV)/.development $(AXE) smollm2
	$(PYTEST) --hypothesis-profile=thorough

smollm2: $(VENV)/.development
	$(BIN)/python -m headroles get smollm2 || true  # the tests that meet it say so where it cannot be had

check: $(VENV)/.development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: $(VENV)/.development
	$(BIN)/python -m bench.run

pictures: $(VENV)/.development
	$(BIN)/python -m tests.browser.pictures

# make deploy SPACE=organisation/name [DATASET=organisation/name], with HF_TOKEN set; with DRY=1 it says what it would do, and does nothing
deploy: $(VENV)/.run-time
	$(BIN)/python -m analysis deploy $(if $(SPACE),$(SPACE),$(error say where: make deploy SPACE=organisation/name)) $(if $(DATASET),--dataset $(DATASET)) $(if $(filter-out 0,$(DRY)),--dry-run)

# The versions that the tests and checks run on, for Python 3.11 on Linux. Takes `uv`, and whatever index it is set up for. torch comes from
# PyTorch's own index of CPU builds, with `make lock TORCH=` from that index too; its line fits every build.
TORCH ?= --torch-backend cpu
lock:
	uv pip compile -q --upgrade --custom-compile-command "make lock" --python-version 3.11 --python-platform x86_64-unknown-linux-gnu \
		$(TORCH) $(DEVELOPMENT) -o requirements-lock.txt
	sed -i.old 's/^\(torch==[0-9.]*\)+cpu/\1/' requirements-lock.txt && rm requirements-lock.txt.old

$(AXE): tests/browser/package.json
	if command -v npm >/dev/null; then npm install --prefix tests/browser --no-package-lock --no-audit --no-fund --ignore-scripts && touch $@; fi

clean:
	rm -rf $(VENV)

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run-time: requirements.txt | $(BIN)/pip
	$(BIN)/pip install -q -r requirements.txt
	touch $@

$(VENV)/.gguf: requirements-gguf.txt $(VENV)/.run-time
	$(BIN)/pip install -q -r requirements.txt -r requirements-gguf.txt
	touch $@

DEVELOPMENT := requirements.txt requirements-analysis.txt requirements-gguf.txt requirements-dev.txt
$(VENV)/.development: $(DEVELOPMENT) | $(BIN)/pip
	$(BIN)/pip install -q $(addprefix -r ,$(DEVELOPMENT))
	touch $@
