# Two commands do everything on a fresh machine: `make demo` and `make test`. Nothing outside .venv is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INFRA := .venv-infra
DEPLOY := .venv-deploy

.PHONY: help setup demo test check check-infra scan audit bench-backlog bench-console bench-e2e bench-emotion bench-first-result bench-gpu bench-gpu-wheels bench-memory \
	bench-parts bench-preparation bench-ser bench-stt bench-words chaos fuzz odd-media roles up plan deploy destroy exports locks schemas lint types format clean

help: ## Show what there is to make
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 19

setup: $(INSTALLED) ## Make the virtual environment with everything in it

# CPU=1: torch without CUDA, which saves gigabytes; uv knows where such wheels are.
TORCH := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
ifdef CPU
TORCH := $(BIN)/pip install --quiet --disable-pip-version-check --constraint infra/tools.txt uv && \
	$(BIN)/uv pip install --quiet --python $(BIN)/python --torch-backend=cpu --constraint constraints.txt torch
endif
MODERN := $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "speechpipe needs Python 3.11 or later; try: make PYTHON=python3.12 $(MAKECMDGOALS)")'
$(INSTALLED): pyproject.toml constraints.txt
	$(MODERN)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade pip==26.3
	$(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --build-constraint constraints.txt \
		--editable '.[all]' --group dev
	@touch $@

demo: setup ## Run the sample recordings through the whole pipeline with genuine Whisper, and count its words
	@rm -rf demo-out && mkdir demo-out
	@cp workers/demo/samples/*.* demo-out/ && rm -f demo-out/samples.json demo-out/SOURCES.md
	$(BIN)/speechpipe run demo-out --models demo --settle 0
	@echo && $(BIN)/python -m benchmarks.demo demo-out

test: setup ## Run all tests, including those on the emulators where these are installed
	$(BIN)/pytest -q -n 3 --dist loadfile

check: setup lint types ## Lint, types and the fast tests, in a minute on two cores
	$(BIN)/pytest -q -n 3 --hypothesis-profile=quick -m 'not browser and not emulators and not engines and not infra and not slow'

# OSV, because behind a mirror PyPI's own service skips every package and reports success (decision 14). To accept a
# vulnerability that has no fix, add `--ignore-vuln ID` here, with the reason.
AUDIT := $(INFRA)/bin/uv tool run pip-audit@2.10.1 --vulnerability-service osv --disable-pip --progress-spinner off
audit: $(INFRA)/.installed ## Compare every pinned package with the known vulnerabilities in OSV; needs a network
	set -e; for lock in docker/requirements/*.txt; do $(AUDIT) --require-hashes --requirement $$lock; done
	$(AUDIT) --no-deps --requirement constraints.txt
	$(AUDIT) --no-deps --requirement infra/tools.txt

check-infra: scan ## Check infra/ with real Terraform and checkov, without a network
	$(BIN)/pytest -q -m infra

scan: $(INFRA)/.installed ## The part of check-infra that `make test` leaves out: checkov, hadolint, schemas
	$(INFRA)/bin/checkov --config-file infra/.checkov.yaml --directory infra
	$(INFRA)/bin/hadolint docker/*.Dockerfile
	$(INFRA)/bin/check-jsonschema --builtin-schema vendor.cloudbuild cloudbuild.yaml

$(INFRA)/.installed: infra/tools.txt
	$(PYTHON) -m venv $(INFRA)
	$(INFRA)/bin/pip install --quiet --disable-pip-version-check --requirement infra/tools.txt
	@touch $@

# Deploying needs pydantic alone: no gigabytes of engines, for which Cloud Shell's home is too small.
$(DEPLOY)/.installed: constraints.txt
	@$(MODERN)
	@$(PYTHON) -m venv $(DEPLOY)
	@$(DEPLOY)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt pydantic
	@touch $@

plan: $(DEPLOY)/.installed ## Show what a deployment would change: PROJECT=... REGION=... [ACCELERATOR=...] [MODELS=demo]
deploy: $(DEPLOY)/.installed ## Deploy to Google Cloud; asks first: PROJECT=... REGION=... [ACCELERATOR=...] [MODELS=demo] [BUILD_REGION=...] [YES=1]
destroy: $(DEPLOY)/.installed ## Take it down, keeping the data; asks first: PROJECT=... REGION=... [DELETE_DATA=1] [YES=1]
exports: $(DEPLOY)/.installed ## Print the variables of a deployment, for eval: PROJECT=... REGION=...
plan deploy destroy exports:
	@$(DEPLOY)/bin/python -m infra.deploy $@ --project="$(PROJECT)" --region="$(REGION)" --models="$(MODELS)" \
		--accelerator="$(ACCELERATOR)" --build-region="$(BUILD_REGION)" $(if $(YES),--yes) $(if $(DELETE_DATA),--delete-data)

# The images' own torch is older: see docker/requirements/ser.in. A lock file names no index; pip's settings do.
LOCK := $(INFRA)/bin/uv pip compile --quiet --generate-hashes --no-header --no-annotate --only-binary :all: \
	--python-version 3.11 --python-platform x86_64-manylinux_2_28 pyproject.toml
locks: $(INFRA)/.installed ## Write the images' lock files from pyproject.toml and constraints.txt
	$(LOCK) --constraint constraints.txt --extra functions --output-file docker/requirements/functions.txt
	$(LOCK) --constraint constraints.txt --extra console --output-file docker/requirements/console.txt
	$(LOCK) --constraint constraints.txt --extra stt docker/requirements/stt.in --output-file docker/requirements/stt.txt
	grep -v '^torch==' constraints.txt | $(LOCK) --constraint - --extra ser docker/requirements/ser.in \
		--output-file docker/requirements/ser.txt

bench-e2e: setup ## Measure what the pipeline adds to the slower stage: emulators, embedded, and the original demo's shape
	$(BIN)/python -m benchmarks.e2e

bench-backlog: setup ## Measure a backlog of 2,000 recordings on the emulators, one worker killed, with the rules of now and of before
	$(BIN)/python -m benchmarks.backlog

bench-console: setup ## Measure the console with ten thousand recordings, and in Chromium if it is installed
	$(BIN)/python -m benchmarks.console

bench-parts: setup ## Measure a long recording in parts against the same in one piece: FOLDER=...
	$(BIN)/python -m benchmarks.parts "$(FOLDER)"

bench-preparation: setup ## Measure what decoding and voice activity detection cost, step by step
	$(BIN)/python -m benchmarks.preparation

bench-gpu: ## Measure everything that needs a GPU, within eight minutes; needs CUDA and PyTorch, and no network
	benchmarks/gpu.sh $(if $(DEVICE),--device $(DEVICE) --shapes tiny)

bench-gpu-wheels: ## Fetch what bench-gpu needs besides PyTorch, where there is a network: [FOR=3.12], the GPU's Python
	benchmarks/gpu.sh wheels $(FOR)

chaos: setup ## Break the system on purpose for a quarter of an hour, and check the outcome: [SEED=...] (docs/chaos.md)
	$(BIN)/python -m tests.chaos embedded $(if $(SEED),--seed $(SEED))
	$(BIN)/python -m tests.chaos emulators $(if $(SEED),--seed $(SEED))

# glibc's checking allocator ends a process whose heap is corrupt, at the next call that could notice.
GUARD := $(firstword $(wildcard /usr/lib/*-linux-gnu/libc_malloc_debug.so.0))
fuzz: setup ## Fuzz the decoder and every parser: [SECONDS=60] [SEED=...]; findings go to build/fuzz
	$(if $(GUARD),LD_PRELOAD=$(GUARD) GLIBC_TUNABLES=glibc.malloc.check=3) $(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED))

odd-media: setup ## Run a folder of odd files through both workers, and print how each ended: FOLDER=...
	$(BIN)/python -m benchmarks.media "$(FOLDER)"

bench-memory: setup ## Measure the workers' peak memory for a minute, an hour and ten hours
	$(BIN)/python -m benchmarks.memory

bench-stt: setup ## Measure the speech-to-text worker against faster-whisper and, with WHISPERX=its python, WhisperX: [SPEECH=...]
	$(BIN)/speechpipe models fetch base
	$(BIN)/python -m benchmarks.stt --models genuine-base $(if $(SPEECH),--speech "$(SPEECH)")
	$(BIN)/python -m benchmarks.stt --models toy --long 0
	$(BIN)/python -m benchmarks.stt --models tiny base $(if $(WHISPERX),--whisperx $(WHISPERX))
	$(BIN)/python -m benchmarks.stt --models large-v3-turbo --files 4 --longest 30 --long 0 \
		$(if $(WHISPERX),--whisperx $(WHISPERX))

bench-ser: setup ## Measure the emotion worker against transformers' pipeline
	$(BIN)/python -m benchmarks.ser
	$(BIN)/python -m benchmarks.ser --shape voices --count 12 --rounds 2
	$(BIN)/python -m benchmarks.ser --shape base --count 12 --rounds 2
	$(BIN)/python -m benchmarks.ser --shape large --count 6 --rounds 1

bench-first-result: setup ## Measure how long one recording's text and record take, beside faster-whisper: RECORDING=... [WRITE=1]
	$(BIN)/python -m benchmarks.first_result "$(RECORDING)" $(if $(WRITE),--write)

bench-words: setup ## Count word errors on real speech beside faster-whisper: FOLDER=... [MODEL=...] [FILES=6] [STRUNG=1] [SILENCE=...] [WRITE=1]
	$(BIN)/python -m benchmarks.words "$(FOLDER)" $(if $(MODEL),--model "$(MODEL)") $(if $(FILES),--files $(FILES)) \
		$(if $(STRUNG),--strung) $(if $(SILENCE),--silence $(SILENCE)) $(if $(WRITE),--write)

bench-emotion: setup ## Measure an emotion model on clips whose emotion is known: FOLDER=... [MODEL=demo] [WRITE=1]
	$(BIN)/python -m benchmarks.emotion "$(FOLDER)" $(if $(MODEL),--model "$(MODEL)") $(if $(WRITE),--write)

lint: setup ## Lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## Check types
	$(BIN)/mypy

format: setup ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

schemas: setup ## Write docs/schemas from the contract
	$(BIN)/python -m speechpipe.schemas

roles: setup ## Write docs/roles.md from infra/
	$(BIN)/python -m tests.infra.roles

up: setup ## Run the whole system on Google's emulators
	$(BIN)/speechpipe up

clean: ## Remove everything that was made
	rm -rf $(VENV) $(INFRA) $(DEPLOY) demo-out .mypy_cache .ruff_cache .pytest_cache
