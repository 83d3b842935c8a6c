# `make demo` is all that a fresh checkout needs.

.PHONY: help demo test test-one fuzz docs bench semver check rust postgresql openssl

## demo    run the shopping cart example on a throwaway PostgreSQL
## test    run all tests
## test-one T=NAME   run the tests whose names contain NAME
## fuzz    try each parser of foreign text with many more inputs than CI
## docs    build the documentation, and say where it is
## bench   run the benchmarks
## semver  compare the interface with the last release
## check   run everything that CI runs
help:
	@sed -n 's/^## /make /p' Makefile

demo: rust postgresql openssl
	cargo run --features cli --example shopping_cart

test: rust postgresql openssl
	cargo test --features cli

test-one: rust postgresql openssl
	@test -n "$(T)" || { echo "which one? make test-one T=NAME" >&2; exit 2; }
	cargo test --features cli --lib --test integration $(T)

fuzz: rust postgresql openssl
	EMMETT_FUZZ_TIMES=$${EMMETT_FUZZ_TIMES:-25} cargo test --features cli --lib fuzz::

docs: rust openssl
	cargo doc --no-deps --all-features
	@echo "$${CARGO_TARGET_DIR:-$(CURDIR)/target}/doc/emmett_postgresql/index.html"

bench: rust postgresql
	cargo bench

semver: rust openssl
	@scripts/check-semver

check: rust postgresql
	.ci/run

rust:
	@command -v cargo >/dev/null || { echo "cargo is missing: see https://rustup.rs" >&2; exit 1; }

postgresql:
	@scripts/install-postgresql

openssl:
	@scripts/install-openssl
