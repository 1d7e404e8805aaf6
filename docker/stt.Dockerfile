# The stt worker: speech to text, faster-whisper on CTranslate2.
#
#     docker buildx build --file docker/stt.Dockerfile --tag stt .
#
# CUDA comes from the wheels in the lock file and the driver from Cloud Run, so the base is the same as the functions': an
# NVIDIA image would bring a second copy of every library.

ARG BASE=python:3.11.15-slim-bookworm

# Dependencies: a layer that changes only with the lock file. pip compiles them now, as nothing can be written at run time.
FROM ${BASE} AS dependencies
RUN python -m venv --without-pip /opt/venv
COPY docker/requirements/stt.txt /opt/requirements.txt
RUN python -m pip --python /opt/venv install --no-cache-dir --require-hashes --no-deps --only-binary :all: \
        --requirement /opt/requirements.txt

# Weights, at one commit: downloaded again only when these arguments or the few files copied here change. `demo` is Whisper
# `base`; `toy` downloads none, and the bundled toy is used.
FROM dependencies AS weights
ARG STT_MODEL=mobiuslabsgmbh/faster-whisper-large-v3-turbo
ARG STT_REVISION=0a363e9161cbc7ed1431c9597a8ceaf0c4f78fcf
ENV PYTHONPATH=/app
WORKDIR /app
COPY docker/weights.py weights.py
COPY speechpipe/__init__.py speechpipe/
COPY speechpipe/contract speechpipe/contract
COPY workers/__init__.py workers/
COPY workers/models workers/models
RUN HF_HUB_CACHE=/weights /opt/venv/bin/python weights.py stt "${STT_MODEL}" "${STT_REVISION}"

FROM dependencies
LABEL org.opencontainers.image.title="speechpipe stt worker" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=weights /weights /weights
WORKDIR /app
COPY speechpipe speechpipe
COPY workers workers
RUN ["/opt/venv/bin/python", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "."]

ARG STT_MODEL=mobiuslabsgmbh/faster-whisper-large-v3-turbo
ARG STT_REVISION=0a363e9161cbc7ed1431c9597a8ceaf0c4f78fcf
# CTranslate2 loads libcublas.so.12 by name and bundles the rest; Cloud Run mounts the driver's libraries at the second path.
# Caches are written below HOME; the rest may be read-only. The user is in no passwd file, and torch calls getpass.
ENV PATH=/opt/venv/bin:$PATH \
    LD_LIBRARY_PATH=/opt/venv/lib/python3.11/site-packages/nvidia/cublas/lib:/usr/local/nvidia/lib64 \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    LOGNAME=speechpipe \
    HF_HUB_CACHE=/weights \
    HF_HUB_OFFLINE=1 \
    SPEECHPIPE_STAGE=stt \
    SPEECHPIPE_STT_MODEL=${STT_MODEL} \
    SPEECHPIPE_STT_REVISION=${STT_REVISION} \
    SPEECHPIPE_HOST=0.0.0.0 \
    PORT=8080
EXPOSE 8080

# No HEALTHCHECK, which Cloud Run ignores: infra/ defines probes.
USER 65532:65532
ENTRYPOINT ["python", "-m", "workers"]
