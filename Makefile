# Everything a developer runs. Each target does its own set-up.

GO      ?= go
TOOL    := $(GO) tool -modfile=.tools/go.mod
# How long each fuzz target runs in `make fuzz`.
FUZZTIME ?= 20s
ROUNDS   ?= 3

.PHONY: build run test vet unit redis e2e race fuzz bench lint check licenses

# build: the binaries, into bin/.
build:
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=auto -o bin/ ./cmd/...

# run: the gateway with its defaults, on 127.0.0.1:8080, its admin listener on 127.0.0.1:9090.
run: build
	bin/sluice

# test: everything that must hold: vet, every Go test with the race detector, the browser.
test: vet race e2e

# vet: what the compiler does not say, for Linux and macOS.
vet:
	$(GO) vet ./...
	GOOS=darwin $(GO) vet ./...

# unit: the Go tests without the race detector; the quickest answer while working.
unit: redis
	$(GO) test ./...

# race: the Go tests with the race detector, in random order.
race: redis
	$(GO) test -race -shuffle=on ./...

# redis: a Redis server for the tests that need one; the distribution's, unless there is one.
redis:
	@.tools/ensure redis-server redis-server >/dev/null

# e2e: the demo page in a real browser, in two tabs, over a restart of the gateway; and a report of
# the load generator.
e2e: build
	gateway/admin/demo/e2e/run
	bench/report/e2e/run

# fuzz: each fuzz target for FUZZTIME.
fuzz:
	@$(GO) list -f '{{$$p := .}}{{range .TestGoFiles}}{{$$p.Dir}}/{{.}} {{end}}' ./... | tr ' ' '\n' | \
	xargs grep -Ho '^func Fuzz[A-Za-z0-9_]*' | sed 's/:func / /' | while read -r file target; do \
		echo "$$target ($$file)"; \
		$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")" || exit 1; \
	done

# bench: the figures of both engines beside the floor, the medians of ROUNDS interleaved rounds. 5 min.
bench: build
	bin/sluice-bench figures --gateway bin/sluice --rounds $(ROUNDS) --out bench/results/figures.json

# compare: the gateway, the floor and what people use instead, the medians of ROUNDS interleaved
# rounds. 8 min. peers-test: that those do what they are measured at.
PEERS := gws gorilla coder gobwas cloudwego node fastapi
.PHONY: compare peers-test
compare: build
	bin/sluice-bench figures --gateway bin/sluice --rounds $(ROUNDS) --duration 800ms \
		--connections 5000 --settle 1s --arrivals 2s --out bench/results/compare.json \
		--only idle,echo,pipelined,echo16k,fanout,flooded,deflate512,handshake \
		$(foreach p,$(PEERS),--peer '$(p)=bench/peers/run $(p) --compress')
peers-test:
	cd bench/peers && $(GO) vet ./... && $(GO) test ./...

# lint: formatting, static analysis, the shape of the code, go.mod and the list of licences.
lint: vet
	@test -z "$$(gofmt -l .)" || { echo "not formatted:"; gofmt -l .; exit 1; }
	$(TOOL) staticcheck ./...
	.tools/style
	$(GO) mod tidy -diff
	@.tools/licenses | diff docs/licenses.md - || { echo "run: make licenses"; exit 1; }

# check: what a change must pass before it is handed in.
check: lint test

# licenses: writes docs/licenses.md.
licenses:
	.tools/licenses > docs/licenses.md
