# Every target that a person calls carries its help after ##; `make` prints them.
.DEFAULT_GOAL := help
.PHONY: help setup demo test check simulate bench lock train manifests compose test-cluster images test-images clean
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

BIN := .venv/bin
PARTS := kernels volumes services app cli phantom
CODE := fibstream $(PARTS) tests bench deploy .ci setup.py
RUNS ?= 5000
CELLS ?= 0
NETWORK ?= mito
# What a network is trained as, one after the other: NETWORK-first begins, where there is one.
STAGES = $(basename $(notdir $(wildcard models/$(NETWORK)-first.yaml) models/$(NETWORK).yaml))
# The first of these that runs and is new enough: a name on the path may be an empty shim.
NEW := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c '$(NEW)' 2>/dev/null && echo $$p && break; done)

help: ## show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.stamp ## make .venv with everything in it; does nothing when pyproject.toml is as it was

# Of what pip prints, the name of each package as it is found: a line every second or so.
PACKAGES := /^Collecting / { printf "  package %d: %s\n", ++n, $$2; fflush() } \
	/^Installing collected/ { printf "  unpacking %d packages, a minute or two\n", NF - 3; fflush() }

.venv/.stamp: pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python of at least 3.11 found; give PYTHON=..." >&2; exit 1; }
	@echo "setup 1/3: .venv, made by $(PYTHON)"
	@$(PYTHON) -m venv .venv
	@echo "setup 2/3: about 140 packages into .venv; minutes the first time"
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off \
		--editable '.[dev]' | awk '$(PACKAGES)'
	@echo "setup 3/3: compiling what computes on voxels; about a minute"
	@$(BIN)/python .ci/warm.py
	@touch $@
	@echo "setup is done: $(BIN)/fibstream"

demo: setup ## the whole story on the sample: stream it, show the table, compare with the whole volume
	$(BIN)/fibstream demo

# On Linux torch brings CUDA, 2.8 GB. Whoever has installed a smaller build into .venv keeps it.
.venv/.trains: .venv/.stamp
	@echo "setup: torch into .venv, for training; minutes the first time"
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable '.[train]'
	@touch $@

# Three for two cores: a third of the tests waits for processes that start, or for a broker.
test: setup .venv/.trains ## all tests, in three processes
	$(BIN)/python .ci/warm.py --rest
	$(BIN)/pytest -q -n 3

# The folders lie side by side in the checkout and below one name when installed: the checks of types
# and imports see them as they are installed, through links.
check: setup ## style, types, import contracts, length limits, documentation
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	rm -rf build/tree && mkdir -p build/tree/fibstream
	ln -s $(CURDIR)/fibstream/* $(PARTS:%=$(CURDIR)/%) build/tree/fibstream
	ln -s $(CURDIR)/tests $(CURDIR)/bench build/tree
	cd build/tree && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml -p fibstream -p tests -p bench
	cd build/tree && $(CURDIR)/$(BIN)/lint-imports --config $(CURDIR)/pyproject.toml --no-cache
	$(BIN)/pytest -q tests/docs

simulate: setup ## RUNS=5000 seeded schedules with faults, CELLS=0 of all organelles of a cell; names the seed that fails
	$(BIN)/python -m tests.simulation $(RUNS)
	[ $(CELLS) = 0 ] || $(BIN)/python -m tests.simulation --cells $(CELLS)

# 2 is the end of one that needs arguments, or a GPU that is not there: the others go on.
bench: setup .venv/.trains ## every benchmark that needs no arguments; each prints ratios
	for file in bench/*.py; do echo "== $$file"; \
		$(BIN)/python -m bench.$$(basename $$file .py) || [ $$? -eq 2 ]; done

lock: setup ## hash-pinned requirements of each image into build/lock, all cut from one resolve
	$(BIN)/python .ci/lock.py build/lock $(filter inference-cuda,$(IMAGES))

train: setup .venv/.trains ## train NETWORK=mito as models/mito.yaml has it, into build/mito.onnx; needs hours
	from=; for stage in $(STAGES); do \
	  $(BIN)/fibstream --log-level info train models/$$stage.yaml --out build/training/$$stage $$from && \
	  $(BIN)/fibstream export build/training/$$stage --out build/$$stage.onnx || exit 1; \
	  from="--from build/$$stage.onnx"; done

manifests: setup ## the manifests for Kubernetes into build/k8s
	$(BIN)/python -m deploy.manifests build/k8s

compose: setup ## all of fibstream on one machine: what docker compose reads, into build/compose
	$(BIN)/python -m deploy.compose build/compose

# Words for the engine: make images FLAGS='--with=--build-arg=BASE=IMAGE'; IMAGES=inference-cuda for GPUs.
images: setup lock ## an image of each service and of the command, by docker, podman or buildah
	$(BIN)/python -m deploy.images.build $(FLAGS) $(IMAGES)

test-cluster: setup ## the manifests on a real control plane, which is built first: minutes, the first time half an hour
	deploy/cluster/build.sh build/cluster
	$(BIN)/pytest -q -s deploy/cluster

test-images: setup ## the images that `make images` has built, streamed through for real; needs podman or docker, Java, Maven
	$(BIN)/pytest -q -s deploy/images

clean: ## remove everything that can be made again, .venv and the demo too
	rm -rf .venv build dist demo *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
