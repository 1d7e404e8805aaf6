"""What a record says about emotions that are missing, weak, or counted twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from speechpipe.contract import Analysis, Emotions, LabelScore, Model, Options
from tests.workers.audio.media import decode, write_audio
from tests.workers.emotion.test_classifier import SAMPLES, make_model
from workers.audio.vad import Span
from workers.emotion.classifier import EmotionEngine, Row, load_classifier
from workers.emotion.head import UnreadableModel
from workers.emotion.neighbours import with_neighbours
from workers.emotion.sound import Sound
from workers.emotion.tracking import Window

pytestmark = pytest.mark.engines

RATE = 16_000
Samples = npt.NDArray[np.float32]
Analyse = Callable[..., Analysis]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> EmotionEngine:
    folder = make_model(tmp_path_factory.mktemp("model"), "layer")
    model, extractor = load_classifier(folder, device="cpu", dtype="float32")
    model.config.calibration = {"temperature": 1.0, "fitted_on": "nothing"}
    return EmotionEngine(model, extractor, Model(name="tiny", revision="1", engine="transformers"), max_seconds=100)


@pytest.fixture
def analyse(engine: EmotionEngine, tmp_path: Path) -> Analyse:
    def analyse(*channels: Samples) -> Analysis:
        path = write_audio(tmp_path / "a.wav", list(channels), codec="pcm_s16le")
        return engine(path, Options(channels="split" if len(channels) > 1 else "mix"), lambda _: None)

    return analyse


def sample(name: str) -> Samples:
    samples: Samples = decode(SAMPLES / name, max_seconds=100).samples[0]
    return samples


def windows_of(analysis: Analysis) -> Sequence[tuple[float, float]]:
    assert isinstance(analysis.value, Emotions)
    return [(window.start, window.end) for window in analysis.value.windows]


def told(analysis: Analysis) -> dict[str, str]:
    return {caution.code: caution.message for caution in analysis.cautions}


# ----------------------------------------------------------------------------------------------------- confidence


def test_a_model_without_calibration_says_that_its_confidence_is_uncalibrated(tmp_path: Path) -> None:
    model, extractor = load_classifier(make_model(tmp_path, "layer"), device="cpu", dtype="float32")
    identity = Model(name="tiny", revision="1", engine="transformers")
    for calibration, is_calibrated in (None, False), ({"temperature": 2.0, "fitted_on": "held-out speakers"}, True):
        if calibration:
            model.config.calibration = calibration
        engine = EmotionEngine(model, extractor, identity, max_seconds=100)
        analysis = engine(SAMPLES / "order_inquiry.wav", Options(), lambda _: None)
        assert isinstance(analysis.value, Emotions)
        assert analysis.value.vocabulary.calibrated is is_calibrated
        message = "the confidence of the emotion model has not been compared with how often it is right"
        assert told(analysis) == ({} if is_calibrated else {"uncalibrated": message})


# ------------------------------------------------------------------------------------------------------------- NaN


def spoil(engine: EmotionEngine, monkeypatch: pytest.MonkeyPatch, spoilt: Callable[[int], bool]) -> None:
    """Let the model return NaN or infinity for the windows with these numbers."""
    forward, numbers = engine._forward, iter(range(1000))

    def run(rows: Sequence[Row]) -> list[Samples]:
        return [row * [np.nan, np.inf][n % 2] if spoilt(n := next(numbers)) else row for row in forward(rows)]

    monkeypatch.setattr(engine._batcher, "_run", run)


def test_a_window_without_numbers_is_left_out_and_told(engine: EmotionEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = windows_of(engine(SAMPLES / "order_inquiry.wav", Options(), lambda _: None))
    spoil(engine, monkeypatch, lambda number: number == 1)
    analysis = engine(SAMPLES / "order_inquiry.wav", Options(), lambda _: None)
    kept = windows_of(analysis)
    [lost] = set(whole) - set(kept)
    assert len(kept) == len(whole) - 1
    message = f"1 window is left out, because the model's scores for it were no numbers: at 0:0{int(lost[0])}"
    assert told(analysis) == {"windows_dropped": message}
    assert Analysis.model_validate_json(analysis.model_dump_json()) == analysis


def test_a_recording_whose_only_window_has_no_numbers_has_none(
    engine: EmotionEngine, analyse: Analyse, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(engine, monkeypatch, lambda _: True)
    analysis = analyse(sample("order_inquiry.wav")[: 3 * RATE])
    assert windows_of(analysis) == []
    assert set(told(analysis)) == {"windows_dropped"}


def test_a_model_that_gives_no_numbers_at_all_is_broken(engine: EmotionEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(engine, monkeypatch, lambda _: True)
    with pytest.raises(UnreadableModel, match="no numbers for any of 4 windows"):
        engine(SAMPLES / "order_inquiry.wav", Options(), lambda _: None)


# ------------------------------------------------------------------------------------------------- without words


def voice(pitch: Samples, loudness: Samples | float) -> Samples:
    """A sound like a voice: overtones of a pitch in hertz."""
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    return np.asarray(0.2 * loudness * sum(np.sin(k * phase) / k for k in range(1, 9)), np.float32)


def between_silence(sound: Samples) -> Samples:
    noise = np.random.default_rng(0).normal(0, 0.001, len(sound) + 2 * RATE)
    noise[RATE:-RATE] += sound
    return noise.astype(np.float32)


TIME = np.arange(3 * RATE) / RATE
NOISE = np.random.default_rng(1).normal(0, 0.2, len(TIME)).astype(np.float32)
SCREAM = voice(np.full(len(TIME), 880, np.float32), 1.0)
LAUGH = voice((320 + 60 * np.sin(5 * TIME)).astype(np.float32), np.clip(np.sin(2 * np.pi * 4.5 * TIME), 0, 1))


@pytest.mark.parametrize("sound", [SCREAM, LAUGH], ids=["scream", "laugh"])
def test_a_voice_without_words_is_told_with_its_seconds(analyse: Analyse, sound: Samples) -> None:
    analysis = analyse(between_silence(sound))
    scored = sum(end - start for start, end in windows_of(analysis))
    message = told(analysis)["sound_without_speech"]
    assert "a laugh, a cry, a scream" in message
    assert message.endswith(("at 0:01", "at 0:02", "at 0:01, 0:02"))
    assert scored + float(message.split()[0]) >= 2.5


def test_a_scream_in_a_call_is_told_where_it_is(analyse: Analyse) -> None:
    speech = sample("order_inquiry.wav")
    speech = speech[: 6 * RATE]
    message = told(analyse(np.concatenate([speech, between_silence(SCREAM), speech])))["sound_without_speech"]
    assert message.startswith("3.0 s may be a voice without words")
    assert message.endswith("at 0:07")


@pytest.mark.parametrize(
    "sound",
    [
        0.3 * np.sin(2 * np.pi * 440 * TIME),
        0.2 * np.sin(2 * np.pi * 697 * TIME) + 0.2 * np.sin(2 * np.pi * 1209 * TIME),
        NOISE,
        np.convolve(NOISE, np.ones(80) / 20, "same"),
        0.002 * SCREAM,
    ],
    ids=["tone", "dialled digit", "noise", "rumble", "far away"],
)
def test_other_sounds_are_not_taken_for_a_voice(analyse: Analyse, sound: Samples) -> None:
    assert set(told(analyse(between_silence(sound)))) == {"no_speech"}


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.[wofm]*")), ids=lambda path: path.name)
def test_plain_speech_gives_no_caution_but_for_voices_of_8_khz(engine: EmotionEngine, path: Path) -> None:
    if path.suffix != ".json":
        found = set(told(engine(path, Options(channels="mix"), lambda _: None)))
        assert found == ({"narrow_band"} if path.stem in ("missing_table", "support_call_stereo") else set())


# ------------------------------------------------------------------------------------------------ two channels


@pytest.fixture(scope="module")
def call() -> tuple[Samples, Samples]:
    channels = decode(SAMPLES / "support_call_stereo.wav", split=True, max_seconds=100).samples
    return channels[0], channels[1]


@pytest.mark.parametrize(("decibels", "delay"), [(0, 0), (-12, 0.02), (-24, 0.25)])
def test_a_voice_that_is_heard_on_two_channels_is_told(
    analyse: Analyse, call: tuple[Samples, Samples], decibels: float, delay: float
) -> None:
    bleed = 10 ** (decibels / 20) * np.roll(call[0], round(delay * RATE))
    told_of = told(analyse(call[0], (call[1] + bleed).astype(np.float32)))
    assert "sound alike on two channels, and their emotions count on both: at 0:00, 0:1" in told_of["channels_alike"]


def test_people_on_channels_of_their_own_are_not_alike_even_when_both_speak(
    analyse: Analyse, call: tuple[Samples, Samples]
) -> None:
    assert set(told(analyse(*call))) == {"narrow_band"}
    one, other = sample("order_inquiry.wav"), sample("angry_customer.ogg")
    length = min(len(one), len(other))
    assert told(analyse(one[:length], other[:length])) == {}


# ----------------------------------------------------------------------------------------------- short windows


def scores(angry: float) -> tuple[LabelScore, ...]:
    pair = [LabelScore(name="angry", score=angry), LabelScore(name="calm", score=1 - angry)]
    return tuple(sorted(pair, key=lambda score: -score.score))


def windows(*spans: tuple[float, float, float], channel: int = 0) -> Iterator[Window]:
    for start, end, speech in spans:
        yield Window(channel, Span(start, end), speech, Sound(1.0, 1.0, None), Future())


def test_a_short_window_is_taken_with_its_neighbours_by_their_speech() -> None:
    given = list(windows((0, 3, 3), (3.5, 4.5, 0.5), (5, 6.5, 1.5), (20, 21, 0.2)))
    taken, alone = with_neighbours(given, [scores(0), scores(1), scores(0.2), scores(1)])
    assert taken[0] == scores(0)
    assert taken[1] == scores(round((0.5 * 1 + 1.5 * 0.2) / 5, 6))
    assert taken[2] == scores(0.2)
    assert taken[3] == scores(1)
    assert alone == [given[3]]


def test_a_neighbour_is_one_on_the_same_channel() -> None:
    given = [*windows((0, 1, 0.5)), *windows((0.5, 3, 2.5), channel=1)]
    taken, alone = with_neighbours(given, [scores(1), scores(0)])
    assert taken == [scores(1), scores(0)]
    assert alone == given[:1]


def test_half_a_second_alone_is_unsure_and_told(analyse: Analyse) -> None:
    speech = sample("order_inquiry.wav")[round(0.6 * RATE) : round(1.1 * RATE)]
    analysis = analyse(speech)
    assert isinstance(analysis.value, Emotions)
    assert [window.unsure for window in analysis.value.windows] == [True]
    message = "unsure: less than a second of speech is too little to tell an emotion by: at 0:00"
    assert told(analysis) == {"short_speech": message}
