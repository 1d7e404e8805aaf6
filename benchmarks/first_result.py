"""First result: how long a person at a terminal waits for the text and for the record of one recording.

    python -m benchmarks.first_result RECORDING [--model NAME] [--rounds 5] [--write]

Whole processes, with the same weights, device and compute type, in turn:

- faster-whisper: five lines of Python that load the model and print the segments, until the last line
- speechpipe run: on a folder that holds only the recording, in a pseudo-terminal, until the text shows, until the
  record shows, and until it ends

The model has to be on this machine (`speechpipe models fetch base`). Emotion is recognised by the model that `run`
finds without a network; CAiRE's, which is much larger, takes longer to load than the bundled one. `--write` saves the
table.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import machine
from speechpipe.contract import Stage
from speechpipe.embedded.runner import SETTLE_SECONDS
from speechpipe.settings import EngineSettings
from workers.models.choice import find

RESULTS = Path(__file__).parent / "results" / "first-result.json"
FIVE_LINES = """
import sys
from faster_whisper import WhisperModel
model = WhisperModel(sys.argv[1], device="cpu", compute_type="int8")
for segment in model.transcribe(sys.argv[2])[0]:
    print(segment.text, flush=True)
"""
#: What `speechpipe run` prints with the text, and with the record.
TEXT, RECORD = "emotion follows", "record.json"


def theirs(model: Path, recording: Path) -> float:
    """Seconds of faster-whisper's whole process."""
    began = time.perf_counter()
    command = [sys.executable, "-c", FIVE_LINES, str(model), str(recording)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def ours(model: str, recording: Path) -> dict[str, float]:
    """Seconds until `speechpipe run` shows the text and the record, and ends."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copyfile(recording, folder / recording.name)
        time.sleep(SETTLE_SECONDS)  # a file that has just been written is waited for, in case more of it comes
        chosen = {"SPEECHPIPE_STT_MODEL": model, "HF_HUB_OFFLINE": "1", "SPEECHPIPE_DEVICE": "cpu"}
        terminal, inner = pty.openpty()
        began = time.perf_counter()
        process = subprocess.Popen(
            [Path(sys.executable).parent / "speechpipe", "run", folder],
            stdin=subprocess.DEVNULL,
            stdout=inner,
            stderr=inner,
            env={**os.environ, **chosen, "TERM": "xterm", "COLUMNS": "200"},
        )
        os.close(inner)
        printed, seconds = "", {}
        while True:
            try:
                block = os.read(terminal, 65536)
            except OSError:  # closed: the process has ended
                break
            if not block:
                break
            printed += block.decode(errors="replace")
            for what, words in (("text", TEXT), ("record", RECORD)):
                if words in printed:
                    seconds.setdefault(what, time.perf_counter() - began)
        os.close(terminal)
        if process.wait() or "record" not in seconds:
            raise SystemExit(f"speechpipe run failed:\n{printed}")
        seconds.setdefault("text", seconds["record"])
        return {**seconds, "end": time.perf_counter() - began}


def main() -> None:
    """Measure and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--model", default="base", help="a Whisper model on this machine (default: base)")
    parser.add_argument("--rounds", type=int, default=5, help="processes of each (default: 5), after one of each")
    parser.add_argument("--write", action="store_true", help=f"save the table to {RESULTS.name}")
    given = parser.parse_args()
    if not given.recording.is_file():
        parser.error(f"there is no file {given.recording}")
    choice = find(Stage.STT, given.model, EngineSettings.model_validate({}), fetch=False)
    peer: list[float] = []
    runs: list[dict[str, float]] = []
    for _ in range(given.rounds + 1):
        peer.append(theirs(choice.folder, given.recording))
        runs.append(ours(choice.name, given.recording))
    base = statistics.median(peer[1:])
    content = {
        "machine": machine("faster-whisper", "ctranslate2", "torch", "transformers"),
        "model": choice.name,
        "rounds": given.rounds,
        "seconds": {
            "faster-whisper, whole process": round(base, 2),
            **{what: round(statistics.median(run[what] for run in runs[1:]), 2) for what in ("text", "record", "end")},
        },
    }
    for what, seconds in content["seconds"].items():
        print(f"{what:>30}  {seconds:6.2f} s  {seconds / base:5.2f} times faster-whisper")
    if given.write:
        RESULTS.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
