# `make help` lists what there is. All outputs of builds go to
# $HEARTH_CACHE (default ~/.cache/hearth), which clones share.
HEARTH_CACHE ?= $(HOME)/.cache/hearth
CARGO_TARGET_DIR ?= $(HEARTH_CACHE)/target
export HEARTH_CACHE CARGO_TARGET_DIR
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/local/go/bin

.DEFAULT_GOAL := help
.PHONY: help setup build images cluster cluster-down env demo test e2e soak bench-engine bench-quality lint fmt generate

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  \033[1m%-13s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## From nothing to streamed tokens; CLUSTER=current uses your kubeconfig (see deploy/demo.sh)
	@CLUSTER="$(CLUSTER)" deploy/demo.sh

test: ## Everything that must hold at each change
	@tests/run.sh

e2e: ## The end-to-end suite alone; FILTER=name picks cases, KEEP=1 keeps the cluster
	@tests/e2e.sh "$(FILTER)"

soak: ## Long runs: properties, fuzzing, many callers, repeated faults, many machines
	@tests/soak.sh

bench-engine: ## Our engine beside llama.cpp, speed and memory; ARGS="--figure prefill-512" picks
	@tests/bench/engine.sh $(ARGS)

bench-quality: ## Our logits and llama.cpp's against f32, for every type of weights; TYPES="Q4_K Q6_K" picks
	@tests/bench/quality.sh $(TYPES)

cluster: ## Start the local Kubernetes, or use the one that is up
	@deploy/dev-cluster/up.sh

cluster-down: ## Stop it and leave nothing behind
	@deploy/dev-cluster/down.sh

env: ## For your shell: eval "$(make -s env)"
	@deploy/dev-cluster/print-env.sh

setup: ## Install the Debian packages and fetch the test model
	@deploy/dev-cluster/setup.sh && deploy/dev-cluster/models.sh

build: ## Compile all binaries
	@deploy/cargo-target.sh && cargo build --locked --workspace --bins

images: ## Build the images, and load them into the local cluster if it is up
	@deploy/dev-cluster/setup.sh && deploy/images/build.sh

lint: ## Clippy, rustfmt, shellcheck, go vet
	@deploy/cargo-target.sh
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	tests/shell.sh
	deploy/dev-cluster/check.sh

fmt: ## Format all code
	cargo fmt --all
	gofmt -l -w deploy/dev-cluster

generate: ## Write generated files anew: wire contracts, CRDs, goldens of plans
	@deploy/cargo-target.sh
	HEARTH_UPDATE=1 INSTA_UPDATE=always cargo test --locked --workspace
