# hubcast: everything a user or a developer runs. `make help` lists it.

CARGO ?= cargo
ARGS ?=
# Options of the load benchmark: make bench LOAD='one-100 --seconds 2'
LOAD ?=

.DEFAULT_GOAL := help
.PHONY: help run build test ci fmt fmt-check lint doc bench bench-peers

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

bench: ## Measure the server under load, beside the floor (LOAD='--help')
	$(CARGO) bench --bench load -- $(LOAD)

bench-peers: ## The same beside other servers; installs what they need
	benches/peers/setup.sh
	$(CARGO) bench --bench load -- --peers-from benches/peers/target/peers.txt $(LOAD)
