"""Parts of a recording: neighbours find the same cut, in a pause, and together they are the whole."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from speechpipe.contract import Plan
from tests.workers.audio.media import decode, write_audio
from workers.audio.parts import NEAR, open_part
from workers.audio.reader import open_audio
from workers.audio.vad import find

SAMPLES = Path(__file__).parents[2] / "samples"
RATE = 16_000


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """Eight minutes of speech with its pauses, float32."""
    paths = [path for path in sorted(SAMPLES.iterdir()) if path.suffix != ".json"]
    joined = np.concatenate([decode(path, max_seconds=600).samples[0] for path in paths])
    return np.tile(joined, int(480 * RATE / len(joined)) + 1)[: 480 * RATE]


def read(path: Path, plan: Plan, *, split: bool = False) -> list[tuple[float, np.ndarray, float]]:
    """Each part's start, samples of shape (channels, n), and end."""
    found = []
    for part in plan.parts:
        with open_part(path, part, max_seconds=3600, split=split) as stream:
            blocks = list(stream)
            found.append((stream.start, np.concatenate(blocks, axis=1), stream.audio.duration))
    return found


CODECS = {"wav": "pcm_s16le", "flac": "flac", "mp3": "mp3", "m4a": "aac", "ogg": "libopus", "webm": "libopus"}
EXACT = ("wav", "flac", "mp3")  #: the others' decoders hear a little differently after a jump


@pytest.mark.parametrize("kind", CODECS)
def test_the_parts_of_a_recording_are_the_whole_and_end_in_pauses(
    speech: np.ndarray, tmp_path: Path, kind: str
) -> None:
    rate = 48_000 if CODECS[kind] == "libopus" else RATE
    path = write_audio(tmp_path / f"speech.{kind}", [np.repeat(speech, rate // RATE)], codec=CODECS[kind], rate=rate)
    with open_audio(path, max_seconds=3600) as stream:
        whole = np.concatenate(list(stream), axis=1)
        audio = stream.audio
    parts = read(path, Plan(seconds=audio.duration, count=3))
    assert parts[0][0] == 0
    assert parts[-1][2] == pytest.approx(audio.duration, abs=1e-3)
    for (_, samples, end), (start, _, _) in pairwise(parts):
        assert start == end
        assert samples.shape[1] > 0
    joined = np.concatenate([samples for _, samples, _ in parts], axis=1)
    assert joined.shape == whole.shape
    differ = np.sqrt(np.mean((joined - whole.astype(float)) ** 2)) / np.sqrt(np.mean(whole.astype(float) ** 2))
    assert differ < (1e-4 if kind in EXACT else 0.02)
    spans = find(whole[0].astype(np.float32) / 32768)
    for number, (start, _, _) in enumerate(parts[1:], 1):
        assert abs(start - number * audio.duration / 3) <= NEAR
        assert not any(span.start + 0.05 < start < span.end - 0.05 for span in spans)


def test_channels_are_cut_where_nobody_speaks_on_any(speech: np.ndarray, tmp_path: Path) -> None:
    both = [speech, np.roll(speech, 100 * RATE)]
    path = write_audio(tmp_path / "call.wav", both, codec="pcm_s16le")
    parts = read(path, Plan(seconds=480, count=2), split=True)
    assert parts[0][2] == parts[1][0]
    assert parts[0][1].shape[0] == 2
    cut = parts[1][0]
    for channel in both:
        assert not any(span.start + 0.05 < cut < span.end - 0.05 for span in find(channel.astype(np.float32)))


def test_where_there_is_no_pause_the_cut_is_the_plan_s(tmp_path: Path) -> None:
    seconds = 400
    hum = 0.1 * np.sin(2 * np.pi * 200 * np.arange(seconds * RATE) / RATE).astype(np.float32)
    path = write_audio(tmp_path / "hum.wav", [hum], codec="pcm_s16le")
    (_, first, end), (start, second, _) = read(path, Plan(seconds=seconds, count=2))
    assert start == end == pytest.approx(200, abs=0.05)
    assert first.shape[1] + second.shape[1] == seconds * RATE


def test_a_recording_that_is_shorter_than_its_plan_has_empty_parts(speech: np.ndarray, tmp_path: Path) -> None:
    path = write_audio(tmp_path / "short.wav", [speech[: 200 * RATE]], codec="pcm_s16le")
    plan = Plan(seconds=480, count=3)
    lengths, ends = [], []
    for part in plan.parts:
        with open_part(path, part, max_seconds=3600) as stream:
            lengths.append(sum(block.shape[1] for block in stream))
            ends.append(stream.audio.duration)
    assert sum(lengths) == 200 * RATE
    assert max(ends) == 200
    assert ends[-1] == 0
