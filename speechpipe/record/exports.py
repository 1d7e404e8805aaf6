"""Export a record in other services' formats, for programs written for those services. Pure.

    csv          one row per segment, with a column for each emotion
    hume         predictions of Hume's batch API v0, prosody model, granularity `utterance` (switched off in June 2026)
    assemblyai   a transcript of AssemblyAI's API v2 (https://www.assemblyai.com/docs/api-reference/transcripts/get)
    deepgram     a response of Deepgram's pre-recorded API (https://developers.deepgram.com/reference/speech-to-text)

Fields that a format does not have are left out; values that we do not know (such as speakers told apart by voice) are
null. Emotions come from the voice: AssemblyAI and Deepgram derive sentiment from the text, we fill the same fields from
the emotion scores if the model's labels have a sentiment.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from statistics import fmean
from typing import Any

from speechpipe.contract import UNSURE, EmotionWindow, LabelScore, Record, Segment, Status, Word
from speechpipe.record.joining import join_texts
from speechpipe.record.spreadsheet import disarmed

_COLUMNS = (
    *("recording_id", "revision", "segment", "start", "end", "channel", "speaker", "language", "text"),
    *("confidence", "suspect", "emotion", "emotion_confidence", "emotion_calibrated"),
)


def to_csv(record: Record) -> str:
    """Write one row per segment (RFC 4180), times in seconds.

    It begins with a byte order mark, without which Excel takes UTF-8 for the machine's own encoding. Text that a
    spreadsheet would run as a formula gets an apostrophe in front (`spreadsheet.disarmed`).
    """
    vocabulary = record.emotion_vocabulary
    labels = vocabulary.labels if vocabulary else ()
    calibrated = vocabulary.calibrated if vocabulary else None
    out = io.StringIO()
    out.write("\ufeff")
    writer = csv.writer(out)
    writer.writerow([*_COLUMNS, *(disarmed(f"score_{label}") for label in labels)])
    for segment in record.segments:
        emotion = segment.emotion
        scores = {score.name: score.score for score in emotion.scores} if emotion else {}
        where = [record.recording_id, record.revision, segment.id, segment.start, segment.end, segment.channel]
        text = disarmed(segment.text.strip())
        speech = [disarmed(segment.speaker or ""), disarmed(segment.language or ""), text, segment.confidence]
        top = [disarmed(emotion.top or UNSURE), emotion.confidence, calibrated] if emotion else [None] * 3
        writer.writerow([*where, *speech, segment.quality.suspect, *top, *map(scores.get, labels)])
    return out.getvalue()


def to_hume(record: Record) -> str:
    """Predictions as Hume's batch jobs returned them: a list with one source."""
    groups = []
    by_speaker = sorted(_hume_predictions(record), key=lambda pair: pair[0])
    for speaker, pairs in groupby(by_speaker, key=lambda pair: pair[0]):
        groups.append({"id": speaker, "predictions": [prediction for _, prediction in pairs]})
    metadata = None
    if record.language:
        metadata = {"confidence": record.language.confidence, "detected_language": record.language.code}
    prosody = {"metadata": metadata, "grouped_predictions": groups}
    predictions = [{"file": record.source.name, "file_type": "audio", "models": {"prosody": prosody}}] if groups else []
    errors = [{"message": record.error.message, "file": record.source.name}] if record.error else []
    source = {"type": "url", "url": record.source.uri}
    return _json([{"source": source, "results": {"predictions": predictions, "errors": errors}}])


def _hume_predictions(record: Record) -> Iterable[tuple[str, dict[str, Any]]]:
    """(speaker, prediction) for each segment with emotions, or for each window if there is no transcript."""
    for segment in record.segments:
        if segment.emotion:
            yield segment.speaker or "unknown", _hume_prediction(segment, segment.emotion.scores, segment.text.strip())
    if not record.segments:
        for window in record.emotion_windows:
            yield f"channel {window.channel}", _hume_prediction(window, window.scores, "")


def _hume_prediction(span: Segment | EmotionWindow, scores: Sequence[LabelScore], text: str) -> dict[str, Any]:
    return {
        "text": text,
        "time": {"begin": span.start, "end": span.end},
        "confidence": span.confidence if isinstance(span, Segment) else None,
        "speaker_confidence": None,
        "emotions": [{"name": score.name, "score": score.score} for score in scores],
    }


def to_assemblyai(record: Record) -> str:
    """A transcript object, with times in milliseconds and the recording's duration in seconds."""
    multichannel = record.audio is not None and record.audio.channels > 1
    words = [(word, segment) for segment in record.segments for word in segment.words]
    content = {
        "id": record.recording_id,
        "audio_url": record.source.uri,
        "status": "completed" if record.status in (Status.COMPLETED, Status.PARTIAL) else "error",
        "error": record.error.message if record.error else None,
        "language_code": record.language.code if record.language else None,
        "language_confidence": record.language.confidence if record.language else None,
        "audio_duration": round(record.audio.duration) if record.audio else None,
        "audio_channels": record.audio.channels if record.audio else None,
        "text": record.text,
        "confidence": _mean(word.confidence for word, _ in words),
        "words": [_assemblyai_word(word, segment, multichannel) for word, segment in words],
        "utterances": [_assemblyai_utterance(segment, multichannel) for segment in record.segments],
        "sentiment_analysis_results": [
            {
                **_assemblyai_span(segment, multichannel),
                "sentiment": sentiment[0].name,
                "confidence": sentiment[0].score,
            }
            for segment in record.segments
            if (sentiment := _sentiment(segment))
        ],
    }
    return _json(content)


def _assemblyai_span(segment: Segment, multichannel: bool) -> dict[str, Any]:
    return {
        "text": segment.text.strip(),
        "start": round(segment.start * 1000),
        "end": round(segment.end * 1000),
        "speaker": segment.speaker,
        "channel": str(segment.channel + 1) if multichannel else None,
    }


def _assemblyai_utterance(segment: Segment, multichannel: bool) -> dict[str, Any]:
    words = [_assemblyai_word(word, segment, multichannel) for word in segment.words]
    return {**_assemblyai_span(segment, multichannel), "confidence": segment.confidence, "words": words}


def _assemblyai_word(word: Word, segment: Segment, multichannel: bool) -> dict[str, Any]:
    return {
        "text": word.word.strip(),
        "start": round(word.start * 1000),
        "end": round(word.end * 1000),
        "confidence": word.confidence,
        "speaker": segment.speaker,
        "channel": str(segment.channel + 1) if multichannel else None,
    }


def to_deepgram(record: Record) -> str:
    """A response with utterances and sentiments, with times in seconds and `sentiment_score` from -1 to 1."""
    channels = sorted({segment.channel for segment in record.segments}) or [0]
    model = next((half.model for half in record.halves.values() if half.model), None)
    name = model.name if model else "unknown"
    content: dict[str, Any] = {
        "metadata": {
            "request_id": record.recording_id,
            "sha256": record.audio.sha256 if record.audio else None,
            "created": record.timing.queued_at.isoformat(),
            "duration": record.audio.duration if record.audio else None,
            "channels": record.audio.channels if record.audio else None,
            "models": [name],
            "model_info": {name: {"name": name, "version": model.revision, "arch": model.engine}} if model else {},
        },
        "results": {
            "channels": [_deepgram_channel(record, channel) for channel in channels],
            "utterances": [_deepgram_utterance(segment, record.recording_id) for segment in record.segments],
            "sentiments": _deepgram_sentiments(record),
        },
    }
    return _json(content)


def _deepgram_channel(record: Record, channel: int) -> dict[str, Any]:
    spoken = [segment for segment in record.segments if segment.channel == channel]
    words = [_deepgram_word(word) for segment in spoken for word in segment.words]
    alternative = {
        "transcript": join_texts(segment.text for segment in spoken),
        "confidence": _mean(word["confidence"] for word in words),
        "words": words,
    }
    language = record.language.code if record.language else None
    return {"alternatives": [alternative], "detected_language": language}


def _deepgram_word(word: Word) -> dict[str, Any]:
    written = word.word.strip()
    return {
        "word": written.strip(".,!?;:\"'()").lower(),
        "start": word.start,
        "end": word.end,
        "confidence": word.confidence,
        "punctuated_word": written,
    }


def _deepgram_utterance(segment: Segment, recording_id: str) -> dict[str, Any]:
    return {
        "id": f"{recording_id}-{segment.id}",
        "start": segment.start,
        "end": segment.end,
        "confidence": segment.confidence,
        "channel": segment.channel,
        "speaker": None,
        "transcript": segment.text.strip(),
        "words": [_deepgram_word(word) for word in segment.words],
    }


def _deepgram_sentiments(record: Record) -> dict[str, Any]:
    segments, first = [], 0
    for segment in record.segments:
        last = first + max(len(segment.words) - 1, 0)
        if sentiment := _sentiment(segment):
            scores = {score.name: score.score for score in sentiment}
            segments.append(
                {
                    "text": segment.text.strip(),
                    "start_word": first,
                    "end_word": last,
                    "sentiment": sentiment[0].name.lower(),
                    "sentiment_score": round(scores.get("POSITIVE", 0.0) - scores.get("NEGATIVE", 0.0), 6),
                }
            )
        first += len(segment.words)
    if not segments:
        return {"segments": [], "average": None}
    score = fmean(float(one["sentiment_score"]) for one in segments)  # type: ignore[arg-type]
    # Deepgram's thresholds: https://developers.deepgram.com/docs/sentiment-analysis
    average = "positive" if score > 1 / 3 else "negative" if score < -1 / 3 else "neutral"
    return {"segments": segments, "average": {"sentiment": average, "sentiment_score": round(score, 6)}}


def _sentiment(segment: Segment) -> Sequence[LabelScore]:
    """The sentiment of a segment; none where the model is unsure, as these formats have no word for that."""
    return segment.emotion.sentiment if segment.emotion and segment.emotion.top else ()


def _mean(confidences: Iterable[float]) -> float:
    values = list(confidences)
    return round(fmean(values), 6) if values else 0.0


def _json(content: object) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"
