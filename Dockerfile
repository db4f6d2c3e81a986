# Two small images: no shell scripts, no caches of the package manager, no root. The last stage is the image that ships.
# `--target dev` also has the program for development, which mints tokens.
#
# There is no `RUN --mount` and no `# syntax=`, so that it builds without BuildKit and without an image registry.

FROM rust:1.95-bookworm AS build
WORKDIR /src

# Builds the dependencies alone, with stubs for our own sources. The layer stays valid until a Cargo.toml or Cargo.lock
# changes.
COPY Cargo.toml Cargo.lock ./
COPY crates/client/Cargo.toml crates/client/
COPY crates/dev/Cargo.toml crates/dev/
COPY .cargo .cargo
RUN mkdir -p src crates/client/src crates/dev/src \
    && touch src/lib.rs crates/client/src/lib.rs crates/dev/src/lib.rs \
    && echo 'fn main() {}' | tee src/main.rs crates/client/build.rs crates/dev/src/main.rs >build.rs \
    && cargo build --release --locked --workspace \
    && cargo clean --release --package print-upload --package print-upload-client --package print-upload-dev \
    && rm -r src build.rs crates

COPY . .
# Half of a program's size is line tables for backtraces. They are kept, but compressed.
RUN cargo build --release --locked --workspace --bins \
    && for program in print-upload print-upload-dev; do \
        objcopy --compress-debug-sections=zlib target/release/$program $program; \
    done

FROM debian:bookworm-slim AS runtime
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o 65532 -g 65532 -m 0775 /var/lib/print-upload
COPY --from=build /src/print-upload /usr/local/bin/print-upload

ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.version="$VERSION" \
    org.opencontainers.image.revision="$REVISION"

USER 65532:65532
# Named and anonymous volumes get their owner from this folder. Apart from temporary files it is the only folder that
# the user can write to.
WORKDIR /var/lib/print-upload
STOPSIGNAL SIGTERM

# Not for production: anyone who runs it can mint any token of the development issuer.
FROM runtime AS dev
COPY --from=build /src/print-upload-dev /usr/local/bin/print-upload-dev
LABEL org.opencontainers.image.title="print-upload-dev" \
    org.opencontainers.image.description="Development issuer and smoke test of print-upload"
ENTRYPOINT ["print-upload-dev"]
CMD ["--help"]

FROM runtime
LABEL org.opencontainers.image.title="print-upload" \
    org.opencontainers.image.description="Upload sessions of print jobs over gRPC: create, send ranges, get the progress, resume, cancel permanently"
EXPOSE 50051 8080
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s --retries=3 CMD ["print-upload", "healthcheck"]
ENTRYPOINT ["print-upload"]
CMD ["serve"]
