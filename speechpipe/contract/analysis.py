"""What a stage produces for a recording: a transcript or emotions with their metadata, or a failure."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from speechpipe.contract.base import Cost, Figure, Frozen, Score, ScoreFigure, Seconds, Time
from speechpipe.contract.errors import ErrorCode
from speechpipe.contract.task import Part, Stage


class Model(Frozen):
    """The model that made a half, precise enough to reproduce the half."""

    name: str  #: a Hugging Face id, `toy`, or the name of a local folder
    revision: str  #: commit hash on the hub, or a digest of the local files
    engine: str  #: library and version, e.g. `faster-whisper 1.2.1`
    device: str = "cpu"
    compute_type: str = "float32"
    #: ISO 639 codes of the languages that an emotion model learned from, by its card; empty if that is unknown.
    languages: tuple[str, ...] = ()


#: The most peaks a waveform may have: as many as fit on a screen.
WAVEFORM_PEAKS = 800


class Waveform(Frozen):
    """The outline of a channel, for drawing: the loudest sample of each of its equally long parts."""

    channel: int = 0
    #: 255 times the square root of the loudest magnitude (0 to 1), so that quiet speech keeps its shape in eight bits.
    peaks: Annotated[tuple[Annotated[int, Field(ge=0, le=255)], ...], Field(max_length=WAVEFORM_PEAKS)]


class Audio(Frozen):
    """What the decoder found in the object."""

    duration: Seconds
    channels: int = Field(ge=1)
    sample_rate: int = Field(ge=1)  #: of the source, Hz
    sha256: str  #: of the object's bytes
    format: str | None = None  #: container/codec, e.g. `mp3/mp3float`
    #: Whether the file states its length. If not, `duration` is measured like any other, but what a quote or a player
    #: says is an estimate (raw AAC, AMR; an MP3 without its table; WebM from a browser).
    length_in_header: bool = True
    #: One for the mix of all channels, or one per channel if they are split; empty if none was computed.
    waveforms: Annotated[tuple[Waveform, ...], Field(max_length=64)] = ()


class Caution(Frozen):
    """A caveat about a result. `code` is stable."""

    #: no_speech, untranscribed_speech, hints_removed, language_mismatch, channels_alike, mono_split,
    #: translate_untrained, damaged_audio, demo_models, smaller_model, labels_assumed, windows_dropped,
    #: sound_without_speech, short_speech, uncalibrated, narrow_band, noisy, music, language_unknown_to_model,
    #: unknown_option, silence_filled, time_jump, out_of_phase, other_tracks ...
    code: str
    message: str


class Failure(Frozen):
    """Why a half has no value. `message` is for the user."""

    code: ErrorCode
    message: str
    stage: Stage | None = None
    attempts: int = 0

    @property
    def retryable(self) -> bool:
        """Whether running the stage again could help."""
        return not self.code.is_input


class Word(Frozen):
    """One word, with its position in the recording."""

    word: str
    start: Seconds
    end: Seconds
    confidence: Score
    emotion: str | None = None  #: label of the nearest emotion window, if sure; set by `align`


class Quality(Frozen):
    """Whisper's own statistics of decoding a segment (Radford et al. 2022, section 4.5); None for no number."""

    avg_logprob: Figure
    no_speech_prob: ScoreFigure
    compression_ratio: Figure
    temperature: float = 0.0
    suspect: bool = False  #: fails a threshold: the text is probably hallucinated or repeats itself


class LabelScore(Frozen):
    """A label and its score."""

    name: str
    score: Score


#: What people read in place of a label where the model is unsure.
UNSURE = "unsure"


class SegmentEmotion(Frozen):
    """The mean scores of the emotion windows that overlap a segment, weighted by overlap."""

    top: str | None  #: the vocabulary's primary label with the highest score; None: unsure
    confidence: Score  #: the highest score of a primary label
    margin: Score  #: its lead over the second-highest primary label
    coverage: Score  #: share of the segment that windows cover
    scores: tuple[LabelScore, ...]  #: all labels, highest first
    sentiment: tuple[LabelScore, ...] = ()  #: POSITIVE, NEGATIVE, NEUTRAL, highest first


class Segment(Frozen):
    """A passage of speech on one channel, usually a sentence."""

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
    """The language of the recording, taken from the channel with the most words."""

    code: str
    confidence: Score  #: 1.0 if the uploader set the language


class LanguageSeconds(Frozen):
    """How long a language is spoken."""

    code: str
    seconds: Seconds


class Transcript(Frozen):
    """The value of the stt half."""

    kind: Literal["transcript"] = "transcript"
    language: Language | None = None  #: None if nothing was said
    segments: tuple[Segment, ...] = ()
    languages: tuple[LanguageSeconds, ...] = ()  #: every language spoken, the longest first
    #: Text too short or unsure to be words, or the same on another channel: not in the record's text and subtitles.
    omitted: tuple[Segment, ...] = ()
    speech_seconds: Seconds = 0.0  #: speech found by voice activity detection, all channels


class Vocabulary(Frozen):
    """What the emotion labels mean. Labels are always stored with their vocabulary."""

    id: str  #: e.g. `CAiRE/SER-wav2vec2-large-xlsr-53-eng-zho-all-age`
    labels: tuple[str, ...]  #: in the model's order
    primary: tuple[str, ...]  #: the labels that can be dominant
    activation: Literal["sigmoid", "softmax"]  #: sigmoid: independent scores; softmax: they sum to 1
    sure_from: Score = 0.0  #: with a lower score, the highest label is not named: the model is unsure
    calibrated: bool = False  #: whether scores were compared with how often the model is right, and fitted to that
    sentiment: dict[str, str] = {}  #: primary label -> POSITIVE | NEGATIVE | NEUTRAL, where known


class EmotionWindow(Frozen):
    """The emotion scores of one span of audio."""

    start: Seconds
    end: Seconds
    channel: int = 0
    scores: tuple[LabelScore, ...]  #: all labels, highest first
    sentiment: tuple[LabelScore, ...] = ()
    unsure: bool = False  #: whatever the scores: less than a second of speech, without neighbours


class Emotions(Frozen):
    """The value of the ser half."""

    kind: Literal["emotions"] = "emotions"
    vocabulary: Vocabulary
    windows: tuple[EmotionWindow, ...] = ()


Value = Annotated[Transcript | Emotions, Field(discriminator="kind")]


class Work(Frozen):
    """How well an engine used its time. A row is what the model decodes in one go; it takes rows in batches."""

    engine_seconds: Seconds  #: the part of `compute_seconds` in which the model ran
    rows: int = Field(ge=0)
    row_slots: int = Field(ge=0)  #: batches times the batch size; `rows` of these slots were filled
    filled_seconds: Seconds  #: audio in the rows
    padded_seconds: Seconds  #: audio that the model computed for them, padding included


class Missing(Frozen):
    """A part of a long recording that could not be analysed."""

    start: Seconds
    end: Seconds
    failure: Failure


class Analysis(Frozen):
    """What an engine returns for one recording, or for a part of one; times are the recording's in both."""

    value: Value
    audio: Audio
    model: Model
    compute_seconds: Seconds  #: wall-clock seconds that this machine spent on it: decoding and engine
    work: Work | None = None  #: None if the engine does not report it
    cost: Cost | None = None  #: of `compute_seconds`; None without a price table
    cautions: tuple[Caution, ...] = ()
    missing: tuple[Missing, ...] = ()  #: parts that failed; empty unless the recording was analysed in parts


PARTIAL_INLINE_BYTES = 128 * 1024  #: well under Eventarc's limit of 512 KB per event


class Partial(Frozen):
    """One half's outcome, created once and never changed: exactly one of analysis, analysis_uri, failure is set."""

    recording_id: str
    revision: int = 1
    stage: Stage
    part: Part | None = None  #: None: of the whole recording
    attempt: int = 1
    started_at: Time
    finished_at: Time
    analysis: Analysis | None = None
    analysis_uri: str | None = None  #: URI of a large analysis in the results bucket
    failure: Failure | None = None
    same_content_as: str | None = None  #: id of the recording of the same bytes whose analysis this is
    traceparent: str | None = None  #: trace context in which it was created; the join continues that trace
