"""The engine with the genuine Whisper `base`, on recordings made of the bundled samples."""

from __future__ import annotations

import itertools
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import demo
from speechpipe.contract import Analysis, Options, Stage, Transcript
from speechpipe.settings import EngineSettings
from tests import weights
from tests.media import SAMPLES, samples, spoken, word_errors, words
from tests.workers.audio.media import decode, write_audio
from workers.audio.decoder import SAMPLE_RATE
from workers.models import choice
from workers.whisper.engine import WhisperEngine
from workers.whisper.segments import MAX_PAUSE

pytestmark = [pytest.mark.weights, pytest.mark.engines, pytest.mark.slow, pytest.mark.timeout(900)]

Sound = NDArray[np.float32]


@pytest.fixture(scope="module")
def engine(whisper_base: Path) -> WhisperEngine:
    assert whisper_base.is_dir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(weights.cache()))
        patch.setenv("HF_HUB_OFFLINE", "1")
        loaded = choice.load(Stage.STT, EngineSettings(models="auto", stt_model="base", device="cpu"))
    assert isinstance(loaded, WhisperEngine)
    return loaded


def sentence(file: str, number: int) -> tuple[Sound, str]:
    """A sentence of a sample of one channel, with a fifth of a second on each side: audio and text."""
    [sample] = [each for each in samples() if each["file"] == file]
    turn = sample["turns"][number]
    audio = decode(SAMPLES / file, max_seconds=100).samples[0]
    return audio[round((turn["start"] - 0.2) * SAMPLE_RATE) : round((turn["end"] + 0.2) * SAMPLE_RATE)], turn["text"]


def silence(seconds: float) -> Sound:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def noise(seconds: float, level: float) -> Sound:
    return np.random.default_rng(0).normal(0, level, round(seconds * SAMPLE_RATE)).astype(np.float32)


def analyse(engine: WhisperEngine, folder: Path, *channels: Sound, **options: object) -> Analysis:
    path = write_audio(folder / "a.wav", list(channels), codec="pcm_s16le")
    return engine(path, Options.model_validate(options), lambda _: None)


def transcript_of(analysis: Analysis) -> Transcript:
    assert isinstance(analysis.value, Transcript)
    return analysis.value


def text_of(transcript: Transcript) -> str:
    return " ".join(segment.text for segment in transcript.segments)


def codes(analysis: Analysis) -> list[str]:
    return [caution.code for caution in analysis.cautions]


def test_a_sentence_said_twelve_times_is_written_twelve_times(engine: WhisperEngine, tmp_path: Path) -> None:
    audio, text = sentence("order_inquiry.wav", 2)
    analysis = analyse(engine, tmp_path, np.concatenate([audio] * 12))
    transcript = transcript_of(analysis)
    assert word_errors(" ".join([text] * 12), text_of(transcript)) <= 12
    assert words(text_of(transcript)).count("sunday") == 12
    assert "untranscribed_speech" not in codes(analysis)


def test_no_segment_or_word_spans_a_minute_of_silence(engine: WhisperEngine, tmp_path: Path) -> None:
    (before, first), (after, second) = sentence("order_inquiry.wav", 0), sentence("angry_customer.ogg", 2)
    analysis = analyse(engine, tmp_path, np.concatenate([before, silence(60), after]))
    transcript = transcript_of(analysis)
    resumed = len(before) / SAMPLE_RATE + 60
    early = [segment for segment in transcript.segments if segment.end < resumed]
    late = [segment for segment in transcript.segments if segment.end >= resumed]
    assert word_errors(first, " ".join(segment.text for segment in early)) <= 1
    assert word_errors(second, " ".join(segment.text for segment in late)) <= 1
    assert early[-1].end <= len(before) / SAMPLE_RATE + 0.3
    assert abs(early[0].start - 0.2) < 0.5
    assert abs(late[0].start - (resumed + 0.2)) < 0.5
    assert late[-1].end <= resumed + len(after) / SAMPLE_RATE
    for segment in transcript.segments:
        assert all(word.end - word.start < 2 for word in segment.words)
        assert all(b.start - a.end < MAX_PAUSE for a, b in itertools.pairwise(segment.words))


@pytest.mark.parametrize("level", [0.3, 0.02])
def test_a_short_noise_gives_no_text(engine: WhisperEngine, tmp_path: Path, level: float) -> None:
    sound = np.concatenate([silence(1), noise(0.2, level), silence(1)])
    transcript = transcript_of(analyse(engine, tmp_path, sound))
    assert transcript.segments == ()
    assert transcript.language is None


def test_a_breath_gives_no_text(engine: WhisperEngine, tmp_path: Path) -> None:
    """Soft noise that swells and fades."""
    raw = np.convolve(noise(0.4, 0.5), np.hanning(9) / 4, mode="same") * np.hanning(round(0.4 * SAMPLE_RATE))
    sound = np.concatenate([silence(1), raw.astype(np.float32), silence(1)])
    transcript = transcript_of(analyse(engine, tmp_path, sound))
    assert transcript.segments == ()


def test_a_fifth_of_a_second_of_a_word_gives_no_invented_sentence(engine: WhisperEngine, tmp_path: Path) -> None:
    audio, _ = sentence("happy_customer.mp3", 0)
    piece = audio[round(0.9 * SAMPLE_RATE) : round(1.1 * SAMPLE_RATE)]
    transcript = transcript_of(analyse(engine, tmp_path, np.concatenate([silence(1), piece, silence(1)])))
    assert len(words(text_of(transcript))) <= 1


@pytest.mark.parametrize("level", [1.0, 0.5])
def test_the_same_call_on_two_channels_is_shown_once(engine: WhisperEngine, tmp_path: Path, level: float) -> None:
    audio, _ = sentence("happy_customer.mp3", 0)
    other, _ = sentence("missing_table.flac", 2)
    mono = np.concatenate([audio, silence(1.5), other])
    copy = mono * np.float32(level)
    alone, copied = (transcript_of(analyse(engine, tmp_path, sound)) for sound in (mono, copy))
    analysis = analyse(engine, tmp_path, mono, copy, channels="split")
    transcript = transcript_of(analysis)
    shown, hidden = text_of(transcript), " ".join(segment.text for segment in transcript.omitted)
    # Every sentence once, as one of the channels says it by itself; the other channel's is the hidden one.
    assert Counter(words(f"{shown} {hidden}")) == Counter(words(f"{text_of(alone)} {text_of(copied)}"))
    assert [words(segment.text)[0] for segment in transcript.segments] == ["hello", "nobody"]
    assert [words(segment.text)[0] for segment in transcript.omitted] == ["hello", "nobody"]
    assert "channels_alike" in codes(analysis)


def test_a_recording_has_the_same_text_alone_and_with_seven_others_in_flight(engine: WhisperEngine) -> None:
    names = [sample["file"] for sample in samples()]
    others = list(itertools.islice(itertools.cycle(names[1:]), 7))
    chosen = names[0]

    def text(name: str) -> list[tuple[str, float, float]]:
        found = transcript_of(engine(SAMPLES / name, Options(), lambda _: None))
        return [(segment.text, segment.start, segment.end) for segment in found.segments]

    alone = [text(chosen), text(chosen)]
    with ThreadPoolExecutor(8) as pool:
        together = next(iter(pool.map(text, [chosen, *others])))
    assert alone == [together, together]


def test_a_long_recording_without_pauses_loses_no_sentence(engine: WhisperEngine, tmp_path: Path) -> None:
    pieces, texts = [], []
    for sample in samples():
        if sample["channels"] == 1:
            for number in range(len(sample["turns"])):
                audio, text = sentence(sample["file"], number)
                pieces.append(audio[round(0.15 * SAMPLE_RATE) : -round(0.15 * SAMPLE_RATE)])
                texts.append(text)
    analysis = analyse(engine, tmp_path, np.concatenate(pieces))
    transcript = transcript_of(analysis)
    expected = " ".join(texts)
    assert word_errors(expected, text_of(transcript)) <= 0.15 * len(words(expected)), text_of(transcript)
    assert "untranscribed_speech" not in codes(analysis)
    covered = {0.0}
    for segment in transcript.segments:
        covered |= {edge for word in segment.words for edge in (word.start, word.end)}
    edges = [*sorted(covered), sum(map(len, pieces)) / SAMPLE_RATE]
    assert max(b - a for a, b in itertools.pairwise(edges)) < 1.5  # no hole where a sentence was


def test_sentences_with_pauses_between_them_are_all_there(engine: WhisperEngine, tmp_path: Path) -> None:
    listed = [
        (sample["file"], n) for sample in samples() if sample["channels"] == 1 for n in range(len(sample["turns"]))
    ]
    pieces = [sentence(*listed[n]) for n in np.random.default_rng(0).permutation(len(listed))]
    analysis = analyse(engine, tmp_path, np.concatenate([np.concatenate([audio, silence(1)]) for audio, _ in pieces]))
    found = words(text_of(transcript_of(analysis)))
    assert "untranscribed_speech" not in codes(analysis)
    assert {"week", "router", "table", "money", "manager", "kettle", "friday"} <= set(found)  # one of each sentence


def test_the_samples_have_their_words(engine: WhisperEngine) -> None:
    for sample in samples():
        options = Options(**sample["options"])
        transcript = transcript_of(engine(SAMPLES / sample["file"], options, lambda _: None))
        expected = spoken(sample)
        assert word_errors(expected, text_of(transcript)) <= 0.15 * len(words(expected)), sample["file"]


def test_a_language_that_the_sound_contradicts_gives_a_caution(engine: WhisperEngine) -> None:
    analysis = engine(SAMPLES / "order_inquiry.wav", Options(language="de"), lambda _: None)
    assert "language_mismatch" in codes(analysis)
    assert {segment.language for segment in transcript_of(analysis).segments} == {"de"}


def test_a_given_language_gives_no_caution_if_it_is_right(engine: WhisperEngine) -> None:
    analysis = engine(SAMPLES / "order_inquiry.wav", Options(language="en"), lambda _: None)
    assert "language_mismatch" not in codes(analysis)


def test_a_given_language_is_certain(engine: WhisperEngine) -> None:
    language = transcript_of(engine(SAMPLES / "happy_customer.mp3", Options(language="en"), lambda _: None)).language
    assert language is not None
    assert (language.code, language.confidence) == ("en", 1.0)


def test_speech_at_minus_fifty_decibels_has_its_words(engine: WhisperEngine, tmp_path: Path) -> None:
    audio, text = sentence("order_inquiry.wav", 2)
    quiet = audio * np.float32(10 ** (-50 / 20) / np.abs(audio).max())
    transcript = transcript_of(analyse(engine, tmp_path, np.concatenate([silence(0.5), quiet, silence(0.5)])))
    assert word_errors(text, text_of(transcript)) <= 2
    assert abs(transcript.segments[0].start - 0.7) < 0.5


def test_minutes_of_noise_have_no_text(engine: WhisperEngine, tmp_path: Path) -> None:
    for level in (0.001, 0.1):
        analysis = analyse(engine, tmp_path, noise(120, level))
        assert transcript_of(analysis).segments == ()
        assert codes(analysis) == ["no_speech"]


def test_an_english_model_is_warmed_up_and_transcribes_without_detecting_a_language(
    whisper_tiny_en: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    engine = choice.load(Stage.STT, EngineSettings(stt_model=str(whisper_tiny_en), device="cpu"))
    transcript = transcript_of(engine(SAMPLES / "order_inquiry.wav", Options(), lambda _: None))
    assert transcript.language is not None
    assert transcript.language.code == "en"
    assert "order" in words(text_of(transcript))


def test_a_row_with_more_tokens_than_the_model_can_write_has_all_its_words(
    engine: WhisperEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in Hindi or Tamil, whose letters take several tokens each: here a row may have no more than 40."""
    [sample] = [each for each in demo.samples() if each.file == "sense_and_sensibility.mp3"]
    whole = text_of(transcript_of(engine(demo.SAMPLES / sample.file, Options(), lambda _: None)))
    monkeypatch.setattr(engine._rows, "_generate_arguments", {"max_length": 80})
    analysis = engine(demo.SAMPLES / sample.file, Options(), lambda _: None)
    assert word_errors(whole, text_of(transcript_of(analysis))) <= 2
    assert "untranscribed_speech" not in codes(analysis)


def test_hints_change_no_words_that_were_not_said(engine: WhisperEngine, tmp_path: Path) -> None:
    for name in ("kennedy_1961.flac", "telephone_prompt.wav"):
        options = Options(hotwords="Quittengelee, Kaltblut", initial_prompt="A meeting about the Falcon release.")
        plain, hinted = (
            text_of(transcript_of(engine(demo.SAMPLES / name, each, lambda _: None))) for each in (Options(), options)
        )
        assert words(hinted) == words(plain)
    swelling = np.concatenate([noise(0.3, 0.3) * np.hanning(round(0.3 * SAMPLE_RATE)) for _ in range(8)])
    analysis = analyse(engine, tmp_path, swelling.astype(np.float32), hotwords="Quittengelee, Kaltblut")
    assert not {"quittengelee", "kaltblut"} & set(words(text_of(transcript_of(analysis))))
