# What people and CI run. `make` alone says what there is.

SHELL := /bin/sh
CARGO ?= cargo
# The parts of Kubernetes that the demo needs, and those of the tests, which delete namespaces as well.
TOOLS = etcd kube-apiserver kubectl
TEST_TOOLS = $(TOOLS) kube-controller-manager

# The targets share target/ and the caches: one at a time, also with -j. Cargo and Go use all cores by themselves.
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help demo test test-extended bench fmt crds control-plane clean-cache require-rust

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

require-rust:
	@missing=; for tool in $(CARGO) cc; do command -v $$tool >/dev/null 2>&1 || missing="$$missing $$tool"; done; \
	[ -z "$$missing" ] || { echo "missing:$$missing (Rust, see rust-toolchain.toml, and a C compiler are needed)" >&2; exit 1; }

demo: require-rust ## Show the operator at work on this machine, with nothing to sign up for
	@echo "The demo builds the operator (about 2 min on 2 cores, 1 GB in target/) and a local Kubernetes API."
	@echo "It does so once; the next demo starts at once."
	@$(MAKE) --no-print-directory control-plane
	@$(CARGO) build --locked
	@$(CARGO) run --locked --quiet --example demo

test: require-rust ## Check the format, the lints and all tests, on a real Kubernetes API
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	@$(MAKE) --no-print-directory control-plane TOOLS="$(TEST_TOOLS)"
	$(CARGO) test --locked

test-extended: require-rust ## Run the tests that take minutes as well, and show their figures
	@$(MAKE) --no-print-directory control-plane TOOLS="$(TEST_TOOLS)"
	TEST_EXTENDED=1 $(CARGO) test --locked --test integration -- --show-output budget kill_points
	TEST_SANDBOX_PROFILE=legacy $(CARGO) test --locked --test integration

bench: require-rust ## Measure what the operator costs, with 500 apps of 4 secrets each (QUICK=1: 50)
	@$(MAKE) --no-print-directory control-plane
	@$(CARGO) build --locked --release
	@$(CARGO) run --locked --release --quiet --example bench

fmt: require-rust ## Format the code
	$(CARGO) fmt

crds: require-rust ## Write the custom resource definitions into crds/
	$(CARGO) run --locked --quiet -- crds --output crds/

control-plane: ## Find or build the binaries of the local Kubernetes API
	@if [ "$${USE_EXISTING_CLUSTER:-}" = true ]; then echo "Using the cluster of KUBECONFIG."; \
	else folder=$$(tests/control-plane/build.sh $(TOOLS)) && echo "The Kubernetes binaries are in $$folder"; fi

clean-cache: ## Remove the built Kubernetes binaries (Go keeps caches of its own: go clean -cache -modcache)
	rm -rf "$${XDG_CACHE_HOME:-$${HOME:?}/.cache}/spice-cloud-operator"
