"""A record in the shapes of other services, for programs that were written for those. Pure.

    csv          a line a segment, with a column for each emotion
    hume         predictions of Hume's batch API v0, prosody model, granularity `utterance` (switched off in June 2026)
    assemblyai   a transcript of AssemblyAI's API v2 (https://www.assemblyai.com/docs/api-reference/transcripts/get)
    deepgram     a response of Deepgram's pre-recorded API (https://developers.deepgram.com/reference/speech-to-text)

What a shape has no place for is left out, and what we do not know (speakers by voice, say) is null. Emotions are by how
it sounds: the sentiment that AssemblyAI and Deepgram read from the text is filled with ours from the voice, where the
model's labels say which is positive.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from statistics import fmean
from typing import Any

from speechpipe.contract import EmotionWindow, LabelScore, Record, Segment, Status, Word

_COLUMNS = (
    *("recording_id", "revision", "segment", "start", "end", "channel", "speaker", "language", "text"),
    *("confidence", "suspect", "emotion", "emotion_confidence"),
)


def to_csv(record: Record) -> str:
    """A line a segment (RFC 4180), times in seconds; text that a spreadsheet would run as a formula gets an apostrophe.

    https://owasp.org/www-community/attacks/CSV_Injection
    """
    labels = record.emotion_vocabulary.labels if record.emotion_vocabulary else ()
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([*_COLUMNS, *(f"score_{label}" for label in labels)])
    for segment in record.segments:
        emotion = segment.emotion
        scores = {score.name: score.score for score in emotion.scores} if emotion else {}
        place = [record.recording_id, record.revision, segment.id, segment.start, segment.end, segment.channel]
        said = [segment.speaker, segment.language, _harmless(segment.text.strip()), segment.confidence]
        heard = [emotion.top, emotion.confidence] if emotion else [None, None]
        writer.writerow([*place, *said, segment.quality.suspect, *heard, *map(scores.get, labels)])
    return out.getvalue()


def to_hume(record: Record) -> str:
    """Predictions as Hume's batch jobs gave them: a list with one source."""
    groups = []
    for speaker, spoken in groupby(sorted(_spoken(record), key=lambda each: each[0]), key=lambda each: each[0]):
        groups.append({"id": speaker, "predictions": [prediction for _, prediction in spoken]})
    metadata = None
    if record.language:
        metadata = {"confidence": record.language.confidence, "detected_language": record.language.code}
    prosody = {"metadata": metadata, "grouped_predictions": groups}
    predictions = [{"file": record.source.name, "file_type": "audio", "models": {"prosody": prosody}}] if groups else []
    errors = [{"message": record.error.message, "file": record.source.name}] if record.error else []
    source = {"type": "url", "url": record.source.uri}
    return _json([{"source": source, "results": {"predictions": predictions, "errors": errors}}])


def _spoken(record: Record) -> Iterable[tuple[str, dict[str, Any]]]:
    """Segments with their emotions by speaker; windows without text where there is no transcript."""
    for segment in record.segments:
        if segment.emotion:
            yield segment.speaker or "unknown", _prediction(segment, segment.emotion.scores, segment.text.strip())
    if not record.segments:
        for window in record.emotion_windows:
            yield f"channel {window.channel}", _prediction(window, window.scores, "")


def _prediction(span: Segment | EmotionWindow, scores: Sequence[LabelScore], text: str) -> dict[str, Any]:
    return {
        "text": text,
        "time": {"begin": span.start, "end": span.end},
        "confidence": span.confidence if isinstance(span, Segment) else None,
        "speaker_confidence": None,
        "emotions": [{"name": score.name, "score": score.score} for score in scores],
    }


def to_assemblyai(record: Record) -> str:
    """A transcript object; times in milliseconds, the recording's length in seconds."""
    many = record.audio is not None and record.audio.channels > 1
    words = [(word, segment) for segment in record.segments for word in segment.words]
    made = [_assemblyai_word(word, segment, many) for word, segment in words]
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
        "words": made,
        "utterances": [_assemblyai_utterance(segment, many) for segment in record.segments],
        "sentiment_analysis_results": [
            {
                **_assemblyai_span(segment, many),
                "sentiment": sentiment[0].name,
                "confidence": sentiment[0].score,
            }
            for segment in record.segments
            if (sentiment := _sentiment(segment))
        ],
    }
    return _json(content)


def _assemblyai_span(segment: Segment, many: bool) -> dict[str, Any]:
    return {
        "text": segment.text.strip(),
        "start": round(segment.start * 1000),
        "end": round(segment.end * 1000),
        "speaker": segment.speaker,
        "channel": str(segment.channel + 1) if many else None,
    }


def _assemblyai_utterance(segment: Segment, many: bool) -> dict[str, Any]:
    words = [_assemblyai_word(word, segment, many) for word in segment.words]
    return {**_assemblyai_span(segment, many), "confidence": segment.confidence, "words": words}


def _assemblyai_word(word: Word, segment: Segment, many: bool) -> dict[str, Any]:
    return {
        "text": word.word.strip(),
        "start": round(word.start * 1000),
        "end": round(word.end * 1000),
        "confidence": word.confidence,
        "speaker": segment.speaker,
        "channel": str(segment.channel + 1) if many else None,
    }


def to_deepgram(record: Record) -> str:
    """A response with utterances and sentiments; times in seconds, `sentiment_score` from -1 to 1."""
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
        "transcript": " ".join(segment.text.strip() for segment in spoken),
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
            scores = {one.name: one.score for one in sentiment}
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
    # Deepgram's own bounds: https://developers.deepgram.com/docs/sentiment-analysis
    mood = "positive" if score > 1 / 3 else "negative" if score < -1 / 3 else "neutral"
    return {"segments": segments, "average": {"sentiment": mood, "sentiment_score": round(score, 6)}}


def _sentiment(segment: Segment) -> Sequence[LabelScore]:
    return segment.emotion.sentiment if segment.emotion else ()


def _mean(confidences: Iterable[float]) -> float:
    values = list(confidences)
    return round(fmean(values), 6) if values else 0.0


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _json(content: object) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"
