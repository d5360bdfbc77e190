# One door for people and for CI. Everything is built with the same flags and the same selection
# of packages, so that no target builds again what another one has built.
#
#   make demo    an upgrade under live traffic on a fleet of processes     ARGS="--json FILE"
#   make test    every test; its last lines are the runner's summary
#   make verify  format, lints, licences and bans, then every test; never writes
#   make fleet   end-to-end tests alone, with what each prints             TEST=crash
#   make sim     simulated histories of fleets, and of Raft alone          SEEDS= RAFT_SEEDS=, or SEED=17
#   make mutants faults of our own, seeded; each must be caught            ONLY=grant
#   make chaos   fleets of real processes under fire                       ARGS="--runs 1 --seed 7"
#   make bench   what it costs, on a release build                         ARGS=
#   make clean

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
# Figures that one version can be compared with the next by.
PROOF := $(TARGET)/proof
SEEDS ?= 5000
RAFT_SEEDS ?= 500
ARGS ?=

# Tests in their own process each, one summary at the end; where nextest is not installed, cargo's
# own runner does the same tests.
RUNNER = $(if $(shell $(CARGO) nextest --version 2>/dev/null),nextest run,test --lib --bins --tests --no-fail-fast)
TEST ?=

.PHONY: help
help:
	@sed -n 's/^#   //p' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo:
	$(CARGO) build --locked --workspace --bins
	@$(TARGET)/debug/trictl demo $(ARGS)

# Binaries and tests in one build: the tests of the whole fleet start the daemons themselves.
.PHONY: test
test: tools
	$(CARGO) build --locked --workspace --bins --tests
	$(CARGO) $(RUNNER) --locked --workspace

.PHONY: fleet
fleet: tools
	$(CARGO) build --locked --workspace --bins --tests
	$(CARGO) test --locked --workspace --test fleet -- --nocapture --test-threads 1 $(TEST)

.PHONY: tools
tools:
	@.ci/tools

.PHONY: verify
verify:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --locked check; \
	else echo "cargo-deny is not installed: licences and advisories are not checked; the bans"; \
	echo "that matter most are, by the test of the architecture (tests/tidy.rs)"; fi
	@$(MAKE) --no-print-directory test

.PHONY: sim
sim:
	$(CARGO) build --locked --workspace --bins
	@$(TARGET)/debug/sim $(if $(SEED),--seed $(SEED),$(if $(RAFT_SEED),--raft-seed $(RAFT_SEED),\
		--seeds $(SEEDS) --raft-seeds $(RAFT_SEEDS) --json $(PROOF)/sim.json \
		--propose tests/regressions))

.PHONY: mutants
mutants:
	$(CARGO) build --locked --workspace --bins
	@$(TARGET)/debug/mutants --dir $(TARGET)/mutants $(if $(ONLY),--only $(ONLY),--json $(PROOF)/mutants.json)

# Figures go beside the programs; the logs of a run that is not good as well.
.PHONY: chaos
chaos:
	$(CARGO) build --locked --workspace --bins
	@$(TARGET)/debug/chaos --programs $(TARGET)/debug --json $(TARGET)/proof/chaos.json $(ARGS)

.PHONY: bench
bench:
	@.ci/tools bench
	$(CARGO) build --locked --workspace --bins --release
	@$(TARGET)/release/bench --programs $(TARGET)/release --json $(PROOF)/bench.json $(ARGS)

.PHONY: clean
clean:
	$(CARGO) clean
