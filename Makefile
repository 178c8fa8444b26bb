# Each target sets up what it needs. PYTHON chooses the interpreter (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BROWSER_TESTS ?= tests/browser
OTHER_TESTS ?= tests/core tests/ui tests/reliability tests/security
# Debian's name and its cousins'.
CHROMIUM := $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)

.PHONY: demo run test lint bench soak browser clean help

help:
	@echo "make demo   fine-tune and judge a real model on the bundled sample"
	@echo "make run    open the page"
	@echo "make test   all tests    make lint   style and types    make bench   speed    make soak   an hour of load"

$(VENV)/runtime: requirements.txt requirements-starters.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==$$(sed -n 's/^torch==//p' requirements.txt)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-starters.txt
	@touch $@

$(VENV)/development: $(VENV)/runtime requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

demo: $(VENV)/runtime
	$(BIN)/python -m core train --task classification --data core/data/samples/customer_messages.csv --text message --label topic --name demo

run: $(VENV)/runtime
	$(BIN)/python app.py

# The browser tests need Chromium and a font with Chinese characters. Debian's are installed where we may.
browser:
ifeq ($(CHROMIUM),)
	@if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium fonts-noto-cjk >/dev/null; \
	else echo "No Chromium here: the browser tests will be skipped. Install it with: sudo apt-get install chromium fonts-noto-cjk"; fi
endif

# The browser's tests wait much and compute little: they run beside the others, and their words come at the end. Most of
# the others use one core, so two processes share them, file by file; torch is told so.
test: $(VENV)/development browser
	@export OMP_NUM_THREADS=1; $(BIN)/python -m pytest $(BROWSER_TESTS) >$(VENV)/browser.log 2>&1 & browser=$$!; \
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --durations 15 $(OTHER_TESTS); others=$$?; \
	wait $$browser; page=$$?; cat $(VENV)/browser.log; exit $$((others | page))

lint: $(VENV)/development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/development browser
	$(BIN)/python -m benchmarks.training_speed --work long --rows 800
	$(BIN)/python -m benchmarks.training_speed --work short --against plain padded
	$(BIN)/python -m benchmarks.lora_speed
	$(BIN)/python -m benchmarks.generation_speed --work chat
	$(BIN)/python -m benchmarks.generation_speed --work summary
	$(BIN)/python -m benchmarks.prediction_speed
	$(BIN)/python -m benchmarks.frozen_layers
	$(BIN)/python -m benchmarks.estimate
	$(BIN)/python -m benchmarks.growth
	$(BIN)/python -m benchmarks.page
	$(BIN)/python -m benchmarks.watching
	$(BIN)/python -m benchmarks.answer
	$(BIN)/python -m benchmarks.data
	$(BIN)/python -m benchmarks.near_duplicates
	$(BIN)/python -m benchmarks.load
	$(BIN)/python -m benchmarks.quick_mode --full
	$(BIN)/python -m benchmarks.first_lines

# What takes too long for every change: thousands of random histories of the line, and an hour of visitors.
soak: $(VENV)/development
	SOAK_EXAMPLES=2000 $(BIN)/python -m pytest --timeout 3600 tests/reliability/test_queue.py
	$(BIN)/python -m benchmarks.load --seconds 300 --turns 6

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
