# The program in a small image: no shell script, no package manager's leftovers, no root.
#
# No `RUN --mount` and no `# syntax=`: it builds without BuildKit, and where only package registries are reachable.

FROM rust:1.95-bookworm AS build
WORKDIR /src

# The dependencies alone, below stubs of our own sources: this layer lasts until Cargo.toml or Cargo.lock changes.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
RUN mkdir -p src benches \
    && touch src/lib.rs \
    && echo 'fn main() {}' | tee src/main.rs benches/cancel.rs >build.rs \
    && cargo build --release --locked \
    && cargo clean --release --package print-upload \
    && rm -r src benches build.rs

COPY . .
# Half of the program are the line numbers of backtraces: they stay, compressed.
RUN cargo build --release --locked --bin print-upload \
    && objcopy --compress-debug-sections=zlib target/release/print-upload print-upload

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o 65532 -g 65532 -m 0775 /var/lib/print-upload
COPY --from=build /src/print-upload /usr/local/bin/print-upload

ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="print-upload" \
    org.opencontainers.image.description="Upload sessions of print jobs over gRPC: create, send ranges, look, resume, cancel for good" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.version="$VERSION" \
    org.opencontainers.image.revision="$REVISION"

USER 65532:65532
# Where named and anonymous volumes get their owner from: beside the temporary files the only folder that this user may write to.
WORKDIR /var/lib/print-upload
EXPOSE 50051 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s --retries=3 CMD ["print-upload", "healthcheck"]
ENTRYPOINT ["print-upload"]
CMD ["serve"]
