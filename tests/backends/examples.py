"""Contract objects with every field set, and text in many scripts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from speechpipe import contract as c
from speechpipe.contract.errors import ErrorCode

NOW = datetime(2026, 11, 22, 10, 40, 0, 123000, tzinfo=UTC)
LATER = NOW + timedelta(minutes=10)
ODD_NAME = "team a/Übergabe #1 100%? \n🎧 e\u0301.wav"
TEXT = "Grüße aus 東京 — «צהריים» 🎧\n\u0000?"


def source(name: str = ODD_NAME, generation: str = "1763808000123456") -> c.Source:
    return c.Source(
        uri=f"gs://uploads/{name}",
        bucket="uploads",
        name=name,
        generation=generation,
        size=352000,
        content_type="audio/x-wav",
        crc32c="AAAAAA==",
        metadata={"language": "de", "ref": "Fall 7 – Ä"},
        created_at=NOW,
    )


QUOTE = c.Quote(
    audio_seconds=12.5, exact=True, compute_seconds={c.Stage.STT: 0.125, c.Stage.SER: 0.063}, cost=c.Cost(amount=0.0625)
)
COST = c.Cost(amount=0.001, currency="EUR")


def held(generation: int = 1, *, queued_at: datetime = NOW) -> c.Recording:
    """A recording over a cap, as ingest creates it."""
    hold = c.Hold(code="max_duration", message="too long – 東京")
    return recording(generation, queued_at=queued_at).model_copy(
        update={"status": c.Status.HELD, "hold": hold, "accepted_at": None}
    )


def accepted(of: c.Recording, at: datetime = LATER) -> c.Recording:
    """A held recording, as release writes it."""
    return of.model_copy(
        update={
            "status": c.Status.QUEUED,
            "accepted_at": at,
            "deadline_at": at + timedelta(days=1),
            "expires_at": at + timedelta(days=30),
            "halves": {stage: c.Half(status=c.HalfStatus.QUEUED, queued_at=at) for stage in c.Stage},
        }
    )


def recording(generation: int = 1, *, queued_at: datetime = NOW, name: str = ODD_NAME) -> c.Recording:
    """A recording as ingest creates it."""
    its = source(name, str(generation))
    return c.Recording(
        id=its.recording_id,
        source=its,
        options=c.Options(language="de", channels="split", emotion=(0, 1), hotwords="東京", ref="Fall 7 – Ä"),
        results_uri=f"gs://results/{its.recording_id}/r1",
        queued_at=queued_at,
        deadline_at=queued_at + timedelta(days=1),
        expires_at=queued_at + timedelta(days=30),
        quote=QUOTE,
        accepted_at=queued_at,
        halves={stage: c.Half(status=c.HalfStatus.QUEUED, queued_at=queued_at) for stage in c.Stage},
    )


SCORES = (c.LabelScore(name="Joy", score=0.75), c.LabelScore(name="Ärger", score=0.25))
MODEL = c.Model(name="models/ü", revision="abc", engine="engine 1.2", device="cuda", compute_type="float16")
AUDIO = c.Audio(duration=12.345, channels=2, sample_rate=44100, sha256="0" * 64, format="wav/pcm_s16le")
VOCABULARY = c.Vocabulary(
    id="v", labels=("Joy", "Ärger"), primary=("Joy",), activation="sigmoid", sentiment={"Ärger": "NEGATIVE"}
)
WINDOW = c.EmotionWindow(start=0.5, end=1.25, channel=1, scores=SCORES, sentiment=SCORES)
SEGMENT = c.Segment(
    id=0,
    start=0.001,
    end=2.999,
    channel=1,
    speaker="channel 1",
    language="de",
    text=TEXT,
    confidence=0.123456,
    quality=c.Quality(avg_logprob=-0.25, no_speech_prob=0.5, compression_ratio=1.5, temperature=0.2, suspect=True),
    words=(c.Word(word="Grüße", start=0.001, end=0.5, confidence=1, emotion="Joy"),),
    emotion=c.SegmentEmotion(top="Joy", confidence=0.75, margin=0.5, coverage=1, scores=SCORES, sentiment=SCORES),
)
LANGUAGES = (c.LanguageSeconds(code="de", seconds=2.25), c.LanguageSeconds(code="ja", seconds=0.25))
FAILURE = c.Failure(code=ErrorCode.OUT_OF_MEMORY, message=TEXT, stage=c.Stage.SER, attempts=5)
CAUTION = c.Caution(code="no_speech", message=TEXT)


def partial(of: c.Recording, stage: c.Stage = c.Stage.STT, revision: int = 1, attempt: int = 2) -> c.Partial:
    language = c.Language(code="de", confidence=0.9)
    value: c.Transcript | c.Emotions
    if stage is c.Stage.STT:
        value = c.Transcript(
            language=language,
            languages=LANGUAGES,
            segments=(SEGMENT, SEGMENT),
            omitted=(SEGMENT,),
            speech_seconds=2.5,
        )
    else:
        value = c.Emotions(vocabulary=VOCABULARY, windows=(WINDOW, WINDOW))
    return c.Partial(
        recording_id=of.id,
        revision=revision,
        stage=stage,
        attempt=attempt,
        started_at=NOW,
        finished_at=LATER,
        analysis=c.Analysis(value=value, audio=AUDIO, model=MODEL, compute_seconds=1.5, cost=COST, cautions=(CAUTION,)),
    )


def finished(of: c.Recording, status: c.Status = c.Status.COMPLETED) -> c.Recording:
    """A recording as join writes it, with every field set."""
    half = c.Half(
        status=c.HalfStatus.COMPLETED,
        attempts=2,
        progress=1,
        expected_at=LATER,
        model=MODEL,
        queued_at=NOW,
        started_at=NOW,
        finished_at=LATER,
        audio_seconds=12.345,
        compute_seconds=1.5,
        cost=COST,
        error=FAILURE,
    )
    point = c.TurningPoint(at=3.5, channel=1, before="Joy", after="Ärger")
    summary = c.Summary(
        speech_seconds=2.5,
        words=7,
        dominant_emotion="Joy",
        emotion_share={"Joy": 0.75, "Ärger": 0.25},
        trend=(c.TrendSlice(start=0, end=1, emotion="Joy", scores=SCORES), c.TrendSlice(start=1, end=2)),
        turning_points=(point,),
    )
    artifacts = c.Artifacts(record="gs://r/record.json", vtt="gs://r/v", srt="gs://r/s", emotion_vtt="e", report="h")
    record = c.Record(
        recording_id=of.id,
        revision=of.revision,
        supersedes="rec_before",
        status=status,
        source=of.source,
        audio=AUDIO,
        options=of.options,
        timing=c.Timing(queued_at=NOW, started_at=NOW, completed_at=LATER, audio_seconds=12.345, compute_seconds=3),
        cost=COST,
        halves=dict.fromkeys(c.Stage, half),
        language=c.Language(code="de", confidence=0.9),
        languages=LANGUAGES,
        text=TEXT,
        segments=(SEGMENT, SEGMENT),
        omitted_segments=(SEGMENT,),
        emotion_windows=(WINDOW,),
        emotion_vocabulary=VOCABULARY,
        summary=summary,
        artifacts=artifacts,
        warnings=(CAUTION,),
        error=FAILURE,
    )
    return of.model_copy(
        update={
            "status": status,
            "halves": record.halves,
            "finished_at": LATER,
            "result": record,
            "preview": TEXT,
            "language": record.language,
            "summary": summary,
            "artifacts": artifacts,
            "warnings": (CAUTION,),
            "error": FAILURE,
        }
    )


def task(of: c.Recording, stage: c.Stage = c.Stage.STT) -> c.Task:
    return c.Task(recording_id=of.id, revision=3, stage=stage, source=of.source, options=of.options, queued_at=NOW)


def completion(of: c.Recording) -> c.Completion:
    done = finished(of)
    assert done.summary
    assert done.artifacts
    return c.Completion(
        id=f"{of.id}.r1.completed",
        type="dev.speechpipe.recording.v1.completed",
        source="//storage.googleapis.com/projects/_/buckets/uploads",
        subject=f"recordings/{of.id}",
        time=LATER,
        data=c.CompletionData(
            recording_id=of.id,
            revision=1,
            status=c.Status.COMPLETED,
            uri=of.source.uri,
            generation=of.source.generation,
            ref="Fall 7 – Ä",
            summary=done.summary,
            artifacts=done.artifacts,
            cost=COST,
            error=FAILURE,
        ),
    )
