# `make demo` is all that a fresh checkout needs.

.PHONY: help demo test bench check rust postgresql openssl

## demo    run the shopping cart example on a throwaway PostgreSQL
## test    run all tests
## bench   run the benchmarks
## check   run everything that CI runs
help:
	@sed -n 's/^## /make /p' Makefile

demo: rust postgresql openssl
	cargo run --features cli --example shopping_cart

test: rust postgresql openssl
	cargo test --features cli

bench: rust postgresql
	cargo bench

check: rust postgresql
	.ci/run

rust:
	@command -v cargo >/dev/null || { echo "cargo is missing: see https://rustup.rs" >&2; exit 1; }

postgresql:
	@scripts/install-postgresql

openssl:
	@scripts/install-openssl
