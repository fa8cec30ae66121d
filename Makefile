# `make demo` and `make test` set everything up in .venv and need only Python 3.11+ and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCE ?=

.PHONY: demo test test-gradio5 screenshots check check-slow check-network format notebooks assets clean setup

setup: $(STAMP)

$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit("Python 3.11 or newer is needed; this is %d.%d. Name another with PYTHON=..." % v[:2] if v < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/rvc-colab demo --output demo

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile

# The older gradio lies over the environment, in front of it on the path; the page is tested again with it.
GRADIO5 := $(VENV)/gradio-5.50
$(GRADIO5)/.installed: tests/ui/gradio-5.50.txt $(STAMP)
	rm -rf $(GRADIO5)
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --target $(GRADIO5) -r tests/ui/gradio-5.50.txt
	@touch $@

test-gradio5: $(GRADIO5)/.installed
	PYTHONPATH=$(GRADIO5) $(BIN)/python -c 'import gradio; assert gradio.__version__ == "5.50.0", gradio.__file__'
	PYTHONPATH=$(GRADIO5) $(BIN)/python -m pytest -n 2 --dist loadfile tests/ui \
	  -k "not browser or password or octave or imported or five_steps"

screenshots: $(STAMP)
	PAGE_SHOTS=docs $(BIN)/python -m pytest -n 2 --dist loadfile tests/ui -k browser

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

check-network: $(STAMP)
	$(BIN)/python -m pytest -m network -s

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

notebooks: $(STAMP)
	$(BIN)/python -m recipes.notebooks $(if $(SOURCE),--source $(SOURCE))

# The embedded encoder and voice from nothing but Debian's flite, festival and espeak-ng: hours on a
# CPU. Each step goes on from its last checkpoint; `recipes/work` keeps them.
assets: $(STAMP)
	$(BIN)/python -m recipes.make_corpus recipes/work/encoder
	$(BIN)/python -m recipes.tiny_encoder recipes/work/encoder
	$(BIN)/python -m recipes.tiny_encoder recipes/work/encoder --export
	$(BIN)/python -m recipes.base_voice recipes/work/base
	$(BIN)/python -m recipes.demo_voice recipes/work

clean:
	rm -rf $(VENV) demo build dist *.egg-info
