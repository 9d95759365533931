# All programs in one image: docker build --tag jetline .

FROM rust:1-slim-trixie AS manifests
WORKDIR /build
COPY . .
# The input of the dependencies' build. It is unchanged when only our code changes, and so is the next layer.
RUN find . -name '*.rs' ! -name main.rs ! -name lib.rs ! -path '*/src/bin/*' ! -path '*/benches/*' -delete \
 && find . -name lib.rs -exec truncate --size 0 {} + \
 && find . -name '*.rs' ! -name lib.rs -exec sh -c 'for file; do echo "fn main() { }" >"$file"; done' sh {} + \
 && rm -r datasets deploy samples

FROM rust:1-slim-trixie AS build
# For jemalloc.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends make \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
WORKDIR /build
# Panic messages name the source location without them.
ENV CARGO_PROFILE_RELEASE_STRIP=symbols
COPY --from=manifests /build .
# A program is a package in `services`.
RUN grep -hm1 '^name = ' services/*/Cargo.toml | cut -d '"' -f 2 > programs \
 && cargo build --release --locked --bins $(sed 's/^/-p /' programs)
COPY . .
# Cargo does not rebuild sources that are older than its last build.
RUN find . -name '*.rs' -not -path './target/*' -exec touch {} + \
 && cargo build --release --locked --bins $(sed 's/^/-p /' programs) \
 && install -D --target-directory /programs $(sed 's|^|target/release/|' programs)

FROM debian:trixie-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
 && useradd --uid 10001 --no-create-home --home-dir /var/lib/jetline --shell /usr/sbin/nologin jetline \
 && install --directory --owner jetline --group jetline /var/lib/jetline
COPY --from=build /programs /usr/local/bin
COPY --chmod=755 deploy/image/entrypoint /usr/local/bin/jetline-entrypoint
COPY samples /usr/share/jetline/samples
# The loopback address of a container is not reachable from outside.
ENV LISTEN=0.0.0.0:8080 OBSERVE_LISTEN=0.0.0.0:9090
USER 10001
WORKDIR /var/lib/jetline
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
# `jetline` and the api listen on the first port, fetcher, writer and courier on the second.
HEALTHCHECK --interval=5s --timeout=10s --start-period=60s --retries=3 \
  CMD ["sh", "-c", "jetline healthcheck || jetline-fetcher healthcheck"]
ENTRYPOINT ["jetline-entrypoint"]
CMD ["--source", "/usr/share/jetline/samples"]
# Last, as they differ in each build: docker build --build-arg VERSION=1.2.3 --build-arg REVISION=$(git rev-parse HEAD)
ARG VERSION=local
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Jetline" \
      org.opencontainers.image.description="Loads JSON Lines from S3 into PostgreSQL and serves every record by id" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
