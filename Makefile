# hubcast: everything a user or a developer runs. `make help` lists it.

CARGO ?= cargo
ARGS ?=
# Options of the load benchmark: make bench LOAD='one-100 --seconds 2'
LOAD ?=
# Options of the soak and abuse runs: make soak SOAK='--churn-seconds 60 --seed 7'
SOAK ?=
CHROMIUM ?= chromium
# How often each test of make test-engine kills redis-server.
FAULTS ?= 3
# How long each row of make bench-cluster takes.
SECONDS ?= 10
# With ENGINE=all, make test-engine runs those that take minutes, too.
ENGINE ?=
# How long each fuzz target runs.
FUZZ_SECONDS ?= 600
# cargo-deny, wherever it is.
DENY = PATH="$(CURDIR)/target/tools/bin:$$PATH" cargo-deny
FUZZ_TARGETS = request_head proxy_header reader outbox
# New inputs go to target/; those of tests/fuzz/corpus are read too.
FUZZ = PATH="$(CURDIR)/target/tools/bin:$$PATH" $(CARGO) +nightly fuzz run \
	--fuzz-dir tests/fuzz --target-dir target/fuzz/build

.DEFAULT_GOAL := help
.PHONY: bench-cluster test-browser-cluster bench-flood bench-returning run-demo test-guide-clients packaging dist deb test-deb test-resume help run build test ci fmt fmt-check lint deps doc bench bench-peers bench-micro test-browser picture browser-tools autobahn test-clients test-proxies test-generated generated-tools proxies-tools fuzz fuzz-reduce soak abuse test-netns netns-tools engine-tools test-engine run-cluster

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

run: ## Build and run the server; options in ARGS='--listen 127.0.0.1:9000'
	$(CARGO) run --release -- $(ARGS)

run-demo: ## A live dashboard of this machine, in the browser
	$(CARGO) run --release --example dashboard -- 127.0.0.1:0

build: ## Build the release program, target/release/hubcast
	$(CARGO) build --release

packaging: build ## The man page and completions, in target/packaging
	sh packaging/generate.sh target/release/hubcast target/packaging

# The same sources make the same bytes, whenever they are packed.
dist: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)
dist: build ## An archive of the program and what belongs to it, in target/dist
	mkdir -p target/dist
	sh packaging/dist.sh target/release/hubcast target/dist

deb: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)
deb: packaging target/tools/bin/cargo-deb ## A Debian package, in target/debian
	PATH="$(CURDIR)/target/tools/bin:$$PATH" $(CARGO) deb --no-build

test-deb: deb ## Install, start and remove the Debian package (needs root)
	sh packaging/test-deb.sh target/debian/hubcast_*.deb

.PHONY: test-image
STATIC = $(shell uname -m)-unknown-linux-musl
test-image: ## Build the image's last stage around a static program, and run it (needs root)
	@command -v buildah >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends buildah; }
	rustup target add $(STATIC)
	$(CARGO) build --release --target $(STATIC)
	sh packaging/test-image.sh target/$(STATIC)/release/hubcast

target/tools/bin/cargo-deb:
	$(CARGO) install cargo-deb --version '^3.8' --locked --root target/tools

test: ## Run the tests, those in the documentation too
	$(CARGO) test

test-resume: ## 100,000 clients that are cut off and come back, checked message by message
	$(CARGO) test --lib -- --ignored --nocapture a_hundred_thousand_resumes
	$(CARGO) test --test it -- --ignored --nocapture a_hundred_thousand_resumes

ci: fmt-check lint deps test doc ## What must pass before anything lands

fmt: ## Format the code
	$(CARGO) fmt

fmt-check: ## Check the format
	$(CARGO) fmt --check

lint: ## Run clippy, warnings denied, with and without the program
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) clippy --lib --no-default-features -- -D warnings

deps: cargo-deny ## Check the dependencies: no async runtime in any combination of features, their number, licences, sources and known defects
	@for features in '' cli cli,generate deflate tls redis cli,deflate cli,tls cli,redis deflate,tls tls,redis cli,deflate,tls cli,deflate,tls,redis; do \
		! $(CARGO) tree --locked -e normal,build --prefix none --no-default-features --features "$$features" \
			| grep -E '^(async-|futures|mio|smol|tokio)' || exit 1; \
	done
	@crates=$$($(CARGO) tree --locked -e normal,build --no-default-features --prefix none | sed 's/ (.*//' | sort -u | wc -l); \
	echo "the library and what it depends on: $$crates crates, of at most 33"; test "$$crates" -le 33
	$(DENY) --config .ci/deny.toml check --hide-inclusion-graph bans licenses sources
	DENY='$(DENY)' sh .ci/advisories.sh

# One that is installed already will do. Unoptimised, it is built in a third of
# the time, and checks in a second all the same.
.PHONY: cargo-deny
cargo-deny:
	@command -v cargo-deny >/dev/null || test -x target/tools/bin/cargo-deny || \
	$(CARGO) install cargo-deny --version 0.20.2 --locked --debug --root target/tools

doc: ## Build the documentation, warnings denied
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --no-deps --document-private-items

bench: ## Measure the server under load, beside the floor (LOAD='--help')
	$(CARGO) bench --bench load -- $(LOAD)

bench-peers: ## The same beside other servers; installs what they need
	benches/peers/setup.sh
	$(CARGO) bench --bench load -- --peers-from benches/peers/target/peers.txt $(LOAD)

bench-micro: ## Measure the hub, the outbox and the codec without sockets
	$(CARGO) test --release --lib bench:: -- --ignored --nocapture --test-threads=1

test-browser: browser-tools tests/browser/node_modules/.package-lock.json target/tools/bin/websocat build ## Test the page in headless Chromium; pictures in target/browser
	node --test --test-reporter=spec tests/browser/page.test.js

test-browser-cluster: browser-tools engine-tools tests/browser/node_modules/.package-lock.json build ## Two nodes, a browser at each, and one node is killed
	node --test --test-reporter=spec tests/browser/cluster.test.js

picture: browser-tools tests/browser/node_modules/.package-lock.json build ## Make the README's picture, src/guide/first-chat.png
	node tests/browser/picture.js

# Debian's packages, and only the missing ones.
browser-tools:
	@missing=; \
	command -v $(CHROMIUM) >/dev/null || missing="$$missing chromium fonts-noto-color-emoji"; \
	command -v node >/dev/null || missing="$$missing nodejs"; \
	command -v npm >/dev/null || missing="$$missing npm"; \
	command -v curl >/dev/null || missing="$$missing curl"; \
	test -z "$$missing" || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; }

# Drives the browser that is there; brings none of its own.
tests/browser/node_modules/.package-lock.json: tests/browser/package.json tests/browser/package-lock.json
	cd tests/browser && npm ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

# The version is said in the script.
target/tools/bin/websocat: tests/clients/websocat.sh
	sh tests/clients/websocat.sh
	@touch $@

autobahn: build ## Run the Autobahn test suite against the server; all of it with AUTOBAHN=all (needs a Python 2.7)
	sh tests/autobahn/install.sh
	python3 tests/clients/with_server.py --within $(if $(AUTOBAHN),1860,540) \
	    --max-message-size 16MiB --max-fragments 100000 \
	    --deflate --deflate-threshold 64 -- \
	    python3 tests/autobahn/run.py $(AUTOBAHN)

test-clients: browser-tools build ## Bring websocat, Python, Node, Bun and Chromium into one room, and again over TLS and compressed
	CHROMIUM=$(CHROMIUM) sh tests/clients/install.sh
	CHROMIUM=$(CHROMIUM) python3 tests/clients/with_server.py --within 240 -- \
	    python3 tests/clients/run.py
	CHROMIUM=$(CHROMIUM) python3 tests/clients/with_server.py --within 240 --tls --deflate -- \
	    python3 tests/clients/run.py
	CHROMIUM=$(CHROMIUM) python3 tests/clients/with_server.py --within 240 --deflate --deflate-rooms -- \
	    python3 tests/clients/run.py

test-guide-clients: browser-tools go build ## Run the guide's clients, and cut their connections
	python3 tests/clients/guide.py

.PHONY: go
go:
	@command -v go >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends golang-go; }

test-proxies: proxies-tools build ## Try the guide's nginx and Caddy configurations before the server
	python3 tests/proxies/run.py

test-generated: generated-tools build ## Have each file that --generate makes read by its program
	PATH="$$PATH:$(CURDIR)/target/tools/prometheus/usr/bin" sh tests/generated/run.sh $(CURDIR)/target/release/hubcast

# Only promtool is taken out of the package: no service is installed.
generated-tools: proxies-tools
	@command -v promtool >/dev/null || test -x target/tools/prometheus/usr/bin/promtool || { \
		mkdir -p target/tools/prometheus && apt-get update -qq && cd target/tools/prometheus && \
		apt-get download -qq prometheus && dpkg -x prometheus_*.deb .; }
	@python3 -c 'import yaml' 2>/dev/null || { \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-yaml; }

proxies-tools:
	@missing=; \
	command -v nginx >/dev/null || missing="$$missing nginx-light"; \
	test -e /usr/lib/nginx/modules/ngx_stream_module.so || missing="$$missing libnginx-mod-stream"; \
	command -v caddy >/dev/null || missing="$$missing caddy"; \
	test -z "$$missing" || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; }

# What a test needs beside the build: Debian's package, and only if it is
# missing. No redis-server of the system is started.
engine-tools:
	@command -v redis-server >/dev/null && command -v redis-cli >/dev/null || { \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server; }

test-engine: engine-tools netns-tools ## Several nodes on a Redis that fails in all ways (needs root); FAULTS=20 kills a test, ENGINE=all
	$(CARGO) test --lib engine::redis:: -- --ignored --nocapture
	HUBCAST_TEST_FAULTS=$(FAULTS) $(CARGO) test --test engine -- --ignored --nocapture --test-threads=1 \
		--skip bench:: $(if $(filter all,$(ENGINE)),,--skip slow::)

bench-cluster: engine-tools ## Measure two nodes and their engine, all on this machine; SECONDS=10 for each row
	HUBCAST_BENCH_SECONDS=$(SECONDS) $(CARGO) test --release --test engine -- --ignored --nocapture bench::

run-cluster: engine-tools build ## A Redis and three nodes on this machine; a page each
	sh tests/engine/cluster.sh

fuzz: target/tools/bin/cargo-fuzz ## Fuzz what peers send, FUZZ_SECONDS=600 for each target (nightly toolchain)
	@for target in $(FUZZ_TARGETS); do \
		mkdir -p target/fuzz/corpus/$$target; \
		$(FUZZ) $$target target/fuzz/corpus/$$target tests/fuzz/corpus/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=4096 -print_final_stats=1 || exit 1; \
		echo "$$target: $(FUZZ_SECONDS) s without a finding"; \
	done

# An input for each piece of code reached, and no more: what was found goes
# into tests/fuzz/corpus, which the unit tests replay.
fuzz-reduce: target/tools/bin/cargo-fuzz ## Reduce what fuzzing has found into tests/fuzz/corpus
	@for target in $(FUZZ_TARGETS); do \
		rm -rf target/fuzz/reduced && mkdir -p target/fuzz/reduced; \
		$(FUZZ) $$target target/fuzz/reduced tests/fuzz/corpus/$$target \
			target/fuzz/corpus/$$target -- -merge=1 -use_counters=0 || exit 1; \
		rm -r tests/fuzz/corpus/$$target; \
		mv target/fuzz/reduced tests/fuzz/corpus/$$target; \
	done

target/tools/bin/cargo-fuzz:
	$(CARGO) install cargo-fuzz --locked --root target/tools

soak: ## Full load beside slow clients, then ten minutes of churn (SOAK='--help')
	$(CARGO) bench --bench soak -- soak $(SOAK)

bench-returning: ## Ten thousand clients that come back at once and catch up
	$(CARGO) bench --bench soak -- returning $(SOAK)

bench-flood: ## A chat beside clients that flood, plain and over TLS
	$(CARGO) bench --bench soak -- flood $(SOAK)

abuse: ## What a malicious client may try, while others chat on
	$(CARGO) bench --bench soak -- abuse $(SOAK)

test-netns: netns-tools ## Pull the cable between network namespaces (needs root)
	$(CARGO) bench --bench soak -- dead-peers $(SOAK)

netns-tools:
	@command -v ip >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends iproute2; }
