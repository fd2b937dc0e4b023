# Everything a developer runs. Each target does its own set-up.

GO ?= go

.PHONY: test vet

# test: every test, with the race detector.
test: vet
	$(GO) test -race -shuffle=on ./...

# vet: what the compiler does not say, for Linux and macOS.
vet:
	$(GO) vet ./...
	GOOS=darwin $(GO) vet ./...
