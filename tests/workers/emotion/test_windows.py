"""How chunks of speech are cut into windows."""

from __future__ import annotations

import numpy as np
import pytest

from workers.audio.chunks import Chunk
from workers.audio.vad import Span
from workers.emotion.windows import GRID, windows_of


def chunk(start: float, seconds: float) -> Chunk:
    samples = np.arange(round(seconds * 16000)).astype(np.int16)
    return Chunk(0, Span(start, start + seconds), samples, speech=())


def test_speech_is_cut_into_equal_windows_of_at_most_five_seconds() -> None:
    cut = [span for span, _ in windows_of(chunk(9.9, 12))]
    assert [round(span.length, 6) for span in cut] == [4, 4, 4]
    assert cut[0].start == pytest.approx(9.9)
    assert cut[-1].end == pytest.approx(21.9)
    assert len(list(windows_of(chunk(10, 5 + 1 / 16000)))) == 1  # rounding makes no second window


def test_scored_audio_has_one_of_few_lengths_and_lacks_at_most_fifty_milliseconds_at_each_end() -> None:
    for seconds in (1.0, 1.234, 4.99, 5.0, 7.77, 31.416):
        given = chunk(0.0, seconds)
        for span, scored in windows_of(given):
            first = np.flatnonzero(given.samples == scored[0])
            begin = min(first, key=lambda at: abs(at / 16000 - span.start))  # int16 wraps, so more than one may match
            assert len(scored) % GRID == 0
            assert len(scored) <= 5 * 16000
            assert -1e-4 <= begin / 16000 - span.start <= 0.0501
            assert -1e-4 <= span.end - (begin + len(scored)) / 16000 <= 0.0501


def test_a_recording_shorter_than_the_grid_is_scored_whole() -> None:
    [(span, scored)] = windows_of(chunk(0.0, 0.05))
    assert (span, len(scored)) == (Span(0.0, 0.05), 800)
