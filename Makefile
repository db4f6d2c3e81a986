# The two commands: `make dev` runs everything on this machine, `make test` tests it. Both need Rust and a C compiler, the
# tests Python; Postgres' server programs are installed when there are none.

PROGRAM := target/debug/print-upload

.PHONY: dev demo test clients bench docs stack-test lint sqlx sqlx-check postgres

dev: postgres
	cargo run -- dev

demo: postgres
	cargo run -- demo

test: postgres
	tests/stores/with cargo run -- with-postgres -- cargo test

# Microsoft's own SDKs, curl and a fuzzer against the REST gateway. Installs what they need below target.
clients: postgres
	cargo build --quiet --bins --examples
	tests/clients/run $(PROGRAM)
	tests/clients/fuzz $(PROGRAM)

bench: postgres
	cargo bench

# The docker-compose stack from nothing to nothing. STAND_IN=1 where no image registry is reachable.
stack-test:
	tests/stack/run

# Writes docs/reference from the protos' comments and the program's help; `make test` fails when it is out of date.
docs:
	UPDATE_DOCS=1 cargo test --quiet --test reference

lint:
	cargo fmt --check
	cargo clippy --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --quiet

# Writes .sqlx: what Postgres says of every statement in src/store. The program of the last build starts the Postgres: with
# a changed statement there is no newer one yet.
sqlx: postgres | $(PROGRAM)
	$(PROGRAM) with-postgres -- scripts/sqlx-prepare .sqlx $(PROGRAM)

# Fails unless .sqlx is what Postgres says today.
sqlx-check: postgres | $(PROGRAM)
	$(PROGRAM) with-postgres -- scripts/sqlx-prepare target/sqlx $(PROGRAM)
	diff -r .sqlx target/sqlx

$(PROGRAM):
	cargo build --quiet

postgres:
	@scripts/postgres
