# The two commands: `make dev` runs everything on this machine, `make test` tests it. Both need Rust and a C compiler;
# Postgres' server programs are installed when there are none.

.PHONY: dev demo test lint sqlx sqlx-check postgres

dev: postgres
	cargo run --quiet -- dev

demo: postgres
	cargo run --quiet -- demo

test: postgres
	cargo run --quiet -- with-postgres -- cargo test

lint:
	cargo fmt --check
	cargo clippy --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --quiet

# Writes .sqlx: what Postgres says of every statement in src/store.
sqlx: postgres
	cargo run --quiet -- with-postgres -- scripts/sqlx-prepare .sqlx

# Fails unless .sqlx is what Postgres says today.
sqlx-check: postgres
	cargo run --quiet -- with-postgres -- scripts/sqlx-prepare target/sqlx
	diff -r .sqlx target/sqlx

postgres:
	@scripts/postgres
