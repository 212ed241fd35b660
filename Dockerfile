# The package with PyTorch for CPUs, as a user without rights; outputs go to /work/outputs. See docs/quickstart.md.
FROM python:3.11-slim-bookworm

# Another folder of the same host holds the builds for GPUs.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

RUN useradd --create-home --uid 1000 cxr && mkdir --parents /work/outputs && chown --recursive cxr /work
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" "torch==2.13.0"
COPY constraints.txt pyproject.toml setup.py README.md LICENSE /build/
COPY conf /build/conf
COPY cxr_ldm /build/cxr_ldm
RUN pip install --no-cache-dir --constraint /build/constraints.txt "/build[app]"

USER 1000
WORKDIR /work
VOLUME /work/outputs
EXPOSE 8501
ENTRYPOINT ["cxr-ldm"]
CMD ["--help"]
