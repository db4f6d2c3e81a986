# `make dev` runs everything on this machine, `make test` tests it. Both need Rust and a C compiler; the tests also need
# Python. Postgres' server programs are installed if they are missing.

PROGRAM := target/debug/print-upload
DEV := target/debug/print-upload-dev

.PHONY: dev demo test crashes prove faults clients page page-test bench hostile soak docs stack-test upgrade-test lint \
	sqlx sqlx-check postgres programs crash-points

dev: postgres
	cargo run --package print-upload-dev -- up

demo: postgres
	cargo run --package print-upload-dev -- demo

# `make test T=delete` runs the tests whose path contains "delete": a test, a file, or a folder (`T=sessions::`).
test: postgres programs crash-points
	tests/stores/with $(DEV) with-postgres -- cargo test --workspace $(T)

# Crashes at every step on every object store. `make test` has those on files.
crashes: postgres programs crash-points
	tests/stores/with $(DEV) with-postgres -- cargo test --test api crashes:: -- --include-ignored

# Records histories of two replicas under faults, and checks each. P="--histories 10000" changes the options.
prove: postgres programs
	$(DEV) prove $(P)

# Plants each fault of tests/faults into the service, and shows that it is caught. The first run builds everything anew;
# all of them take an hour. N=name plants one.
faults: postgres programs
	$(DEV) with-postgres -- tests/faults/run $(DEV) $(N)

# Runs Microsoft's SDKs, curl, the examples, the pages' commands and a fuzzer. Installs what they need below target.
clients: postgres programs
	tests/clients/run $(DEV)
	tests/clients/fuzz $(DEV)

# Writes the script of the page that `make dev` serves, from crates/dev/page/src.
page:
	scripts/page crates/dev/page/bundle.js

# Uses the page in a headless Chromium. With PICTURE=docs/images/page.png it takes the picture of the README.
page-test: postgres programs
	tests/page/run $(DEV)

# Measures what calls, uploads and background work cost, against what Postgres and the disk allow. Writes
# docs/benchmarks.md and its plots. For a quiet machine; takes most of an hour. P="--only 1,3" changes the options.
bench: postgres
	cargo build --release --workspace --bins
	target/release/print-upload-dev bench $(P)

# Tries hostile acts, and measures what they cost the attacker, the service and others. Writes the table of
# docs/reliability.md, and fails if a bound does not hold. For a quiet machine; takes a quarter of an hour.
# P="--only rapid-reset" changes the options.
hostile: postgres
	cargo build --release --workspace --bins
	target/release/print-upload-dev hostile $(P)

# Runs mixed load against two replicas for an hour, and checks that nothing grows. Writes its section of
# docs/reliability.md and its plots. P="--minutes 20" changes the options.
soak: postgres
	cargo build --release --workspace --bins
	target/release/print-upload-dev soak $(P)

# Starts the compose stack, tests it and removes it. Set STAND_IN=1 if no image registry is reachable.
stack-test:
	tests/stack/run

# Changes two replicas from an older program (FROM=commit) to this one and back, under load. The first run builds the
# older program, which takes minutes.
upgrade-test: postgres programs
	tests/upgrade/run $(DEV)

# Writes docs/reference from the protos' comments and the programs' help; `make test` fails when it is out of date.
docs:
	UPDATE_DOCS=1 cargo test --quiet --test source reference::

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet

# Writes .sqlx: Postgres' description of every statement in src/store. Uses the programs of the last build, because the
# sources do not build before the description of a changed statement is written.
sqlx: postgres | $(DEV)
	$(DEV) with-postgres -- scripts/sqlx-prepare .sqlx $(PROGRAM)

# Fails unless .sqlx is up to date.
sqlx-check: postgres | $(DEV)
	$(DEV) with-postgres -- scripts/sqlx-prepare target/sqlx $(PROGRAM)
	diff -r .sqlx target/sqlx

programs:
	cargo build --quiet --workspace --bins --examples

# The program with crash points, for the tests of crashes. An example is built with it, so that the dependencies have the
# features that they have in `programs`, and are not built again.
crash-points:
	cargo build --quiet --workspace --bin print-upload-crashing --example upload --features print-upload/crash-points

$(DEV):
	cargo build --quiet --workspace --bins

postgres:
	@scripts/postgres
