"""Recordings for tests: the bundled samples, longer ones made of these, and files that are not recordings."""

from __future__ import annotations

import json
import re
import wave
from pathlib import Path
from typing import Any

import av
import numpy as np
from faster_whisper.audio import decode_audio  # type: ignore[import-untyped]
from numpy.typing import NDArray

from speechpipe.contract import Record

SAMPLES = Path(__file__).parent / "samples"
RATE = 16000


def samples() -> list[dict[str, Any]]:
    """The bundled samples: file, channels, turns and options of each."""
    listed: list[dict[str, Any]] = json.loads((SAMPLES / "samples.json").read_text())
    return listed


def spoken(sample: dict[str, Any]) -> str:
    """A sample's words in order of time, over all channels."""
    return " ".join(turn["text"] for turn in sorted(sample["turns"], key=lambda turn: turn["start"]))


def lay_out(chosen: list[dict[str, Any]], folder: Path) -> None:
    """Create a folder with these samples, and their options in sidecar files."""
    folder.mkdir()
    for sample in chosen:
        (folder / sample["file"]).write_bytes((SAMPLES / sample["file"]).read_bytes())
        if sample["options"]:
            (folder / f"{sample['file']}.meta.json").write_text(json.dumps(sample["options"]))


def comparable(record: Record) -> dict[str, Any]:
    """A record without what differs between runs or backends: ids, locations, times, attempts."""
    body = record.model_dump(mode="json", exclude={"timing", "artifacts", "recording_id"})
    for field in ("uri", "bucket", "generation", "created_at", "crc32c", "content_type"):
        body["source"].pop(field)
    for half in body["halves"].values():
        for field in ("attempts", "queued_at", "started_at", "finished_at", "compute_seconds"):
            half.pop(field)
    return body


def words(text: str) -> list[str]:
    """Lower-case words without punctuation."""
    return re.findall(r"[\w']+", text.lower())


def word_errors(expected: str, given: str) -> int:
    """The edit distance in words."""
    reference, hypothesis = words(expected), words(given)
    row = list(range(len(hypothesis) + 1))
    for i, word in enumerate(reference, 1):
        previous, row[0] = row[0], i
        for j, other in enumerate(hypothesis, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (word != other))
    return row[-1]


def write_wav(path: Path, samples: NDArray[np.int16], rate: int = RATE) -> None:
    """Write a mono 16-bit WAV."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())


def joined(path: Path, seconds: float) -> str:
    """Write a WAV of at least `seconds` from the mono samples, with pauses. Return its text."""
    mono = [sample for sample in samples() if sample["channels"] == 1]
    pieces: list[NDArray[np.int16]] = []
    texts: list[str] = []
    length = 0
    while length < seconds * RATE:
        sample = mono[len(texts) % len(mono)]
        audio = decode_audio(str(SAMPLES / sample["file"]), sampling_rate=RATE)
        pieces += [(audio * 32767).astype(np.int16), np.zeros(RATE, np.int16)]
        length += len(audio) + RATE
        texts.append(spoken(sample))
    write_wav(path, np.concatenate(pieces))
    return " ".join(texts)


def empty_files(folder: Path) -> dict[str, tuple[str, str]]:
    """Write files that are not recordings. Return the expected (status, error code) by file name."""
    (folder / "text.wav").write_text("this is not audio\n" * 20)
    (folder / "empty.wav").touch()
    (folder / "playlist.wav").write_text(f"ffconcat version 1.0\nfile '{SAMPLES / 'missing_table.flac'}'\n")
    (folder / "headers.mp3").write_bytes(_mp3()[:300])
    _silent_video(folder / "video.mp4")
    return {
        "text.wav": ("rejected", "unsupported_format"),
        "empty.wav": ("rejected", "empty_object"),
        "playlist.wav": ("rejected", "unsupported_format"),
        "headers.mp3": ("rejected", "decode_failed"),
        "video.mp4": ("rejected", "no_audio_stream"),
    }


def _mp3() -> bytes:
    name: str = next(s["file"] for s in samples() if s["file"].endswith(".mp3"))
    return (SAMPLES / name).read_bytes()


def _silent_video(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(10):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def alike(one: Any, other: Any) -> bool:
    """Whether two comparable records are equal except for rounding.

    The other rows of a batch may change a score's last digits. Records keep at least four decimals, so a value may be
    rounded up in one record and down in the other.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) < 1.01e-4  # 0.0001 plus float error
    return bool(one == other)
