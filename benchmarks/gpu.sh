#!/bin/sh
# Run the GPU benchmark on a machine that has CUDA and PyTorch but possibly no network.
#
#   benchmarks/gpu.sh wheels [3.12]   with a network: fetch everything but torch (for that Python version or this one)
#   benchmarks/gpu.sh [ARGUMENTS]     with the GPU: run it; for the arguments see benchmarks/gpu.py
#
# It runs in .venv if that has everything, otherwise in a Python that has torch ($PYTHON, python3), with the wheels
# unpacked in a folder. This needs pip but no venv, which some images lack.
set -eu
began=$(date +%s)
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
wheels=benchmarks/wheels
packages=benchmarks/wheels/unpacked

requirements() { # of the workers, without torch, which is installed; CTranslate2 opens libcublas.so.12
    "$python" -c '
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
extras = project["optional-dependencies"]
for line in [*project["dependencies"], *extras["worker"], *extras["stt"], *extras["ser"]]:
    if not line.startswith(("speechpipe", "torch")):
        print(line)
'
    grep '^nvidia-cublas' docker/requirements/stt.in
}

if [ "${1:-}" = wheels ]; then
    target=
    if [ -n "${2:-}" ]; then
        target="--python-version $2 --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64
            --platform manylinux_2_26_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64"
    fi
    rm -rf "$wheels"
    requirements | grep -v '^$' >"${TMPDIR:-/tmp}/gpu-requirements.txt"
    # shellcheck disable=SC2086 # must split into words
    exec "$python" -m pip download --disable-pip-version-check --only-binary :all: --dest "$wheels" \
        --constraint constraints.txt --requirement "${TMPDIR:-/tmp}/gpu-requirements.txt" $target
fi

case "$*" in *"--device cpu"*) gpu=0 ;; *) gpu=1 ;; esac
usable() {
    "$1" -c "
import ctranslate2, faster_whisper, starlette, torch, transformers
raise SystemExit($gpu and not torch.cuda.is_available())" 2>/dev/null
}

if ! usable .venv/bin/python; then
    "$python" -c 'import torch' || { echo "$python has no torch; set PYTHON to one that has it" >&2; exit 1; }
    export PYTHONPATH="$PWD/$packages${PYTHONPATH:+:$PYTHONPATH}"
    if ! usable "$python"; then
        ls "$wheels"/*.whl >/dev/null 2>&1 || { echo "no wheels; run make bench-gpu-wheels on a machine with a network" >&2; exit 1; }
        rm -rf "$packages"
        PIP_CONSTRAINT='' "$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-compile \
            --target "$packages" "$wheels"/*.whl
    fi
else
    python=.venv/bin/python
fi
exec "$python" -m benchmarks.gpu --began "$began" "$@"
