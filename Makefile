# hubcast: everything a user or a developer runs. `make help` lists it.

CARGO ?= cargo
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run build test ci fmt fmt-check lint doc

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

run: ## Build and run the server; options in ARGS='--listen 127.0.0.1:9000'
	$(CARGO) run --release --quiet -- $(ARGS)

build: ## Build the release program, target/release/hubcast
	$(CARGO) build --release

test: ## Run the tests
	$(CARGO) test --all-targets
	$(CARGO) test --doc

ci: fmt-check lint test doc ## What must pass before anything lands

fmt: ## Format the code
	$(CARGO) fmt

fmt-check: ## Check the format
	$(CARGO) fmt --check

lint: ## Run clippy, warnings denied, with and without the program
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) clippy --lib --no-default-features -- -D warnings

doc: ## Build the documentation, warnings denied
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --no-deps --document-private-items
