# The five functions: ingest, join, give_up, sweep, reconcile. The service's FUNCTION_SOURCE and FUNCTION_TARGET select one.
#
#     docker buildx build --file docker/functions.Dockerfile --tag functions .

# The Python version that the tests run on; of 3.11 to 3.13 it imports the functions fastest (benchmarks/images.md).
# To pin it by digest: --build-arg BASE=python:3.11.15-slim-bookworm@sha256:...
ARG BASE=python:3.11.15-slim-bookworm
FROM ${BASE}

LABEL org.opencontainers.image.title="speechpipe functions" \
      org.opencontainers.image.licenses="Apache-2.0"

# Dependencies: a layer that changes only with the lock file. pip compiles them now, as nothing can be written at run time.
RUN python -m venv --without-pip /opt/venv
COPY docker/requirements/functions.txt /opt/requirements.txt
RUN python -m pip --python /opt/venv install --no-cache-dir --require-hashes --no-deps --only-binary :all: \
        --requirement /opt/requirements.txt

WORKDIR /app
COPY speechpipe speechpipe
COPY functions functions
RUN ["/opt/venv/bin/python", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "."]

# Files are written below HOME only; the rest may be read-only. The user is in no passwd file, so getpass needs LOGNAME.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    LOGNAME=speechpipe \
    PORT=8080
EXPOSE 8080

# No HEALTHCHECK, which Cloud Run ignores: infra/ defines probes.
USER 65532:65532
ENTRYPOINT ["functions-framework"]
