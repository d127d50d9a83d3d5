# Every target works on a machine that has git, make and Go; what a target cannot do there it says.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
SECONDS ?= 5
GO := CGO_ENABLED=0 go

.PHONY: build demo test e2e bench bench-failover check fuzz cross clean

build: ## bin/cluster
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/cluster ./cmd/cluster

bin/hello: examples/hello/*.go
	$(GO) build -trimpath -ldflags '-s -w' -o $@ ./examples/hello

demo: build bin/hello ## the main job, end to end
	examples/demo.sh

# The race detector needs a C compiler.
RACE := $(shell command -v gcc >/dev/null && echo -race)

test: ## all that this machine can run; says what it skipped and why
	go test $(RACE) -count=1 -shuffle=on -v $$(go list ./... | grep -v /e2e) 2>&1 | awk -f .ci/summary.awk

e2e: build bin/hello ## real binaries, real processes, real containers
	CLUSTER_BIN=$(CURDIR)/bin/cluster HELLO_BIN=$(CURDIR)/bin/hello go test -count=1 -shuffle=on -timeout 20m -v ./e2e/... 2>&1 | awk -f .ci/summary.awk

check: ## format, vet, staticcheck, laws, each benchmark once, all platforms
	test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...
	go test -count=1 .
	out=$$(go test -run '^$$' -bench . -benchtime 1x $$(go list ./... | grep -v /e2e) 2>&1) || { echo "$$out"; exit 1; }
	$(MAKE) --no-print-directory cross

cross: ## the command line builds everywhere; the agent is Linux's
	for target in linux/amd64 linux/arm64 linux/arm darwin/arm64 windows/amd64; do \
		GOOS=$${target%/*} GOARCH=$${target#*/} $(GO) build -o /dev/null ./cmd/cluster; echo "builds for $$target"; done

fuzz: ## every fuzz target for some seconds
	.ci/fuzz $(SECONDS)

bench: build bin/hello ## prints figures, asserts nothing
	.ci/bench

bench-failover: build bin/hello ## what a loss costs, on machines made of namespaces; needs root. FLAGS="-runs 3 -rows leader,client"
	$(GO) build -trimpath -o bin/failover ./e2e/bench/failover
	bin/failover $(FLAGS)

clean:
	rm -rf bin
