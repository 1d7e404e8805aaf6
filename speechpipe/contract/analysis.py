"""What a stage makes of a recording: a transcript or emotions, with the facts around it, or a failure."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from speechpipe.contract.base import Cost, Frozen, Score, Seconds, Time
from speechpipe.contract.errors import ErrorCode
from speechpipe.contract.task import Stage


class Model(Frozen):
    """Which model made a half, exactly enough to make it again."""

    name: str  #: a Hugging Face id, `demo`, or a local folder's name
    revision: str  #: commit hash on the hub, or a digest of the local files
    engine: str  #: library and version, e.g. `faster-whisper 1.2.1`
    device: str = "cpu"
    compute_type: str = "float32"


#: Peaks of a waveform at most: as many as fit on a screen.
WAVEFORM_PEAKS = 800


class Waveform(Frozen):
    """The outline of a channel, to be drawn: the loudest sample of each of equally long parts."""

    channel: int = 0
    #: 255 times the square root of the loudest magnitude (0 to 1): quiet speech keeps its shape in eight bits.
    peaks: Annotated[tuple[Annotated[int, Field(ge=0, le=255)], ...], Field(max_length=WAVEFORM_PEAKS)]


class Audio(Frozen):
    """What the decoder found in the object."""

    duration: Seconds
    channels: int = Field(ge=1)
    sample_rate: int = Field(ge=1)  #: of the source, Hz
    sha256: str  #: of the object's bytes
    format: str | None = None  #: container/codec, e.g. `mp3/mp3float`
    #: One of all channels mixed, or one a channel where they are split; empty where none was drawn.
    waveforms: Annotated[tuple[Waveform, ...], Field(max_length=64)] = ()


class Caution(Frozen):
    """A remark on a result that is there but wants care. `code` is stable."""

    code: str  #: no_speech, demo_models, damaged_audio, mono_split, language_mismatch, superseded ...
    message: str


class Failure(Frozen):
    """Why a half has no value. `message` is for the user."""

    code: ErrorCode
    message: str
    stage: Stage | None = None
    attempts: int = 0

    @property
    def retryable(self) -> bool:
        """Whether running it again could help."""
        return not self.code.is_input


class Word(Frozen):
    """One word, with its place in the recording."""

    word: str
    start: Seconds
    end: Seconds
    confidence: Score
    emotion: str | None = None  #: label of the nearest emotion window; derived, set by `align`


class Quality(Frozen):
    """The decoder's own figures for a segment (Radford et al. 2022, section 4.5)."""

    avg_logprob: float
    no_speech_prob: Score
    compression_ratio: float
    temperature: float = 0.0
    suspect: bool = False  #: fails a threshold: likely invented or looping


class LabelScore(Frozen):
    """A label with its score."""

    name: str
    score: Score


class SegmentEmotion(Frozen):
    """The emotion windows that overlap a segment, averaged by overlap."""

    top: str  #: highest of the vocabulary's primary labels
    confidence: Score  #: its score
    margin: Score  #: its lead over the next primary label
    coverage: Score  #: share of the segment that windows cover
    scores: tuple[LabelScore, ...]  #: all labels, highest first
    sentiment: tuple[LabelScore, ...] = ()  #: POSITIVE, NEGATIVE, NEUTRAL, highest first


class Segment(Frozen):
    """A stretch of speech by one channel: usually a sentence."""

    id: int
    start: Seconds
    end: Seconds
    channel: int = 0
    speaker: str | None = None  #: `channel 0` and so on when channels are split
    language: str | None = None
    text: str
    confidence: Score  #: mean word confidence
    quality: Quality
    words: tuple[Word, ...] = ()
    emotion: SegmentEmotion | None = None  #: set by `align`; None where no window overlaps


class Language(Frozen):
    """The language of the recording (of its channel with most words)."""

    code: str
    confidence: Score  #: 1.0 when the uploader gave it


class Transcript(Frozen):
    """The value of the stt half."""

    kind: Literal["transcript"] = "transcript"
    language: Language | None = None  #: None when nothing was said
    segments: tuple[Segment, ...] = ()
    speech_seconds: Seconds = 0.0  #: speech found by voice activity detection, all channels


class Vocabulary(Frozen):
    """What the emotion labels mean: never a bare label without one of these."""

    id: str  #: e.g. `CAiRE/SER-wav2vec2-large-xlsr-53-eng-zho-all-age`
    labels: tuple[str, ...]  #: in the model's order
    primary: tuple[str, ...]  #: the labels that may be called dominant
    activation: Literal["sigmoid", "softmax"]  #: sigmoid: independent scores; softmax: they sum to 1
    sentiment: dict[str, str] = {}  #: primary label -> POSITIVE | NEGATIVE | NEUTRAL, where known


class EmotionWindow(Frozen):
    """The scores of one stretch of audio."""

    start: Seconds
    end: Seconds
    channel: int = 0
    scores: tuple[LabelScore, ...]  #: all labels, highest first
    sentiment: tuple[LabelScore, ...] = ()


class Emotions(Frozen):
    """The value of the ser half."""

    kind: Literal["emotions"] = "emotions"
    vocabulary: Vocabulary
    windows: tuple[EmotionWindow, ...] = ()


Value = Annotated[Transcript | Emotions, Field(discriminator="kind")]


class Work(Frozen):
    """How well an engine's time was used. A row is what the model takes at once; rows go through it in batches."""

    engine_seconds: Seconds  #: of `compute_seconds`, the part in which the model ran
    rows: int = Field(ge=0)
    row_slots: int = Field(ge=0)  #: batches times the batch size: `rows` of them were filled
    filled_seconds: Seconds  #: audio in the rows
    padded_seconds: Seconds  #: what the model computed for them, padding included


class Analysis(Frozen):
    """What an engine gives back for one recording."""

    value: Value
    audio: Audio
    model: Model
    compute_seconds: Seconds  #: wall seconds of this machine spent on it: decoding and engine
    work: Work | None = None  #: None where an engine does not say
    cost: Cost | None = None  #: of `compute_seconds`; None without a price table
    cautions: tuple[Caution, ...] = ()


PARTIAL_INLINE_BYTES = 128 * 1024  #: well under Eventarc's 512 KB event


class Partial(Frozen):
    """One half's outcome, created once and never changed: exactly one of analysis, analysis_uri, failure is set."""

    recording_id: str
    revision: int = 1
    stage: Stage
    attempt: int = 1
    started_at: Time
    finished_at: Time
    analysis: Analysis | None = None
    analysis_uri: str | None = None  #: where a large analysis lies in the results bucket
    failure: Failure | None = None
    traceparent: str | None = None  #: trace context of its creation: the join goes on from there
