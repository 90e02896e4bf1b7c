# The commands of the README are `go run ./cmd/demo` and `make test`; `make help` lists the rest.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS   += --no-print-directory

GO       ?= go
# A number of runs rather than a time: when a time is up, go test -fuzz now and
# then fails with "context deadline exceeded" and no finding.
FUZZTIME ?= 5000x
CHAOS    ?= 20m
REDIS    ?= standalone
BROKERS  ?= 1
SEED     ?=
TROUBLES ?=
SEEDS    ?= 3000
MUTANTS  ?= 200
FROM     ?= 1
LINT     := $(GO) tool -modfile=$(CURDIR)/.ci/tools/go.mod golangci-lint

# A module of its own, because of the peer that it measures.
BENCHMODULE := cmd/bench

# The RocketMQ SDK has data races of its own, so some tests are built only
# without the race detector. These are their packages.
NORACE = $(filter-out ./$(BENCHMODULE),$(shell grep -rl --include='*_test.go' '^//go:build.*!race' . | xargs -r -n1 dirname | sort -u))

# Tests that stop parts of the stack, which all others need, are in these packages.
ALONE  = $(filter-out ./$(BENCHMODULE),$(shell grep -rl --include='*_test.go' REFUNDD_TEST_STACK . | xargs -r -n1 dirname | sort -u))
OTHERS = $(filter-out $(ALONE:./%=refundd/%),$(shell $(GO) list ./...))

# Tests wait more than they work, so more of them run at once than there are cores.
TEST := $(GO) test -shuffle=on -count=1 -parallel 8

.PHONY: help build fmt tidy lint test test-embedded test-real test-on-stack fuzz sim mutation mutants chaos bench demo clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | awk -F ':.*## ' '{ printf "  %-14s %s\n", $$1, $$2 }'

build: ## the programs, into bin/
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./cmd/...

fmt: ## format all Go code
	$(LINT) fmt
	cd $(BENCHMODULE) && $(LINT) fmt

tidy: ## check that go.mod says what the code imports, and the downloads' checksums
	$(GO) mod verify
	$(GO) mod tidy -diff
	cd $(BENCHMODULE) && $(GO) mod tidy -diff

lint: ## golangci-lint, the format included
	$(LINT) run ./...
	cd $(BENCHMODULE) && $(LINT) run ./...

test: ## everything: tidy, lint, tests on embedded parts, fuzz, tests on a real RocketMQ and Redis
	@$(MAKE) tidy
	@$(MAKE) lint
	@$(MAKE) test-embedded
	@$(MAKE) fuzz
	@$(MAKE) test-real
	@echo "make test: all passed"

test-embedded: ## all tests, with Go alone: embedded broker, miniredis, local Alipay
	REFUNDD_TEST_PROMTOOL="$$(.ci/promtool)" $(TEST) -race ./...
	$(TEST) -p 4 $(NORACE)
	$(TEST) -tags openssl ./alipay/openssl ./cmd/internal/config
	cd $(BENCHMODULE) && $(TEST) ./...

test-real: ## all tests again on a real RocketMQ and Redis, brought up and taken down
	$(GO) run ./deploy/stack -- \
		env -u REFUNDD_ROCKETMQ_NAMESERVERS -u REFUNDD_REDIS_URL $(MAKE) test-on-stack

test-on-stack:
	$(TEST) -p 4 $(OTHERS)
	$(TEST) -p 1 -timeout 13m $(ALONE)

fuzz: ## every fuzz target for a moment, FUZZTIME=5000x (or 10m)
	grep -roE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sort | while IFS=: read -r file target; do \
		$(GO) test -run '^$$' -fuzz "^$${target#func }$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x "$$(dirname "$$file")"; \
	done

chaos: ## real processes under every trouble of network, Redis and broker, CHAOS=20m REDIS=standalone (sentinel, cluster) BROKERS=1 (2) SEED= TROUBLES=silent (a regular expression)
	$(GO) build -modfile=.ci/chaos/go.mod -o bin/toxiproxy-server github.com/Shopify/toxiproxy/v2/cmd/server
	$(GO) run ./deploy/stack $(if $(filter 2,$(BROKERS)),-brokers 2 -engine jars) -- \
		env -u REFUNDD_ROCKETMQ_NAMESERVERS -u REFUNDD_REDIS_URL \
		REFUNDD_TEST_CHAOS=$(CHAOS) REFUNDD_TEST_CHAOS_REDIS=$(REDIS) REFUNDD_TEST_SEED=$(SEED) REFUNDD_TEST_CHAOS_TROUBLES="$(TROUBLES)" \
		REFUNDD_TEST_TOXIPROXY=$(CURDIR)/bin/toxiproxy-server REFUNDD_TEST_HISTORY=$(CURDIR)/bin/chaos-$(REDIS)-$(BROKERS).jsonl \
		$(GO) test -count=1 -v -timeout 3h -run '^TestChaos$$' ./cmd/refundd
	$(GO) run ./cmd/refundctl check bin/chaos-$(REDIS)-$(BROKERS).jsonl

bench: ## refundd beside a plain peer, each run judged; BENCH="-rounds 1 backlog" for a quick look, "-h" for its flags; BROKERS=1 (2)
	CGO_ENABLED=0 $(GO) build -trimpath -tags openssl -ldflags='-s -w' -o bin/image/ ./cmd/refundd
	$(GO) build -o bin/plain/ ./cmd/refundd
	cd $(BENCHMODULE) && $(GO) build -tags openssl -o $(CURDIR)/bin/bench .
	$(GO) run ./deploy/stack $(if $(filter 2,$(BROKERS)),-brokers 2 -engine jars) -- bin/bench $(BENCH)

sim: ## simulated runs of the flow in a world that fails, SEEDS=3000 FROM=1
	$(GO) test ./consumer/simulation -run 'TestSimulation$$' -count=1 -timeout 0 -v -args -seeds=$(SEEDS) -from=$(FROM) -coverage

mutation: ## plant each deliberate mistake and tell what catches it
	$(GO) run ./consumer/mutation

mutants: ## change operators, constants and statements at random and tell what survives, MUTANTS=200 SEED=1
	$(GO) run ./consumer/mutation -random $(MUTANTS) -seed $(or $(SEED),1)

demo: ## one process with everything in it: commands, refunds, events
	$(GO) run ./cmd/demo

clean: ## remove what the targets have made here
	rm -rf bin
	$(GO) clean -testcache
