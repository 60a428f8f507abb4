# Two images from one build:
#   docker build --target redis -t stoa-redis .    Redis with the module and redis.conf
#   docker build --target front -t stoa-front .    a front and the demo's pages
# docker-compose.yml starts one of each.

FROM node:22-bookworm-slim AS pages
WORKDIR /src
COPY front/client front/client
COPY front/demo front/demo
RUN npm --prefix front/client ci --no-audit --no-fund \
 && npm --prefix front/demo ci --no-audit --no-fund \
 && npm --prefix front/demo run build

FROM rust:1-bookworm AS build
# bindgen reads Redis's module header with libclang.
RUN apt-get update && apt-get install -y --no-install-recommends libclang-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY redis-module redis-module
COPY front front
# Only because the workspace names it: nothing of it is built.
COPY tests tests
RUN cargo build --release --locked --package stoa-module --package stoa-front

FROM debian:bookworm-slim AS redis
RUN apt-get update && apt-get install -y --no-install-recommends redis-server && rm -rf /var/lib/apt/lists/* \
 && install -d -o redis -g redis /data
COPY --from=build /src/target/release/libstoa.so /usr/lib/stoa/libstoa.so
COPY redis.conf /etc/stoa/redis.conf
USER redis
VOLUME /data
EXPOSE 6379
# A container has its own network: Redis listens on it, and whoever runs the container decides who reaches it. Publish
# the port only after setting users (the end of redis.conf).
CMD ["redis-server", "/etc/stoa/redis.conf", "--dir", "/data", "--bind", "*", "-::*", "--protected-mode", "no", \
     "--loadmodule", "/usr/lib/stoa/libstoa.so"]

FROM debian:bookworm-slim AS front
# Who vouches for the addresses of keys (--jwks) and for a Redis behind TLS.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/stoa-front /usr/local/bin/stoa-front
COPY --from=pages /src/front/demo/dist /usr/share/stoa/pages
ENV STOA_PAGES=/usr/share/stoa/pages
# It needs no file, no port below 1024, no rights.
USER nobody
EXPOSE 8080
CMD ["stoa-front"]
