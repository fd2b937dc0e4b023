# Everything a developer runs. Each target does its own set-up.

GO ?= go

.PHONY: build run test vet

# build: the binaries, into bin/.
build:
	CGO_ENABLED=0 $(GO) build -o bin/ ./cmd/...

# run: the gateway with its defaults, on 127.0.0.1:8080.
run: build
	bin/sluice

# test: every test, with the race detector.
test: vet
	$(GO) test -race -shuffle=on ./...

# vet: what the compiler does not say, for Linux and macOS.
vet:
	$(GO) vet ./...
	GOOS=darwin $(GO) vet ./...
