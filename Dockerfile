# self1e with its bundled models, and the server's packages.
#
#     docker build -t self1e .                            # for CPUs
#     docker build -t self1e:cuda --build-arg DEVICE=cuda .
#     docker run --rm -v "$PWD:/work" self1e segment photo.jpg -p "the cat"
#
# compose.yaml runs the server.

ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim-bookworm
# cpu or cuda; the wheels of torch on PyPI are those for CUDA, and larger by gigabytes.
ARG DEVICE=cpu
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
COPY constraints.txt /tmp/constraints.txt
RUN case "$DEVICE" in \
        cpu) index=https://download.pytorch.org/whl/cpu ;; \
        cuda) index=https://pypi.org/simple ;; \
        *) echo "DEVICE is cpu or cuda, not $DEVICE" >&2; exit 2 ;; \
    esac \
    && pip install --no-cache-dir --index-url "$index" "$(grep '^torch==' /tmp/constraints.txt)"
RUN --mount=from=wheel,source=/wheels,target=/wheels \
    for wheel in /wheels/*.whl; do pip install --no-cache-dir -c /tmp/constraints.txt "${wheel}[serve,heif]"; done

# Models of the Hub are kept in /models: mount a volume there to keep them longer than the container.
ENV HF_HOME=/models PYTHONUNBUFFERED=1
RUN useradd --create-home --uid 1000 self1e && install -d -o self1e /models /work
USER 1000
WORKDIR /work
EXPOSE 8000
ENTRYPOINT ["self1e"]
CMD ["--help"]
