"""The Whisper engine: first its rules alone, then real faster-whisper with the bundled toy model."""

from __future__ import annotations

import itertools
import logging
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speechpipe.contract import Analysis, Language, Model, Options, Stage, Transcript
from speechpipe.contract.errors import ErrorCode, Rejected
from speechpipe.settings import EngineSettings
from tests.media import SAMPLES, alike, samples, word_errors
from tests.workers.audio.media import decode, tone, write_audio
from workers.audio.decoder import SAMPLE_RATE
from workers.models import choice
from workers.whisper.engine import WhisperEngine, _contradiction
from workers.whisper.languages import SURE
from workers.whisper.segments import MAX_PAUSE
from workers.whisper.transcription import Channel

# ------------------------------------------------------------------------------------------------------- the rules


@pytest.mark.parametrize(
    ("given", "voted", "contradicts"),
    [
        (None, [("de", 0.99)], False),
        ("en", [], False),  # nobody speaks
        ("en", [None], False),
        ("en", [("en", 0.99)], False),
        ("en", [("de", SURE)], True),
        ("en", [("de", SURE - 0.01)], False),  # not sure
        ("en", [("de", 0.85), ("en", 0.95)], False),  # the surest channel is right
        ("en", [("de", 0.95), ("en", 0.85)], True),
    ],
)
def test_a_language_that_the_sound_surely_contradicts_gives_a_caution(
    given: str | None, voted: list[tuple[str, float] | None], contradicts: bool
) -> None:
    channels = [
        Channel(number, given, voted=Language(code=one[0], confidence=one[1]) if one else None)
        for number, one in enumerate(voted)
    ]
    caution = _contradiction(given, channels)
    assert (caution is not None) is contradicts
    if caution:
        assert caution.code == "language_mismatch"
        assert caution.message.startswith("language en was given, but the recording sounds like de (")


# ------------------------------------------------------------------------------------------------- the real engine


@pytest.fixture(scope="module")
def engine() -> WhisperEngine:
    loaded = choice.load(Stage.STT, EngineSettings(models="toy", device="cpu"))
    assert isinstance(loaded, WhisperEngine)
    return loaded


_analyses: dict[tuple[WhisperEngine, str, Options], Analysis] = {}


def analysis_of(engine: WhisperEngine, name: str, **options: Any) -> Analysis:
    """The analysis of a sample. Each is made only once, since several tests use it."""
    key = (engine, name, Options(**options))
    if key not in _analyses:
        _analyses[key] = engine(SAMPLES / name, key[-1], lambda _: None)
    return _analyses[key]


def transcribe(engine: WhisperEngine, name: str, **options: Any) -> Transcript:
    value = analysis_of(engine, name, **options).value
    assert isinstance(value, Transcript)
    return value


def each_sample() -> list[Any]:
    return [pytest.param(sample, id=sample["file"]) for sample in samples()]


@pytest.mark.engines
@pytest.mark.parametrize("sample", each_sample())
def test_the_samples_are_transcribed(engine: WhisperEngine, sample: dict[str, Any]) -> None:
    transcript = transcribe(engine, sample["file"], **sample["options"])
    for channel, text in enumerate(sample["text"]):
        said = " ".join(segment.text for segment in transcript.segments if segment.channel == channel)
        assert word_errors(text, said) <= 0.25 * len(text.split())
    assert transcript.language is not None
    assert transcript.language.code == "en"
    assert 0 < transcript.speech_seconds < sample["duration"] * sample["channels"]
    assert [segment.id for segment in transcript.segments] == list(range(len(transcript.segments)))
    assert [s.start for s in transcript.segments] == sorted(s.start for s in transcript.segments)
    for segment in transcript.segments:
        assert segment.words
        assert " ".join(word.word for word in segment.words) == segment.text
        edges = [edge for word in segment.words for edge in (word.start, word.end)]
        assert edges == sorted(edges)
        assert edges[-1] <= sample["duration"] + 0.01


@pytest.mark.engines
def test_words_have_the_times_at_which_they_are_said(engine: WhisperEngine) -> None:
    [sample] = [s for s in samples() if s["file"] == "order_inquiry.wav"]
    transcript = transcribe(engine, sample["file"])
    words = [word for segment in transcript.segments for word in segment.words]
    inside = [any(t["start"] - 0.5 <= w.start and w.end <= t["end"] + 0.5 for t in sample["turns"]) for w in words]
    assert sum(inside) / len(inside) > 0.9


@pytest.mark.engines
def test_a_call_of_two_channels_says_who_speaks(engine: WhisperEngine) -> None:
    shown: list[float] = []
    analysis = engine(SAMPLES / "support_call_stereo.wav", Options(channels="split"), shown.append)
    assert isinstance(analysis.value, Transcript)
    assert {(s.channel, s.speaker) for s in analysis.value.segments} == {(0, "channel 0"), (1, "channel 1")}
    assert shown == sorted(shown)
    assert len(shown) > 3
    assert shown[-1] == 1
    assert analysis.audio.channels == 2
    assert 0 < analysis.compute_seconds < 60
    assert [caution.code for caution in analysis.cautions] == ["demo_models"]


@pytest.mark.engines
@pytest.mark.parametrize("kind", ["silence", "noise", "tone"])
def test_without_speech_nothing_is_invented(engine: WhisperEngine, tmp_path: Path, kind: str) -> None:
    sound = {
        "silence": 0 * tone(4),
        "noise": np.random.default_rng(0).normal(0, 0.05, 64_000).astype(np.float32),
        "tone": tone(4),
    }[kind]
    path = write_audio(tmp_path / "a.wav", [sound], codec="pcm_s16le")
    analysis = engine(path, Options(), lambda _: None)
    assert analysis.value == Transcript(language=None, segments=(), speech_seconds=0)
    assert "no_speech" in [caution.code for caution in analysis.cautions]


@pytest.mark.engines
def test_times_count_from_the_start_of_the_recording(engine: WhisperEngine) -> None:
    [sample] = [s for s in samples() if s["file"] == "changing_mood.m4a"]
    transcript = engine(SAMPLES / sample["file"], Options(), lambda _: None).value
    assert isinstance(transcript, Transcript)
    assert word_errors(sample["text"][0], " ".join(s.text for s in transcript.segments)) <= 8
    assert transcript.segments[-1].end > 15  # the toy model gets one sentence at a time


@pytest.mark.engines
def test_hints_longer_than_the_prompt_are_cut_and_do_no_harm(engine: WhisperEngine) -> None:
    for options in (
        {"hotwords": "lamp " * 200},
        {"initial_prompt": "The service was good. " * 45},
        {"hotwords": "lamp " * 200, "initial_prompt": "The service was good. " * 45},
        {"hotwords": "猫犬" * 500, "initial_prompt": "é" * 1000},
    ):
        hints = engine._hints(Options(**options))
        hotwords = engine._model.hf_tokenizer.encode(hints.get("hotwords", ""), add_special_tokens=False).ids
        assert len(hotwords) + len(hints.get("initial_prompt", ())) <= 223
        transcribe(engine, "happy_customer.mp3", **options)  # does not raise


@pytest.mark.engines
def test_split_of_a_mono_recording_gives_a_caution_and_no_speakers(engine: WhisperEngine) -> None:
    analysis = analysis_of(engine, "happy_customer.mp3", channels="split")
    assert "mono_split" in [caution.code for caution in analysis.cautions]
    assert isinstance(analysis.value, Transcript)
    assert {segment.speaker for segment in analysis.value.segments} == {None}


@pytest.mark.engines
def test_a_given_language_is_not_detected(engine: WhisperEngine) -> None:
    assert transcribe(engine, "happy_customer.mp3", language="en").language == Language(code="en", confidence=1.0)


@pytest.mark.engines
def test_the_same_call_on_two_channels_is_shown_once(engine: WhisperEngine, tmp_path: Path) -> None:
    mono = decode(SAMPLES / "happy_customer.mp3", max_seconds=100).samples[0]
    path = write_audio(tmp_path / "a.wav", [mono, mono], codec="pcm_s16le")
    analysis = engine(path, Options(channels="split"), lambda _: None)
    assert isinstance(analysis.value, Transcript)
    alone = transcribe(engine, "happy_customer.mp3")
    said = [" ".join(s.text for s in segments) for segments in (analysis.value.segments, analysis.value.omitted)]
    assert said == [" ".join(s.text for s in alone.segments)] * 2
    assert [caution.code for caution in analysis.cautions] == ["demo_models", "channels_alike"]


@pytest.mark.engines
def test_no_segment_or_word_spans_a_long_pause(engine: WhisperEngine, tmp_path: Path) -> None:
    speech = decode(SAMPLES / "happy_customer.mp3", max_seconds=100).samples[0]
    sound = np.concatenate([speech, np.zeros(20 * SAMPLE_RATE, np.float32), speech])
    path = write_audio(tmp_path / "a.wav", [sound], codec="pcm_s16le")
    value = engine(path, Options(), lambda _: None).value
    assert isinstance(value, Transcript)
    ended, resumed = len(speech) / SAMPLE_RATE, len(speech) / SAMPLE_RATE + 20
    for segment in value.segments:
        assert segment.end <= ended or segment.start >= resumed
        assert all(after.start - word.end < MAX_PAUSE for word, after in itertools.pairwise(segment.words))
    assert len({segment.text for segment in value.segments}) * 2 == len(value.segments)


@pytest.mark.engines
def test_threads_may_analyse_recordings_in_parallel(engine: WhisperEngine) -> None:
    names = ["happy_customer.mp3", "angry_customer.ogg"]
    alone = [transcribe(engine, name) for name in names]
    together: dict[str, Transcript] = {}

    def work(name: str) -> None:
        value = engine(SAMPLES / name, Options(), lambda _: None).value
        assert isinstance(value, Transcript)
        together[name] = value

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, one in zip(names, alone, strict=True):
        assert alike(together[name].model_dump(mode="json"), one.model_dump(mode="json"))


@pytest.mark.engines
def test_no_content_is_logged(engine: WhisperEngine, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        engine(SAMPLES / "happy_customer.mp3", Options(hotwords="lamp"), lambda _: None)
    assert not [record for record in caplog.records if "lamp" in record.getMessage() or "mp3" in record.getMessage()]


@pytest.mark.engines
def test_the_model_is_identified_by_name_and_revision(engine: WhisperEngine) -> None:
    model = analysis_of(engine, "happy_customer.mp3").model
    assert (model.name, model.device, model.compute_type) == ("toy", "cpu", "int8")
    assert re.fullmatch(r"sha256:[0-9a-f]{40}", model.revision)
    assert model.engine == "faster-whisper 1.2.1"


class Limited:
    """The toy model, or a part of it, with some attributes replaced."""

    def __init__(self, whole: Any, **others: Any) -> None:
        self._whole, self._others = whole, others

    def __getattr__(self, name: str) -> Any:
        return self._others[name] if name in self._others else getattr(self._whole, name)


@pytest.mark.engines
@pytest.mark.parametrize(("multilingual", "reason"), [(False, "knows English only"), (True, "model knows")])
def test_a_language_that_the_model_does_not_know_is_rejected(
    engine: WhisperEngine, multilingual: bool, reason: str, tmp_path: Path
) -> None:
    tokenizer = engine._model.hf_tokenizer
    known = Limited(tokenizer, token_to_id=lambda token: None if token == "<|de|>" else tokenizer.token_to_id(token))
    part = Limited(engine._model.model, is_multilingual=multilingual)
    limited: Any = Limited(engine._model, model=part, hf_tokenizer=known)
    other = WhisperEngine(limited, Model(name="small.en", revision="1", engine="x"), max_seconds=60)
    with pytest.raises(Rejected) as caught:
        other(tmp_path / "not-even-read.wav", Options(language="de"), lambda _: None)
    assert caught.value.code is ErrorCode.INVALID_OPTION
    assert "'language': given 'de'" in caught.value.message
    assert reason in caught.value.message
    other(SAMPLES / "happy_customer.mp3", Options(language="en"), lambda _: None)


@pytest.mark.engines
def test_translation_by_a_model_not_trained_for_it_gives_a_caution(engine: WhisperEngine) -> None:
    identity = Model(name="mobiuslabsgmbh/faster-whisper-large-v3-turbo", revision="1", engine="x")
    other = WhisperEngine(engine._model, identity, max_seconds=60)
    analysis = other(SAMPLES / "happy_customer.mp3", Options(task="translate"), lambda _: None)
    assert [caution.code for caution in analysis.cautions] == ["translate_untrained"]


@pytest.mark.engines
def test_the_cap_on_seconds_is_the_one_of_the_settings(engine: WhisperEngine) -> None:
    limited = WhisperEngine(engine._model, engine._identity, max_seconds=5)
    with pytest.raises(Rejected, match="too long"):
        limited(SAMPLES / "happy_customer.mp3", Options(), lambda _: None)
    assert decode(SAMPLES / "happy_customer.mp3", max_seconds=10).audio.duration > 5
