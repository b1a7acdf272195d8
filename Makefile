# run: the whole system on embedded defaults, with a page to chat in. test: every test. The others: see README.md.
.PHONY: run test lint bench fmt

ARGS ?=

run:
	@deploy/dev/install.sh build
	cargo run --release --locked -p gochat -- $(ARGS)

test:
	@deploy/dev/install.sh test
	cargo test --workspace --locked --no-fail-fast

lint:
	@deploy/dev/install.sh build
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

fmt:
	cargo fmt --all

bench:
	@deploy/dev/install.sh build
	deploy/bench/bench.sh
