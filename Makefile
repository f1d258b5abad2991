# The menu of haus-am-see. `make demo` is the main job, `make test` the whole test suite; both set up what they need.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export HAUS_CACHE ?= $(HOME)/.cache/haus-am-see
# Outside the checkout, so that a second clone on this machine is warm.
export CARGO_TARGET_DIR ?= $(HAUS_CACHE)/target
HAUS := $(CARGO_TARGET_DIR)/debug/haus

.PHONY: help
help: ## Shows this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

.PHONY: bootstrap
bootstrap: ## Installs what is missing: build tools, Java, Maven; fetches Kafka and PostgreSQL
	@embedded/bootstrap.sh

.PHONY: build
build: bootstrap ## Builds all binaries
	@echo "build: our binaries into $(CARGO_TARGET_DIR) (the first time this compiles some 600 crates: see bench/RESULTS.md)"
	@cargo build --locked --workspace --bins

.PHONY: up
up: build ## Starts the embedded stack and registers the connectors
	@$(HAUS) up

.PHONY: demo
demo: build ## From nothing to a verified lake, and what is in it
	@$(HAUS) demo

.PHONY: down
down: ## Stops the stack; its data stays
	@if [ -x $(HAUS) ]; then $(HAUS) down; else echo "nothing is built, so nothing is up"; fi

.PHONY: clean-data
clean-data: down ## Stops the stack and forgets its data
	@rm -rf .haus && echo "data forgotten"

.PHONY: check
check: lint deny test ## All that CI checks: lints, dependencies, tests

.PHONY: lint
lint: bootstrap ## Format and lints of all files, as CI runs them
	tests/lint/run.sh pre-commit run --all-files --show-diff-on-failure
	tests/docs/blocks.py --check && tests/docs/links.py
	cargo clippy --locked --workspace --all-targets -- -D warnings

.PHONY: hooks
hooks: ## Has git check each commit, and each push
	@tests/lint/run.sh pre-commit install

# Advisories come from a database on GitHub: left out where only package registries are reached.
ADVISORIES ?= no
.PHONY: deny
deny: ## Licences, sources and use of dependencies (ADVISORIES=yes: known vulnerabilities)
	"$$(tests/lint/cargo-tool.sh cargo-machete 0.9.2)" crates
	"$$(tests/lint/cargo-tool.sh cargo-deny 0.20.2)" --locked check licenses bans sources
	@if [ "$(ADVISORIES)" = yes ]; then "$$(tests/lint/cargo-tool.sh cargo-deny 0.20.2)" --locked check advisories; \
	else echo "deny: known vulnerabilities left out; make deny ADVISORIES=yes asks for them"; fi

.PHONY: test
test: bootstrap readers notebooks-env ## The whole test suite with its own set-up
	cargo build --locked --workspace --all-targets
	$(FAILPOINT_BINARIES)
	HAUS_TEST_BUILT=1 cargo test --locked --workspace --no-fail-fast
	tests/docs/facts.py --check
	tests/docs/blocks.py --run embedded

# Programs that die where a test says, and further tests of the relay. The whole workspace is named, since cargo would
# compile shared dependencies again for a part.
FAILPOINT_BINARIES := cargo build --locked --workspace --bin cdc-relay-failpoints --bin lake-failpoints \
	--bin s3-sink-failpoints --features cdc-relay/failpoints,lake/failpoints,s3-sink/failpoints
RELAY_TESTS := HAUS_TEST_BUILT=1 cargo test --locked --workspace --test main --
RUNS ?= 30

.PHONY: test-model
test-model: build ## The relay dies at every step, and against random histories (RUNS=30)
	$(FAILPOINT_BINARIES)
	$(RELAY_TESTS) --ignored --nocapture failpoints::
	RELAY_MODEL_RUNS=$(RUNS) $(RELAY_TESTS) --ignored --nocapture oracle::

.PHONY: test-slow
test-slow: build ## The relay with a transaction of two million rows, and with 5,000 tables; minutes
	$(RELAY_TESTS) --ignored --nocapture --test-threads 1 slow::

# The sink's tests of faults, by parts of their names; with HAUS_TEST_STORE=minio they run against MinIO.
SINK_FAULTS := a_store_that_fails_every second_parts_that_fail a_sink_killed_between_parts members_that_join_and_leave \
	a_worker_that_wakes_late two_sinks_share_one_group it_dies_at_each_step_where an_object_server_that_is_away

.PHONY: test-peers
test-peers: build ## Takeover both ways between the relay and real Debezium on a Connect worker, the sink on MinIO; minutes
	@bench/peers/fetch.sh
	@bench/peers/minio.sh build
	$(RELAY_TESTS) --ignored --nocapture --test-threads 1 peers::
	$(FAILPOINT_BINARIES)
	HAUS_TEST_STORE=minio $(RELAY_TESTS) --nocapture --test-threads 2 $(SINK_FAULTS)

# The whole workspace is named, since cargo would compile shared dependencies again for a part.
CLUSTER := --locked --workspace --features lake/cluster

.PHONY: test-cluster
test-cluster: bootstrap ## Models on a Ballista cluster whose executors are killed; compiles Ballista, so not in `make test`
	cargo build $(CLUSTER) --bin lake-cluster --bin object-server --bin catalog --test cluster
	HAUS_TEST_BUILT=1 cargo test $(CLUSTER) --test cluster -- --nocapture --test-threads 1

.PHONY: fuzz
fuzz: ## Fuzzes the parsers of outside bytes with a nightly compiler (FUZZ_SECONDS=300 each)
	@tests/fuzz.sh

.PHONY: image
image: bootstrap ## Our container image from a build here, with the cluster engine (docker build makes it from the sources)
	cargo build $(CLUSTER) --bin haus-am-see
	@compose/image.sh $(CARGO_TARGET_DIR)/debug

.PHONY: test-compose
test-compose: build ## The compose zones, each command of README on them, and the JVM twins, on a Docker engine
	cargo build $(CLUSTER) --bin haus-am-see
	@tests/compose/run.sh $(PARTS)

.PHONY: test-fresh
test-fresh: ## `make demo` and `make test` in a bare Debian container with Rust: shows missing install steps; slow
	@tests/fresh.sh

.PHONY: docs
docs: ## Builds the book into docs/book and checks its links
	@"$$(tests/docs/mdbook.sh)" build docs
	@tests/docs/links.py && tests/docs/links.py --book docs/book
	@echo "docs: docs/book/index.html"

.PHONY: test-docs
test-docs: build notebooks-env ## Runs the command blocks of README and the book on an embedded stack of their own
	tests/docs/facts.py --check
	tests/docs/blocks.py --run embedded

# PyIceberg and DuckDB, with which the end-to-end test reads the lake.
.PHONY: readers
readers:
	@tests/readers/setup.sh

# What scripts/requirements.txt names.
.PHONY: notebooks-env
notebooks-env:
	@tests/notebooks/setup.sh

.PHONY: notebooks
notebooks: notebooks-env ## JupyterLab with the notebooks of scripts/, beside the running embedded stack
	@tests/notebooks/lab.sh

.PHONY: bench-start
bench-start: build ## Measures start, freshness and memory of the embedded stack
	@bench/start.sh

.PHONY: bench-sink
bench-sink: bootstrap ## Measures the sink beside a consumer that only writes to disk
	@bench/sink/run.sh

.PHONY: bench-cdc
bench-cdc: bootstrap ## Measures cdc-relay beside real Debezium, pg_recvlogical and bare Kafka; some 20 minutes
	@bench/cdc/run.sh

.PHONY: bench-lake
bench-lake: bootstrap ## Measures the lake beside Spark and DuckDB: stage, merge, freshness; up to an hour
	@bench/lake/run.sh

.PHONY: bench-serve
bench-serve: bootstrap ## Measures the models beside Spark and DuckDB: full, after changes, freshness; some 20 minutes
	@bench/serve/run.sh
