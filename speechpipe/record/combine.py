"""Combine two partials into one record. Pure: no clock, no I/O, and the order in which partials arrive is irrelevant.

So two joins that race compute the same record, byte for byte, and no transaction is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TypeVar

from speechpipe.contract import (
    Analysis,
    Artifacts,
    Audio,
    Caution,
    Cost,
    Emotions,
    Failure,
    Half,
    HalfStatus,
    Partial,
    Record,
    Recording,
    Stage,
    Status,
    Timing,
    Transcript,
)
from speechpipe.contract.options import understood, unknown_options
from speechpipe.record.align import align_segments, summarise
from speechpipe.record.foreign import unknown_languages
from speechpipe.record.joining import join_texts
from speechpipe.record.report.charts import clock_time

V = TypeVar("V", Transcript, Emotions)


def newest(partials: Iterable[Partial], recording: Recording) -> dict[Stage, Partial]:
    """Each stage's newest partial up to the recording's revision, so a half that is not rerun keeps its outcome.

    For a stage that this revision reruns, only this revision's partial counts.
    """
    chosen: dict[Stage, Partial] = {}
    for partial in partials:
        oldest = recording.revision if partial.stage in recording.rerun else 1
        if oldest <= partial.revision <= recording.revision and (
            partial.stage not in chosen or partial.revision > chosen[partial.stage].revision
        ):
            chosen[partial.stage] = partial
    return chosen


def combine(recording: Recording, partials: Mapping[Stage, Partial]) -> Record | None:
    """The record, or None while a requested half is missing.

    `partials` come from `newest`, each with its analysis or failure filled in.
    """
    requested = recording.options.stages
    if any(stage not in partials for stage in requested):
        return None
    partials = {stage: _without_work(partial) for stage, partial in partials.items()}
    analyses = {stage: partials[stage].analysis for stage in requested}
    transcript = _value(analyses.get(Stage.STT), Transcript)
    emotions = _value(analyses.get(Stage.SER), Emotions)
    audio = next((a.audio for a in analyses.values() if a), None)
    status = _status([partials[stage] for stage in requested])
    segments = transcript.segments if transcript else ()
    if transcript and emotions:
        segments = align_segments(transcript, emotions)
    failures = [f for stage in requested if (f := _failure(partials[stage]))]
    return Record(
        recording_id=recording.id,
        revision=recording.revision,
        supersedes=recording.supersedes,
        same_content_as=next((i for stage in requested if (i := partials[stage].same_content_as)), None),
        status=status,
        source=recording.source,
        audio=audio,
        options=recording.options,
        timing=_timing(recording, [partials[stage] for stage in requested], audio),
        cost=_cost([a.cost for a in analyses.values() if a]),
        halves={stage: _half(recording, partials.get(stage) if stage in requested else None) for stage in Stage},
        language=transcript.language if transcript else None,
        languages=transcript.languages if transcript else (),
        text=_text(transcript),
        segments=segments,
        omitted_segments=transcript.omitted if transcript else (),
        emotion_windows=emotions.windows if emotions else (),
        emotion_vocabulary=emotions.vocabulary if emotions else None,
        summary=summarise(transcript, emotions, audio.duration if audio else 0.0),
        artifacts=_artifacts(recording.results_uri, transcript, emotions),
        warnings=_warnings(recording, analyses),
        error=_primary_failure(failures),
    )


def _without_work(partial: Partial) -> Partial:
    """The partial as it counts here: an analysis that was taken over took no work and cost nothing."""
    analysis = partial.analysis
    if partial.same_content_as is None or analysis is None:
        return partial
    cost = Cost(amount=0, currency=analysis.cost.currency) if analysis.cost else None
    return partial.model_copy(
        update={"analysis": analysis.model_copy(update={"compute_seconds": 0.0, "work": None, "cost": cost})}
    )


def _value(analysis: Analysis | None, kind: type[V]) -> V | None:
    return analysis.value if analysis and isinstance(analysis.value, kind) else None


def _failure(partial: Partial) -> Failure | None:
    if partial.failure is None:
        return _missing(partial)
    return partial.failure.model_copy(update={"stage": partial.stage, "attempts": partial.attempt})


def _missing(partial: Partial) -> Failure | None:
    """The failure of a stage that lacks parts of the recording: which, and why the first of them."""
    missing = partial.analysis.missing if partial.analysis else ()
    if not missing:
        return None
    failure = missing[0].failure
    where = ", ".join(f"{clock_time(each.start)} to {clock_time(each.end)}" for each in missing)
    return Failure(
        code=failure.code,
        message=f"missing: {where}; {failure.message}",
        stage=partial.stage,
        attempts=failure.attempts or partial.attempt,
    )


def _status(partials: list[Partial]) -> Status:
    failures = [p.failure for p in partials if p.failure]
    if not failures:
        return Status.PARTIAL if any(p.analysis and p.analysis.missing for p in partials) else Status.COMPLETED
    if len(failures) < len(partials):
        return Status.PARTIAL
    return Status.REJECTED if all(f.code.is_input for f in failures) else Status.FAILED


def _primary_failure(failures: list[Failure]) -> Failure | None:
    """The failure to report for the whole recording: our faults before bad input, then `stt` before `ser`."""
    return min(failures, key=lambda f: (f.code.is_input, f.stage != Stage.STT), default=None)


def _half(recording: Recording, partial: Partial | None) -> Half:
    if partial is None:
        return Half(status=HalfStatus.SKIPPED)
    analysis = partial.analysis
    return Half(
        status=HalfStatus.COMPLETED if analysis else HalfStatus.FAILED,
        attempts=partial.attempt,
        progress=1.0,
        model=analysis.model if analysis else None,
        queued_at=None if partial.same_content_as else _queued_at(recording, partial.stage),
        started_at=partial.started_at,
        finished_at=partial.finished_at,
        audio_seconds=analysis.audio.duration if analysis else None,
        compute_seconds=analysis.compute_seconds if analysis else None,
        cost=analysis.cost if analysis else None,
        error=_failure(partial),
    )


def _queued_at(recording: Recording, stage: Stage) -> datetime | None:
    """When the half's task was first published; if this revision did not rerun the half, the earlier time."""
    if recording.revision == 1:
        return recording.accepted_at or recording.queued_at
    return recording.revised_at if stage in recording.rerun else recording.halves[stage].queued_at


def _timing(recording: Recording, partials: list[Partial], audio: Audio | None) -> Timing:
    return Timing(
        queued_at=recording.queued_at,
        started_at=min(p.started_at for p in partials),
        completed_at=max(p.finished_at for p in partials),
        audio_seconds=audio.duration if audio else 0.0,
        compute_seconds=sum(p.analysis.compute_seconds for p in partials if p.analysis),
    )


def _cost(costs: list[Cost | None]) -> Cost | None:
    """The sum, or None unless every half has a cost and all are in the same currency."""
    known = [cost for cost in costs if cost]
    if not known or len(known) < len(costs) or len({cost.currency for cost in known}) > 1:
        return None
    return Cost(amount=sum(cost.amount for cost in known), currency=known[0].currency)


def _text(transcript: Transcript | None) -> str:
    """The full text; one line per turn if channels were split."""
    if transcript is None:
        return ""
    lines: list[tuple[int, list[str]]] = []
    for segment in transcript.segments:
        if not lines or lines[-1][0] != segment.channel:
            lines.append((segment.channel, []))
        lines[-1][1].append(segment.text)
    return "\n".join(join_texts(texts) for _, texts in lines)


def _artifacts(results_uri: str, transcript: Transcript | None, emotions: Emotions | None) -> Artifacts:
    return Artifacts(
        record=f"{results_uri}/record.json",
        vtt=f"{results_uri}/transcript.vtt" if transcript else None,
        srt=f"{results_uri}/transcript.srt" if transcript else None,
        emotion_vtt=f"{results_uri}/emotion.vtt" if emotions else None,
        report=f"{results_uri}/report.html",
    )


def _warnings(recording: Recording, analyses: Mapping[Stage, Analysis | None]) -> tuple[Caution, ...]:
    """Each caution once: both halves report `no_speech` for a silent file. A code may occur with two messages."""
    cautions = [caution for analysis in analyses.values() if analysis for caution in analysis.cautions]
    stt, ser = analyses.get(Stage.STT), analyses.get(Stage.SER)
    cautions += unknown_languages(stt, ser) if stt and ser else ()
    metadata = recording.source.metadata
    return tuple(dict.fromkeys([*cautions, *understood(metadata), *unknown_options(metadata)]))
