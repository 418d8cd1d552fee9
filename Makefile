# Everything a person or CI does here. `make run` and `make test` install what they need into .venv, from locked and hashed versions.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
CRD := crds/medfinetune.io_medfinetunes.yaml
CHART := charts/medfinetune
# Pinned helm and helm-docs, built at first; see tests/cluster/programs.py.
PROGRAM = PYTHONPATH=tests $(BIN)/python -m cluster.programs --run
# Real data for tests and benchmarks, where it lies beside the clone; see docs/development.md.
export MEDFINETUNE_TEST_DATA ?= $(realpath ../shared/data)
# Bytecode is kept, whatever the caller's environment says: a rank that compiles its libraries anew imports for 10 CPU seconds, and for 5 that finds them compiled.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run run-real test e2e lint format locks generate picture images images-bundle clean help

help:            ## This list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 14

run: $(VENV)/.trainer    ## Install, then run examples/01-minimal on this machine
	$(BIN)/python examples/01-minimal/run.py

run-real: $(VENV)/.trainer    ## Train and evaluate on real MedQA and KorMedMCQA (needs MEDFINETUNE_TEST_DATA)
	$(BIN)/python -m benchmarks.real

# For tests of the report in a browser: one of them says so where they are missing.
BROWSER := chromium fonts-noto-cjk
test: $(VENV)/.dev    ## Install, then pass the tests
	-tests/packages.sh $(BROWSER)
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --durations 15

# Only where it is given to make itself: a KUBECONFIG of the caller's shell names a cluster that is not for tests.
E2E_KUBECONFIG := $(if $(filter command line,$(origin KUBECONFIG)),$(KUBECONFIG))
e2e: $(VENV)/.dev    ## Real runs on a real node of this machine (root, Debian), or on the cluster of KUBECONFIG=...
	$(if $(E2E_KUBECONFIG),,tests/cluster/node/packages.sh)
	MEDFINETUNE_E2E_KUBECONFIG=$(E2E_KUBECONFIG) $(BIN)/python -m pytest tests/e2e --durations 15

lint: $(VENV)/.dev    ## Style, types, layers, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m medfinetune_api.schema --check $(CRD)
	cmp $(CRD) $(CHART)/files/$(notdir $(CRD))    # a chart cannot read outside its folder
	$(PROGRAM) helm lint --strict --quiet $(CHART)
	$(PROGRAM) helm-docs --dry-run --log-level warning --chart-search-root $(CHART) | diff $(CHART)/README.md -
	$(BIN)/python -m medfinetune_api.reference --check docs/reference.md
	$(BIN)/python -m medfinetune_api.refusals --check docs/refusals.md
	$(BIN)/python -m dashboards --check

format: $(VENV)/.dev    ## Rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

generate: $(VENV)/.dev    ## Generate crds/*.yaml, docs/reference.md, docs/refusals.md and the chart's dashboards from the code
	$(BIN)/python -m medfinetune_api.schema $(CRD)
	cp $(CRD) $(CHART)/files/
	$(PROGRAM) helm-docs --log-level warning --chart-search-root $(CHART)
	$(BIN)/python -m medfinetune_api.reference docs/reference.md
	$(BIN)/python -m medfinetune_api.refusals docs/refusals.md
	$(BIN)/python -m dashboards

picture: $(VENV)/.dev    ## The pictures in docs/images: the reports of two runs, as Chromium shows them; the dashboards' queries, plotted
	tests/packages.sh $(BROWSER)
	$(BIN)/python examples/01-minimal/run.py
	PYTHONPATH=tests:examples $(BIN)/python docs/images/picture.py out
	PYTHONPATH=tests:examples $(BIN)/python -m dashboards.picture

TAG ?= $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml)
ENGINE ?= docker
# Where skopeo finds what `make images` built.
BUILT = $(if $(REGISTRY),docker://$(REGISTRY)/,$(if $(filter docker,$(ENGINE)),docker-daemon:,containers-storage:localhost/))medfinetune
images:          ## Build both images, and push them: ENGINE=docker|podman|buildah BASE_IMAGE=... TAG=... REGISTRY=...; VARIANT=cpu: the trainer without CUDA
	ENGINE=$(ENGINE) TAG=$(TAG) packaging/images.sh

HELM ?= env $(PROGRAM) helm
images-bundle: $(VENV)/.dev    ## Pack images, chart, CRDs, command line and docs for a site without internet into dist/
	OPERATOR_IMAGE=$(BUILT)/operator:$(TAG) TRAINER_IMAGE=$(BUILT)/trainer:$(TAG) HELM="$(HELM)" packaging/bundle.sh

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make locks"
locks: $(VENV)/.build    ## Resolve the locked versions anew
	$(LOCK) --upgrade locks/build.in -o locks/build.txt
	$(LOCK) --upgrade locks/init.in -o locks/init.txt
	$(LOCK) --upgrade locks/inventory.in -o locks/inventory.txt
	$(LOCK) --upgrade pyproject.toml --extra trainer -c locks/trainer.constraints -o locks/trainer.txt
	$(LOCK:3.11=3.14) pyproject.toml --extra trainer --excludes locks/trainer-cpu.excludes -c locks/trainer.txt -o locks/trainer-cpu.txt
	$(LOCK) pyproject.toml --extra operator -c locks/trainer.txt -o locks/operator.txt
	$(LOCK) pyproject.toml -c locks/trainer.txt -c locks/operator.txt -o locks/cli.txt
	$(LOCK) pyproject.toml --extra trainer --extra operator --extra dev -c locks/trainer.txt -c locks/operator.txt -o locks/dev.txt

clean:           ## Remove what make made
	rm -rf $(VENV) out .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -r {} +

# The stamps: one an environment, renewed when its lock changes.
$(VENV)/.build: locks/build.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(VENV)/.trainer: $(VENV)/.build locks/trainer.txt pyproject.toml
	$(BIN)/uv pip install --python $(BIN)/python --require-hashes -r locks/trainer.txt
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.trainer locks/dev.txt
	$(BIN)/uv pip install --python $(BIN)/python --require-hashes -r locks/dev.txt
	@touch $@
