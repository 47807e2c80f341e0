# What people and CI run. `make test` needs Rust and bash; it installs the rest.

.PHONY: build run test torture lint tools bench ci

build:
	cargo build --locked

run:
	cargo run --locked -- serve --data-dir data --example

# The public tools that the tests run, under target/tools.
tools:
	bash tests/tools.sh

test: tools
	cargo test --locked

# A daemon killed some 560 times while it is written to; prints its figures and its seed.
# ROSTER_TORTURE_KILLS and ROSTER_TEST_SEED set how often, and repeat a run.
torture:
	cargo test --locked --test trust torture -- --ignored --nocapture

lint:
	cargo fmt --all --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

# Ratios against baselines in the same run, as a table in benches/results.md and a plot
# in benches/growth; an optimized build of Cedar takes long.
bench:
	bash benches/run.sh

ci: lint test
