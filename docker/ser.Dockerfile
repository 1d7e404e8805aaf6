# The ser worker: speech emotion recognition, transformers on torch.
#
#     docker buildx build --file docker/ser.Dockerfile --tag ser .
#
# CUDA comes from the wheels in the lock file and the driver from Cloud Run, so the base is the same as the functions': an
# NVIDIA image would bring a second copy of every library.

ARG BASE=python:3.11.15-slim-bookworm

# Dependencies: a layer that changes only with the lock file. pip compiles them now, as nothing can be written at run time.
FROM ${BASE} AS dependencies
RUN python -m venv --without-pip /opt/venv
COPY docker/requirements/ser.txt /opt/requirements.txt
RUN python -m pip --python /opt/venv install --no-cache-dir --require-hashes --no-deps --only-binary :all: \
        --requirement /opt/requirements.txt

# Weights, at one commit: downloaded again only when these arguments or the few files copied here change. `demo` downloads
# Whisper base, whose encoder the emotion model uses; `toy` none, and the bundled model is used.
FROM dependencies AS weights
ARG SER_MODEL=CAiRE/SER-wav2vec2-large-xlsr-53-eng-zho-all-age
ARG SER_REVISION=483d4df75288fc2be486ea2d87f55d6883e7d64d
ENV PYTHONPATH=/app
WORKDIR /app
COPY docker/weights.py weights.py
COPY speechpipe/__init__.py speechpipe/
COPY speechpipe/contract speechpipe/contract
COPY workers/__init__.py workers/
COPY workers/models workers/models
RUN HF_HUB_CACHE=/weights /opt/venv/bin/python weights.py ser "${SER_MODEL}" "${SER_REVISION}"

FROM dependencies
LABEL org.opencontainers.image.title="speechpipe ser worker" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=weights /weights /weights
WORKDIR /app
COPY speechpipe speechpipe
COPY workers workers
RUN ["/opt/venv/bin/python", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "."]

ARG SER_MODEL=CAiRE/SER-wav2vec2-large-xlsr-53-eng-zho-all-age
ARG SER_REVISION=483d4df75288fc2be486ea2d87f55d6883e7d64d
# torch finds the CUDA libraries in its wheels without help; Cloud Run mounts the driver's at this path.
# Caches are written below HOME; the rest may be read-only. The user is in no passwd file, and torch calls getpass.
ENV PATH=/opt/venv/bin:$PATH \
    LD_LIBRARY_PATH=/usr/local/nvidia/lib64 \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    LOGNAME=speechpipe \
    HF_HUB_CACHE=/weights \
    HF_HUB_OFFLINE=1 \
    SPEECHPIPE_STAGE=ser \
    SPEECHPIPE_SER_MODEL=${SER_MODEL} \
    SPEECHPIPE_SER_REVISION=${SER_REVISION} \
    SPEECHPIPE_HOST=0.0.0.0 \
    PORT=8080
EXPOSE 8080

# No HEALTHCHECK, which Cloud Run ignores: infra/ defines probes.
USER 65532:65532
ENTRYPOINT ["python", "-m", "workers"]
