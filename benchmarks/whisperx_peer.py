"""WhisperX as a contender of `benchmarks.stt`, in a separate process because it pins a different torch.

`WhisperX` is the client. The Python of an environment that has WhisperX runs this module as the server. Its arguments
are a model's folder, the number of threads, and the tokens in a row (0: the model decides). For each line of paths on
standard input it transcribes the files and writes one line of JSON. It imports nothing from speechpipe.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

BATCH = 8  #: rows, faster-whisper's default


class WhisperX:
    """Starts the server process and sends it files; `close` stops it."""

    def __init__(self, python: Path, model: Path, threads: int, tokens: int) -> None:
        self._process = subprocess.Popen(
            [str(python), "-m", "benchmarks.whisperx_peer", str(model), str(threads), str(tokens)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYANNOTE_METRICS_ENABLED": "0", "HF_HUB_OFFLINE": "1"},
            cwd=Path(__file__).parent.parent,
        )
        self._answer()  # wait until its model is loaded

    def __call__(self, paths: list[Path]) -> dict[str, Any]:
        """Transcribe file by file: `texts`, `rows`, and the `cpu_seconds` of the server process."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(list(map(str, paths))) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = self._answer()
        return answer

    def close(self) -> None:
        """Stop the server process."""
        self._process.communicate()

    def _answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"WhisperX exited with status {self._process.wait()}")
        return json.loads(line)


def _serve(folder: str, threads: int, tokens: int) -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # keeps its log lines out of the answers
    import torch
    from faster_whisper.audio import decode_audio  # type: ignore[import-untyped]
    from whisperx.asr import load_model  # type: ignore[import-not-found]

    torch.set_num_threads(threads)
    pipeline = load_model(folder, "cpu", compute_type="int8", threads=threads, local_files_only=True)
    if tokens:
        end = pipeline.model.hf_tokenizer.token_to_id("<|endoftext|>")
        pipeline.options.suppress_tokens.append(end)
        pipeline.model.max_length = 2 * tokens  # CTranslate2 stops at half of max_length
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        used, texts, rows = _used(), [], 0
        for path in json.loads(line):
            segments = pipeline.transcribe(decode_audio(path), batch_size=BATCH)["segments"]
            texts.append(" ".join(segment["text"] for segment in segments))
            rows += len(segments)
        print(json.dumps({"texts": texts, "rows": rows, "cpu_seconds": _used() - used}), file=answers, flush=True)


def _used() -> float:
    usage = getrusage(RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
