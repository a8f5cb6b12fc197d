# Everything there is to do here. Each target prints what it needs when something is missing.
# CARGO_TARGET_DIR is honoured; there is one cargo profile (release) for run and test, so the inference stack
# compiles once.

SHELL := /bin/bash
.DEFAULT_GOAL := help

CARGO ?= cargo
TARGET_DIR := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
SLUICE := $(TARGET_DIR)/release/sluice

.PHONY: help
help: ## Shows this list.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

.PHONY: tools
tools:
	@scripts/need cargo python3

.PHONY: build
build: tools ## Builds the program with the engine in process.
	$(CARGO) build --release --locked --workspace

.PHONY: shipped
shipped: tools ## The program as the image has it, laid out by what runs often; compiles everything twice.
	scripts/build-shipped

.PHONY: run
run: build ## Builds, fetches the default model once, and starts the gateway with sluice.toml.
	$(SLUICE) models pull smollm2-135m
	$(SLUICE) serve --config sluice.toml

.PHONY: test
test: tools ## Installs what the tests need and runs all of them, in reduced sizes.
	scripts/setup-tests
	$(CARGO) build --release --locked --workspace
	$(SLUICE) models pull smollm2-135m
	scripts/run-tests

.PHONY: soak
soak: build ## The tests again, in full sizes.
	SLUICE_TEST_SIZE=full scripts/run-tests
	$(CARGO) bench --locked -p router --no-default-features --bench growth -- 10_000_000 100_000

.PHONY: lint
lint: tools ## Formatting, clippy, dependency rules.
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings
	scripts/deny

.PHONY: fmt
fmt: ## Formats the code.
	$(CARGO) fmt --all

.PHONY: bench
bench: build ## Relay beside nginx, LiteLLM and Portkey, isolation of hosted requests, memory; prints ratios.
	scripts/bench

.PHONY: bench-local
bench-local: build ## The engine in process beside llama.cpp on the same weights (compiles llama.cpp once).
	scripts/bench-local

.PHONY: bench-routing
bench-routing: build ## What the shipped head is worth, beside baselines; writes docs/routing-quality.md.
	scripts/bench-routing

.PHONY: bench-cascade
bench-cascade: build ## What the second look at local answers is worth, on tasks with known answers.
	$(SLUICE) models pull smollm2-135m
	scripts/bench-cascade

.PHONY: bench-micro
bench-micro: tools ## Single calls: decision, judge, events of a stream, scan, ledger; attempts a second; MB/s of the detectors.
	$(CARGO) bench --locked -p policies --bench micro
	$(CARGO) bench --locked -p adapters --no-default-features --bench micro
	$(CARGO) bench --locked -p router --no-default-features --bench micro
	$(CARGO) bench --locked -p router --no-default-features --bench ledger
	$(CARGO) bench --locked -p policies --bench detect

.PHONY: lint-perf
lint-perf: build ## Instructions a request costs, under callgrind, beside what tests/perf.json says.
	scripts/lint-perf

.PHONY: bench-growth
bench-growth: tools ## Cost of an attempt with a large ledger and many keys beside an empty one; prints ratios.
	$(CARGO) bench --locked -p router --no-default-features --bench growth

.PHONY: mutants
mutants: tools ## Applies each planted bug of tests/mutants to a scratch copy and expects its test to fail.
	scripts/mutants

.PHONY: sbom
sbom: tools ## A bill of materials (CycloneDX 1.5) of what is linked into the program.
	scripts/sbom --out $(TARGET_DIR)/sluice.cdx.json

.PHONY: helm-check
helm-check: ## Renders and validates the chart.
	scripts/setup-tests
	scripts/in-venv python -m pytest -q helm/tests

.PHONY: ci
ci: lint test ## What has to be green.
