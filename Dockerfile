# One image for the API, the services and the workers. Two builds of it: without a GPU PyTorch's
# CPU wheels save gigabytes; with TORCH_INDEX="" PyPI's wheel brings CUDA.
#
#   docker build -t polymine:cpu .
#   docker build -t polymine:gpu --build-arg TORCH_INDEX= .
#
# The digest is the index of all architectures. To move on, ask for the new tag's digest with
# `docker buildx imagetools inspect python:TAG` and change both.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d

FROM ${PYTHON_IMAGE} AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/venv/bin:$PATH
RUN python -m venv /opt/venv
WORKDIR /app
# What is installed changes less often than the code: an empty project with the same requirements
# makes a layer that a change of code does not invalidate.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -c constraints.txt ".[server,s3]"
COPY . .
# In place: flows are loaded by path from /app, and there must be no second copy of their modules.
RUN pip install --no-deps -c constraints.txt --editable . \
    && python -m compileall -q /app

FROM ${PYTHON_IMAGE}
# A new named volume takes over these folders and their owner.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home polymine \
    && install -d -o polymine -g polymine /var/lib/polymine \
        /var/lib/polymine/data /var/lib/polymine/store /var/lib/polymine/runs
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 POLYMINE_HOME=/var/lib/polymine
WORKDIR /app
USER 10001
# tini hands signals on and collects the processes that killed runs leave behind.
ENTRYPOINT ["tini", "--"]
CMD ["polymine", "--help"]
