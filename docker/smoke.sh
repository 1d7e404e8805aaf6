#!/bin/sh
# Smoke test of an image: does it contain the right packages, and does it start? Run it inside the image, as the image's
# user, without a network and with a read-only root.
#
#     docker run --rm --interactive --network=none --read-only --tmpfs=/tmp --entrypoint=sh \
#         IMAGE -s functions|stt|ser|console [cpu] <docker/smoke.sh
#
# `cpu`: the GPU's libraries are left out on purpose.
set -eu
kind=$1 libraries=${2:-gpu}
export PORT=8080 GOOGLE_CLOUD_PROJECT=smoke SPEECHPIPE_UPLOADS_BUCKET=uploads SPEECHPIPE_RESULTS_BUCKET=results
# Clients of emulators need no credentials. Nothing listens on this port, and nothing here calls it.
export FIRESTORE_EMULATOR_HOST=127.0.0.1:9 PUBSUB_EMULATOR_HOST=127.0.0.1:9 STORAGE_EMULATOR_HOST=http://127.0.0.1:9

say() { echo "smoke $kind: $*"; }
fail() { say "$*" >&2; exit 1; }

# get PATH: print the status and the body, or "0" while nothing answers.
get() {
    python - "http://127.0.0.1:$PORT$1" <<'PYTHON'
import sys, urllib.error, urllib.request
try:
    with urllib.request.urlopen(sys.argv[1], timeout=10) as answer:
        print(answer.status, answer.read().decode())
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
except OSError:
    print(0)
PYTHON
}

# await STATUS PATH: wait until PATH answers STATUS; fails if the process ends, or after two minutes.
await() {
    tries=0
    until answer=$(get "$2") && [ "${answer%% *}" = "$1" ]; do
        kill -0 "$server" 2>/dev/null || fail "the process ended before $2 answered $1"
        tries=$((tries + 1))
        [ "$tries" -lt 120 ] || fail "$2 answers '$answer', not $1"
        sleep 1
    done
    say "$2 answers $1"
}

# stop: SIGTERM must reach Python and end it, with status 0 or by the signal, as uvicorn does after a clean shutdown.
stop() {
    kill -TERM "$server"
    status=0
    wait "$server" || status=$?
    [ "$status" = 0 ] || [ "$status" = 143 ] || fail "the process ended with status $status after SIGTERM"
}

importable() { python -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$1') is None)"; }

# lacks NAME...: fail if any of these can be imported.
lacks() { for name; do if importable "$name"; then fail "the image contains $name"; fi; done; }

# analyse: load the image's model and have it analyse a real recording. Speech to text must get its words, unless the
# model is the toy, which knows no real voice.
analyse() {
    python - "$kind" <<'PYTHON' || fail "the recording was not understood"
import re, sys
from pathlib import Path
from speechpipe.contract import Options, Stage
from speechpipe.settings import EngineSettings, read
from workers.models.choice import load

stage = Stage(sys.argv[1])
analysis = load(stage, read(EngineSettings))(
    Path("workers/demo/samples/kennedy_1961.flac"), Options(), lambda share: None
)
model = analysis.model
print(f"smoke {stage.value}: {model.name} at {model.revision} analysed {analysis.audio.duration:.0f} s")
if stage is Stage.STT and model.name != "toy":
    said = re.sub("[^a-z ]", "", " ".join(segment.text for segment in analysis.value.segments).lower())
    print(f"smoke {stage.value}: it heard '{said}'")
    sys.exit("ask not what your country can do for you ask what you can do for your country" not in said)
PYTHON
}

[ "$(id -u)" != 0 ] || fail "the process runs as root"
for folder in / /app /app/speechpipe /opt/venv /usr/local /etc; do
    if (: >"$folder/written") 2>/dev/null; then fail "$folder is writable"; fi
done
: >/tmp/written || fail "/tmp is not writable"
say "user $(id -u), writes to /tmp only"

case $kind in
functions)
    lacks torch numpy av ctranslate2 transformers workers
    for name in ingest join give_up sweep reconcile; do
        FUNCTION_SOURCE=functions/$name.py FUNCTION_TARGET=$name functions-framework &
        server=$!
        case $name in
        # A CloudEvent function accepts POST only. The others would call Google, so request a path that they do not serve.
        join) await 405 / ;;
        *) await 404 /robots.txt ;;
        esac
        stop
    done
    ;;
stt | ser)
    if importable functions; then fail "the image contains functions"; fi
    if importable functions_framework; then fail "the image contains functions-framework"; fi
    if [ "$libraries" = gpu ]; then
        case $kind in
        stt) python -c "import ctypes; ctypes.CDLL('libcublas.so.12')" ;;
        ser) python -c "import torch; assert torch.version.cuda.startswith('12.'), torch.version.cuda" ;;
        esac
        say "the CUDA 12 libraries are found"
    fi
    analyse
    python -m workers &
    server=$!
    await 200 /readyz
    get /device
    stop
    ;;
console)
    lacks torch numpy av ctranslate2 transformers workers functions
    python -c "from speechpipe.client import Client; Client()"
    say "Google's clients can be created"
    export SPEECHPIPE_IAP_AUDIENCE=/projects/1/locations/smoke/services/console
    python -m speechpipe.console &
    server=$!
    # A request without an assertion from Identity-Aware Proxy is refused before Google's keys are fetched.
    await 401 /
    stop
    ;;
*) fail "unknown image: expected functions, stt, ser or console" ;;
esac
say "passed"
