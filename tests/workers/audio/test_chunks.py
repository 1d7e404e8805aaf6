from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.audio.spans import join_spans
from workers.audio import chunks, vad
from workers.audio.chunks import Chunk, ChunkRules, _ChannelChunker, phrases
from workers.audio.decoder import SAMPLE_RATE
from workers.audio.reader import open_audio
from workers.audio.vad import Span

SAMPLES = Path(__file__).parents[2] / "samples"
EMOTION = ChunkRules(gap=0.3, pad=0.1, longest=60.0, shortest=1.0)
TEXT = ChunkRules(gap=2.0, pad=0.4, longest=8.0)

Sound = npt.NDArray[np.int16]


def sound_of(name: str, *, split: bool = False) -> Sound:
    with open_audio(SAMPLES / name, split=split, max_seconds=100) as recording:
        return np.concatenate(list(recording), axis=1)


def chunked(sound: Sound, rules: ChunkRules, sizes: Iterator[int]) -> list[Chunk]:
    """The chunks of one channel whose audio arrives in blocks of these sizes."""
    chunker = _ChannelChunker(0, rules, 0.0)
    found: list[Chunk] = []
    at = 0
    while at < len(sound):
        size = next(sizes)
        found += chunker.feed(sound[at : at + size])
        at += size
    return [*found, *chunker.finish()]


def spans(found: Sequence[Chunk]) -> list[Span]:
    return [chunk.span for chunk in found]


@pytest.mark.parametrize("rules", [EMOTION, TEXT], ids=["emotion", "text"])
@pytest.mark.parametrize("name", ["happy_customer.mp3", "changing_mood.m4a"])
def test_blocks_of_any_size_give_the_same_chunks_with_their_own_audio(name: str, rules: ChunkRules) -> None:
    (sound,) = sound_of(name)
    whole = chunked(sound, rules, itertools.repeat(len(sound)))
    random = np.random.default_rng(0)
    pieces = chunked(sound, rules, iter(lambda: int(random.integers(1, 30_000)), None))
    assert len(whole) > 1
    assert spans(pieces) == spans(whole)
    for one, other in zip(pieces, whole, strict=True):
        first, last = (round(at * 16_000) for at in one.span)
        np.testing.assert_array_equal(one.samples, sound[first:last])
        np.testing.assert_array_equal(other.samples, sound[first:last])
        assert one.speech == other.speech


def test_without_a_length_limit_chunks_are_the_joined_spans_of_the_whole_recording() -> None:
    (sound,) = sound_of("changing_mood.m4a")
    found = chunked(sound, replace(EMOTION, shortest=0.0), itertools.repeat(16_000))
    bare = vad.find(sound)
    assert spans(found) == join_spans(bare, gap=0.3, pad=0.1, duration=len(sound) / 16_000)
    assert [span for chunk in found for span in chunk.speech] == bare


def test_a_long_chunk_is_cut_in_pauses() -> None:
    (sound,) = sound_of("changing_mood.m4a")
    found = chunked(sound, TEXT, itertools.repeat(16_000))
    assert all(chunk.span.length <= 8.0 for chunk in found)
    assert [span for chunk in found for span in chunk.speech] == vad.find(sound)


def test_a_short_chunk_is_widened_but_not_beyond_the_recording() -> None:
    (sound,) = sound_of("happy_customer.mp3")
    first = vad.find(sound)[0]
    sound = sound[round(first.start * 16_000) : round(first.start * 16_000) + 12_000]
    (only,) = chunked(sound, EMOTION, itertools.repeat(1000))
    assert only.span == Span(0.0, 0.75)
    (only,) = chunked(np.pad(sound, (0, 16_000)), EMOTION, itertools.repeat(1000))
    assert only.span.length >= 1.0
    assert len(only.samples) == round(only.span.length * 16_000)


def test_buffered_audio_does_not_grow_with_the_length() -> None:
    (sound,) = sound_of("changing_mood.m4a")
    chunker = _ChannelChunker(0, TEXT, 0.0)
    buffered = []
    for _ in range(10):
        for at in range(0, len(sound), 16_000):
            list(chunker.feed(sound[at : at + 16_000]))
            buffered.append(len(chunker._audio) / 16_000)
    assert max(buffered) < 20


def test_speech_without_a_pause_is_cut_to_fit_whispers_window() -> None:
    (sound,) = sound_of("changing_mood.m4a")
    spoken = np.concatenate([sound[round(s.start * 16_000) : round(s.end * 16_000)] for s in vad.find(sound)])
    rules = ChunkRules(gap=2.0, pad=0.0, longest=28.0)
    found = chunked(np.tile(spoken, 10), rules, itertools.repeat(16_000))
    assert all(chunk.span.length <= chunks.MAX_UNBROKEN for chunk in found)
    assert sum(chunk.span.length for chunk in found) > 0.9 * 10 * len(spoken) / 16_000


def test_only_the_chosen_channels_are_read() -> None:
    path = SAMPLES / "support_call_stereo.wav"
    with open_audio(path, split=True, max_seconds=100) as recording:
        both = list(chunks.speech_chunks(recording, EMOTION))
        assert recording.channels == recording.audio.channels == 2
    with open_audio(path, split=True, max_seconds=100) as recording:
        second = list(chunks.speech_chunks(recording, EMOTION, [1]))
    assert {chunk.channel for chunk in both} == {0, 1}
    assert spans(second) == [chunk.span for chunk in both if chunk.channel == 1]


@given(st.lists(st.sampled_from([0, 1]), min_size=1, max_size=60), st.integers(1, 40_000))
def test_chunks_are_in_order_and_inside_the_recording(pattern: list[int], size: int) -> None:
    (sound,) = sound_of("happy_customer.mp3")
    voice = sound[round(vad.find(sound)[0].start * 16_000) :][:8000]
    mixed = np.concatenate([voice if on else np.zeros(8000, np.int16) for on in pattern])
    found = chunked(mixed, TEXT, itertools.repeat(size))
    assert all(0 <= span.start < span.end <= len(mixed) / 16_000 for span in spans(found))
    assert all(a.end <= b.start + 1e-9 for a, b in itertools.pairwise(spans(found)))


def test_a_chunk_is_cut_into_phrases_in_the_middle_of_its_pauses() -> None:
    speech = (Span(10.5, 11.0), Span(11.4, 13.0), Span(13.4, 15.0), Span(16.0, 16.5))
    samples = np.arange(7 * SAMPLE_RATE, dtype=np.int32).astype(np.int16)
    chunk = Chunk(1, Span(10.0, 17.0), samples, speech)
    found = phrases(chunk)
    assert [each.span for each in found] == [Span(10.0, 13.2), Span(13.2, 17.0)]
    assert [each.speech for each in found] == [speech[:2], speech[2:]]  # neither too short to tell a language
    assert np.concatenate([each.samples for each in found]).tolist() == samples.tolist()
    assert {each.channel for each in found} == {1}


def test_a_chunk_without_pauses_is_one_phrase() -> None:
    chunk = Chunk(0, Span(0.0, 1.0), np.zeros(SAMPLE_RATE, np.int16), (Span(0.1, 0.9),))
    [phrase] = phrases(chunk)
    assert (phrase.span, phrase.speech, len(phrase.samples)) == (chunk.span, chunk.speech, SAMPLE_RATE)
