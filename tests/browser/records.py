"""Records to show in a browser, and audio for them."""

from __future__ import annotations

import base64
import io
import random
import wave

from speechpipe.contract import (
    Audio,
    Caution,
    Emotions,
    EmotionWindow,
    LabelScore,
    Options,
    Record,
    Recording,
    Segment,
    SegmentEmotion,
    Stage,
    Vocabulary,
    Waveform,
    Word,
)
from speechpipe.contract.errors import ErrorCode
from speechpipe.record.combine import combine
from tests.doubles import TRANSCRIPT, source
from tests.record.test_combine import MODEL, partial, recording

#: The labels of the default model, in its order.
LABELS = (
    *("sadness", "fear", "angry", "happiness", "disgust", "neutral", "surprise"),
    *("positive", "negative", "excitement", "frustrated", "other", "unknown"),
)
VOCABULARY = Vocabulary(id="thirteen", labels=LABELS, primary=LABELS[:7], activation="sigmoid")
HOSTILE = (
    """<script>hacked=1</script>"'><img src=x onerror=hacked=1> --> & </p></script><!-- \u2028 \x1b[31m ${hacked=1}"""
)


def silence(seconds: float, rate: int = 8000) -> bytes:
    """A WAV of silence."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(bytes(2 * int(seconds * rate)))
    return out.getvalue()


def data_url(content: bytes) -> str:
    return "data:audio/wav;base64," + base64.b64encode(content).decode()


def make_segment(
    number: int, start: float, text: str, *, channel: int = 0, split: bool = False, pace: float = 0.3
) -> Segment:
    words = text.split()
    return TRANSCRIPT.segments[0].model_copy(
        update={
            "id": number,
            "start": start,
            "end": start + pace * len(words),
            "channel": channel,
            "speaker": f"channel {channel}" if split else None,
            "text": text,
            "words": tuple(
                Word(word=f" {word}", start=start + pace * n, end=start + pace * (n + 1), confidence=0.9)
                for n, word in enumerate(words)
            ),
        }
    )


def make_window(start: float, end: float, top: str, channel: int = 0) -> EmotionWindow:
    ranked = [top, *(label for label in LABELS if label != top)]
    scores = tuple(LabelScore(name=label, score=0.9 / (1 + place)) for place, label in enumerate(ranked))
    return EmotionWindow(start=start, end=end, channel=channel, scores=scores)


def make_record(
    segments: tuple[Segment, ...],
    windows: tuple[EmotionWindow, ...],
    *,
    seconds: float,
    name: str = "call.wav",
    options: Options | None = None,
    cautions: tuple[Caution, ...] = (),
) -> Record:
    """A record of two completed halves, from `combine`."""
    options = options or Options()
    channels = 2 if options.channels == "split" else 1
    peaks = tuple(int(120 + 100 * random.Random(n).random()) for n in range(800))
    audio = Audio(
        duration=seconds,
        channels=channels,
        sample_rate=16000,
        sha256="0" * 64,
        waveforms=tuple(Waveform(channel=channel, peaks=peaks) for channel in range(channels)),
    )
    transcript = TRANSCRIPT.model_copy(update={"segments": segments})
    halves = {
        Stage.STT: partial(Stage.STT, value=transcript, audio=audio, cautions=cautions),
        Stage.SER: partial(Stage.SER, value=Emotions(vocabulary=VOCABULARY, windows=windows), audio=audio),
    }
    record = combine(_recording(name, options), halves)
    assert record is not None
    return Record.model_validate_json(record.model_dump_json())  # rounded, as when read from a store


def _recording(name: str, options: Options) -> Recording:
    return recording(options).model_copy(update={"source": source(name)})


def call() -> Record:
    """Six seconds with one change of emotion."""
    segments = (
        make_segment(0, 0.3, "I ordered a blue phone last Sunday."),
        make_segment(1, 3.0, "It is still not here today."),
    )
    return make_record(segments, (make_window(0.2, 2.5, "neutral"), make_window(2.9, 5.2, "angry")), seconds=6)


def stereo() -> Record:
    """Two speakers, who overlap for a while."""
    segments = (
        make_segment(0, 0.3, "Good evening, how can I help you?", split=True),
        make_segment(1, 1.8, "I want my money back today.", channel=1, split=True),
        make_segment(2, 4.0, "I am sorry to hear that.", split=True),
    )
    windows = (make_window(0.2, 2.4, "neutral"), make_window(1.7, 3.9, "angry", 1), make_window(3.9, 6.0, "sadness"))
    return make_record(segments, windows, seconds=6.5, options=Options(channels="split"))


def silent() -> Record:
    return make_record((), (), seconds=6, cautions=(Caution(code="no_speech", message="no speech was found"),))


def half(missing: Stage) -> Record:
    """One half failed."""
    record = call()
    other = Stage.SER if missing is Stage.STT else Stage.STT
    value = Emotions(vocabulary=VOCABULARY, windows=record.emotion_windows)
    transcript = TRANSCRIPT.model_copy(update={"segments": record.segments})
    assert record.audio is not None
    partials = {
        missing: partial(missing, failure=ErrorCode.OUT_OF_MEMORY),
        other: partial(other, value=value if other is Stage.SER else transcript, audio=record.audio),
    }
    result = combine(recording(), partials)
    assert result is not None
    return result


def rejected() -> Record:
    result = combine(recording(), {stage: partial(stage, failure=ErrorCode.UNSUPPORTED_FORMAT) for stage in Stage})
    assert result is not None
    return result


def hostile() -> Record:
    """Hostile text in every field that somebody else can choose."""
    segments = tuple(
        s.model_copy(update={"speaker": HOSTILE}) for s in (make_segment(0, 0.3, f"hello {HOSTILE}", pace=0.2),)
    )
    record = make_record(
        segments, (make_window(0.2, 5, "angry"),), seconds=6, name=HOSTILE, options=Options(ref=HOSTILE)
    )
    scores = (LabelScore(name=HOSTILE, score=0.9), LabelScore(name="neutral", score=0.1))
    windows = (EmotionWindow(start=0, end=5, scores=scores),)
    vocabulary = Vocabulary(id=HOSTILE, labels=(HOSTILE, "neutral"), primary=(HOSTILE, "neutral"), activation="softmax")
    model = MODEL.model_copy(update={"name": HOSTILE, "revision": HOSTILE, "engine": HOSTILE})
    return record.model_copy(
        update={
            "emotion_windows": windows,
            "emotion_vocabulary": vocabulary,
            "halves": {stage: half.model_copy(update={"model": model}) for stage, half in record.halves.items()},
            "warnings": (Caution(code="x", message=HOSTILE),),
            "summary": record.summary.model_copy(update={"dominant_emotion": HOSTILE, "emotion_share": {HOSTILE: 1.0}}),
            "segments": tuple(
                s.model_copy(update={"emotion": s.emotion.model_copy(update={"top": HOSTILE})})
                for s in record.segments
                if s.emotion
            ),
        }
    )


def long_call(words: int, *, seed: int = 0) -> Record:
    """A long recording: sentences of 4 to 20 words, an emotion window every five seconds."""
    chance = random.Random(seed)
    vocabulary = ("where", "is", "my", "order", "it", "should", "have", "been", "here", "on", "Friday", "thank", "you")
    segments: list[Segment] = []
    at, count = 1.0, 0
    while count < words:
        length = chance.randint(4, 20)
        text = " ".join(chance.choice(vocabulary) for _ in range(length)).capitalize() + "."
        segments.append(make_segment(len(segments), round(at, 2), text, pace=0.33))
        at = segments[-1].end + chance.choice([0.1, 0.4, 1.2])
        count += length
    moods = ["neutral"] * 3 + ["angry", "sadness", "happiness"]
    windows = tuple(make_window(n * 5.0, n * 5.0 + 5, chance.choice(moods)) for n in range(int(at / 5) + 1))
    record = make_record((), windows, seconds=at + 1)
    scored = tuple(_scored(segment, windows[int(segment.start / 5)]) for segment in segments)
    summary = record.summary.model_copy(update={"words": count})
    return record.model_copy(update={"segments": scored, "summary": summary})


def _scored(segment: Segment, window: EmotionWindow) -> Segment:
    top = window.scores[0]
    emotion = SegmentEmotion(top=top.name, confidence=top.score, margin=0.4, coverage=1.0, scores=window.scores)
    words = tuple(word.model_copy(update={"emotion": top.name}) for word in segment.words)
    return segment.model_copy(update={"emotion": emotion, "words": words})
