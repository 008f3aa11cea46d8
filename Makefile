# Commands for developers and CI. `make` without a target lists the targets.

SHELL := /bin/sh
CARGO ?= cargo
# Kubernetes binaries of the demo, and of the tests. The tests delete namespaces, which needs the controller manager.
TOOLS = etcd kube-apiserver kubectl
TEST_TOOLS = $(TOOLS) kube-controller-manager

# The targets share target/ and the caches, so make runs one target at a time. Cargo and Go use all cores.
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help demo test test-extended soak bench fmt crds fixtures control-plane clean-cache require-rust

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

require-rust:
	@missing=; for tool in $(CARGO) cc; do command -v $$tool >/dev/null 2>&1 || missing="$$missing $$tool"; done; \
	[ -z "$$missing" ] || { echo "missing:$$missing (install Rust, see rust-toolchain.toml, and a C compiler)" >&2; exit 1; }

demo: require-rust ## Run the operator on this machine with a local Kubernetes API; no account needed
	@echo "The first demo builds the operator (about 2 min on 2 cores, 1 GB in target/) and a local Kubernetes API."
	@echo "Later demos start immediately."
	@$(MAKE) --no-print-directory control-plane
	@$(CARGO) build --locked
	@$(CARGO) run --locked --quiet --example demo

test: require-rust ## Check the format and the lints, and run all tests on a real Kubernetes API
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	@$(MAKE) --no-print-directory control-plane TOOLS="$(TEST_TOOLS)"
	$(CARGO) test --locked

test-extended: require-rust ## Run the slow tests and print their figures
	@$(MAKE) --no-print-directory control-plane TOOLS="$(TEST_TOOLS)"
	TEST_EXTENDED=1 $(CARGO) test --locked --test integration -- --show-output budget crash_points
	TEST_SANDBOX_PROFILE=legacy $(CARGO) test --locked --test integration

soak: require-rust ## Run random edits, faults and kills for 600 s, then compare (DURATION=seconds, SEED=number)
	@$(MAKE) --no-print-directory control-plane TOOLS="$(TEST_TOOLS)"
	SEED="$(SEED)" DURATION="$(DURATION)" $(CARGO) test --locked --test integration -- --ignored --exact --nocapture \
		soak::random_run_ends_equal_to_the_objects_in_the_cluster

bench: require-rust ## Measure the resource usage of the operator (APPS=500 SPICEPOD_BYTES=5120 SECRETS=4; QUICK=1: 50 apps)
	@$(MAKE) --no-print-directory control-plane
	@$(CARGO) build --locked --release
	@$(CARGO) run --locked --release --quiet --example bench

fmt: require-rust ## Format the code
	$(CARGO) fmt

crds: require-rust ## Generate the CustomResourceDefinitions in crds/
	$(CARGO) run --locked --quiet -- crds --output crds/

fixtures: require-rust ## Record the stored objects of this version in tests/fixtures/
	@$(MAKE) --no-print-directory control-plane TOOLS="$(TEST_TOOLS)"
	$(CARGO) test --locked --test integration -- --ignored --exact --nocapture \
		fixtures::record::record_fixtures_of_this_version

control-plane: ## Find or build the binaries of the local Kubernetes API
	@if [ "$${USE_EXISTING_CLUSTER:-}" = true ]; then echo "Using the existing cluster of KUBECONFIG."; \
	else folder=$$(tests/control-plane/build.sh $(TOOLS)) && echo "The Kubernetes binaries are in $$folder"; fi

clean-cache: ## Delete the built Kubernetes binaries (for the caches of Go: go clean -cache -modcache)
	rm -rf "$${XDG_CACHE_HOME:-$${HOME:?}/.cache}/spice-cloud-operator"
