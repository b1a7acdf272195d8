# run: the whole system on embedded defaults, with a page to chat in. test: every test. The others: see README.md.
.PHONY: run test lint bench bench-edge bench-check bench-record fmt chaos pictures coverage

ARGS ?=

run:
	@deploy/dev/install.sh build
	GOCHAT_COMMIT="$$(git describe --always --dirty 2>/dev/null)" cargo run --release --locked -p gochat -- $(ARGS)

test:
	@deploy/dev/install.sh test
	cargo test --workspace --locked --no-fail-fast

lint:
	@deploy/dev/install.sh build
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

fmt:
	cargo fmt --all

# docs/page.png and docs/page-phone.png, taken by the browser tests that show those screens.
pictures:
	@deploy/dev/install.sh test
	GOCHAT_SCREENSHOTS=$(CURDIR)/docs cargo test --locked -p gochat --test browser -- two_people phone

bench:
	@deploy/dev/install.sh build
	deploy/bench/bench.sh

# Core's echo example against Bun, gws, tokio-tungstenite and fastwebsockets. A peer whose tools can't be installed is named as missing.
bench-edge:
	@deploy/dev/install.sh bench || deploy/dev/install.sh build
	deploy/bench/edge.sh

# Whether this checkout costs more than the commit in deploy/bench/recorded.json, in instructions and in CPU time; bench-record
# records HEAD there. docs/bench-check.md says when that is right.
bench-check:
	@deploy/dev/install.sh bench-check
	deploy/bench/check.sh all

bench-record:
	@deploy/dev/install.sh bench-check
	deploy/bench/check.sh record

# 50 kills and 10 disk faults under load for each seed; `make chaos SEEDS=7` tries one again.
SEEDS ?= 7 8
KILLS ?= 50
DISK_FAULTS ?= 10

chaos:
	@deploy/dev/install.sh build
	@for seed in $(SEEDS); do \
		echo "seed $$seed: $(KILLS) kills, $(DISK_FAULTS) disk faults"; \
		GOCHAT_CHAOS_SEED=$$seed GOCHAT_CHAOS_KILLS=$(KILLS) GOCHAT_CHAOS_DISK_FAULTS=$(DISK_FAULTS) \
			cargo test --locked -p gochat --test guarantees -- acknowledged_is_kept mended_disk --nocapture || exit 1; \
	done

# Installs cargo-tarpaulin when it isn't there (a quarter of an hour), then builds everything a second time.
coverage:
	@deploy/dev/install.sh test
	deploy/coverage/coverage.sh
