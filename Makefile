# Widths, rates and the like may be separated by commas or spaces: make sweep WIDTHS=64,128,256 LRS=2^-10..2^-4
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

comma := ,
list = $(subst $(comma), ,$(1))
flag = $(if $(strip $(2)),--$(1) $(call list,$(2)))

SWEEP_FLAGS = $(call flag,widths,$(WIDTHS)) $(call flag,depths,$(DEPTHS)) $(call flag,seeds,$(SEEDS)) $(call flag,lrs,$(LRS)) \
	$(call flag,parametrizations,$(PARAMETRIZATIONS)) $(call flag,steps,$(STEPS)) $(call flag,device,$(DEVICE)) \
	$(call flag,search,$(SEARCH)) $(call flag,target-se,$(TARGET_SE)) $(call flag,budget,$(BUDGET)) \
	$(call flag,executor,$(EXECUTOR)) $(call flag,prune,$(PRUNE)) \
	$(if $(DATA),--data "$(DATA)") $(if $(OUT),--out "$(OUT)")

SWEEP_NAMES = WIDTHS DEPTHS SEEDS LRS PARAMETRIZATIONS STEPS DATA DEVICE SEARCH TARGET_SE BUDGET PRUNE EXECUTOR OUT EXPERIMENT ARGS
# What was given to make and is no name of a sweep's: WIDTH=64 would be passed over without a word
given = $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
odd = $(firstword $(filter-out $(SWEEP_NAMES) PYTHON VENV MAKEFLAGS,$(given)))
right = $(or $(filter $(odd)S,$(SWEEP_NAMES)),ARGS="--$(subst _,-,$(shell echo $(odd) | tr A-Z a-z)) $($(odd))")
ifneq ($(filter sweep,$(MAKECMDGOALS)),)
$(if $(odd),$(error expected names among $(SWEEP_NAMES), got $(odd); write $(right)))
endif

.DEFAULT_GOAL := help
.PHONY: help setup sweep report test slow conformance calibration bench lint format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo '  sweep takes $(SWEEP_NAMES)'

setup: $(READY) ## build .venv with everything pinned in constraints.txt

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	@touch $@

sweep: $(READY) ## run, resume or extend a sweep; ends in the verdict and results/NAME/report.html
	$(BIN)/mutransfer sweep $(EXPERIMENT) $(SWEEP_FLAGS) $(ARGS)

report: $(READY) ## write the figures and report.html of RESULT again from its records
	$(BIN)/mutransfer report $(or $(RESULT),results/width_transfer)

test: $(READY) lint ## lint, type-check and run the tests
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

slow: $(READY) ## run the tests that take minutes
	$(BIN)/python -m pytest -q -m slow

conformance: $(READY) ## check the published claims with our own trainer, into results/conformance/ (about 40 minutes)
	$(BIN)/python experiments/conformance/run.py $(if $(ONLY),--only $(ONLY))

calibration: $(READY) ## check by simulation that the intervals and verdicts hold, into results/calibration/
	$(BIN)/python experiments/calibration/noise.py
	$(BIN)/python experiments/calibration/holdout.py
	$(BIN)/python experiments/calibration/calibrate.py
	$(BIN)/python experiments/calibration/search.py
	$(BIN)/python experiments/calibration/law.py

bench: $(READY) ## measure speed, as ratios, into results/bench/
	$(BIN)/python experiments/bench/bench.py $(call flag,device,$(DEVICE)) $(call flag,only,$(ONLY))

lint: $(READY) ## ruff, mypy --strict and the layering contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## let ruff format and fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove .venv and caches (results stay)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
