"""Gather the parts of a long recording into one partial of the whole. Pure: the parts may arrive in any order.

What is found in each part is put in line; what holds for the whole (language, summary, trend) is computed over the
whole, here or in `combine`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TypeVar

from speechpipe.contract import (
    WAVEFORM_PEAKS,
    Analysis,
    Audio,
    Caution,
    Cost,
    Emotions,
    Language,
    LanguageSeconds,
    Missing,
    Partial,
    Segment,
    Transcript,
    Waveform,
    Work,
)

#: Cautions that hold for the whole only if they hold for every part.
_OF_THE_WHOLE = {"no_speech"}
V = TypeVar("V", Transcript, Emotions)


def gather(parts: Sequence[Partial], *, attempt: int) -> Partial:
    """The partial of a stage from those of all its parts, each with its analysis or failure filled in.

    Parts that failed are `missing` in the analysis. If all failed, so did the stage, with the first part's reason.
    """
    ordered = sorted(parts, key=lambda partial: partial.part.number if partial.part else 0)
    first = ordered[0]
    found = [partial.analysis for partial in ordered if partial.analysis]
    failure = next(partial.failure for partial in ordered if partial.failure) if not found else None
    return Partial(
        recording_id=first.recording_id,
        revision=first.revision,
        stage=first.stage,
        attempt=attempt,
        started_at=min(partial.started_at for partial in ordered),
        finished_at=max(partial.finished_at for partial in ordered),
        analysis=_analysis(ordered, found) if found else None,
        failure=failure,
        same_content_as=first.same_content_as,
    )


def _analysis(parts: Sequence[Partial], found: Sequence[Analysis]) -> Analysis:
    audio = _audio(parts, found)
    transcripts = [one.value for one in found if isinstance(one.value, Transcript)]
    emotions = [one.value for one in found if isinstance(one.value, Emotions)]
    return Analysis(
        value=_transcript(transcripts) if transcripts else _emotions(emotions),
        audio=audio,
        model=found[0].model,
        compute_seconds=sum(one.compute_seconds for one in found),
        work=_work([one.work for one in found if one.work]),
        cost=_cost([one.cost for one in found]),
        cautions=_cautions(parts),
        missing=tuple(
            Missing(start=p.part.start, end=p.part.end or max(audio.duration, p.part.start), failure=p.failure)
            for p in parts
            if p.failure and p.part
        ),
    )


def _audio(parts: Sequence[Partial], found: Sequence[Analysis]) -> Audio:
    """What the decoder found, with the whole's length: the end of the last part, or where a missing one was to end."""
    ends = [one.audio.duration for one in found] + [p.part.end or p.part.start for p in parts if p.failure and p.part]
    duration = max(ends)
    digest = max(one.audio.sha256 for one in found)  # only the first part's worker computes it
    return found[0].audio.model_copy(
        update={
            "duration": duration,
            "sha256": digest,
            "length_in_header": found[-1].audio.length_in_header,
            "waveforms": _waveforms(parts, duration),
        }
    )


def _waveforms(parts: Sequence[Partial], duration: float) -> tuple[Waveform, ...]:
    """One waveform per channel over the whole, each peak the loudest of the parts' peaks in its time."""
    longest = max((w.peaks for p in parts if p.analysis for w in p.analysis.audio.waveforms), key=len, default=())
    if not longest or duration <= 0:
        return ()
    count = min(WAVEFORM_PEAKS, len(longest) * len(parts))
    peaks: dict[int, list[int]] = defaultdict(lambda: [0] * count)
    for partial in parts:
        if partial.analysis is None or partial.part is None:
            continue
        start, end = partial.part.start, partial.analysis.audio.duration
        for waveform in partial.analysis.audio.waveforms:
            width = (end - start) / max(1, len(waveform.peaks))
            for number, peak in enumerate(waveform.peaks):
                at = min(count - 1, int((start + number * width) / duration * count))
                peaks[waveform.channel][at] = max(peaks[waveform.channel][at], peak)
    return tuple(Waveform(channel=channel, peaks=tuple(row)) for channel, row in sorted(peaks.items()))


def _transcript(parts: Sequence[Transcript]) -> Transcript:
    seconds: dict[str, float] = defaultdict(float)
    for part in parts:
        for spoken in part.languages:
            seconds[spoken.code] += spoken.seconds
    ranked = sorted(seconds.items(), key=lambda item: (-item[1], item[0]))
    return Transcript(
        language=_language(parts, ranked[0][0] if ranked else None),
        segments=_numbered([segment for part in parts for segment in part.segments]),
        languages=tuple(LanguageSeconds(code=code, seconds=length) for code, length in ranked),
        omitted=_numbered([segment for part in parts for segment in part.omitted]),
        speech_seconds=sum(part.speech_seconds for part in parts),
    )


def _language(parts: Sequence[Transcript], code: str | None) -> Language | None:
    """The language that is spoken longest, with the confidence of the parts that are in it, by their words."""
    heard = [(sum(len(s.words) or 1 for s in p.segments), p.language) for p in parts if p.language]
    if not heard:
        return None
    code = code or heard[0][1].code
    ours = [(words, language.confidence) for words, language in heard if language.code == code]
    total = sum(words for words, _ in ours)
    confidence = sum(words * share for words, share in ours) / total if total else 0.0
    return Language(code=code, confidence=min(1.0, confidence))


def _numbered(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    ordered = sorted(segments, key=lambda s: (s.start, s.channel, s.end))
    return tuple(segment.model_copy(update={"id": number}) for number, segment in enumerate(ordered))


def _emotions(parts: Sequence[Emotions]) -> Emotions:
    windows = sorted((w for part in parts for w in part.windows), key=lambda w: (w.start, w.channel))
    return Emotions(vocabulary=parts[0].vocabulary, windows=tuple(windows))


def _work(parts: Sequence[Work]) -> Work | None:
    if not parts:
        return None
    return Work(
        engine_seconds=sum(one.engine_seconds for one in parts),
        rows=sum(one.rows for one in parts),
        row_slots=sum(one.row_slots for one in parts),
        filled_seconds=sum(one.filled_seconds for one in parts),
        padded_seconds=sum(one.padded_seconds for one in parts),
    )


def _cost(costs: Sequence[Cost | None]) -> Cost | None:
    known = [cost for cost in costs if cost]
    if len(known) < len(costs) or len({cost.currency for cost in known}) != 1:
        return None
    return Cost(amount=sum(cost.amount for cost in known), currency=known[0].currency)


def _cautions(parts: Sequence[Partial]) -> tuple[Caution, ...]:
    """Each caution once. Where parts say different things under one code, the first one's, and in how many more."""
    by_code: dict[str, list[tuple[Partial, Caution]]] = defaultdict(list)
    said = [p for p in parts if p.analysis]
    for partial in said:
        for caution in partial.analysis.cautions if partial.analysis else ():
            by_code[caution.code].append((partial, caution))
    gathered = []
    for code, found in by_code.items():
        in_parts = Counter(p.part.number for p, _ in found if p.part)
        if code in _OF_THE_WHOLE and len(in_parts) < len(said):
            continue
        messages = list(dict.fromkeys(caution.message for _, caution in found))
        if len(messages) == 1 or len(in_parts) == 1:
            gathered += [Caution(code=code, message=message) for message in messages]
            continue
        more = len(in_parts) - 1
        also = f" (and alike in {more} other part{'' if more == 1 else 's'} of the recording)"
        gathered.append(Caution(code=code, message=messages[0] + also))
    return tuple(gathered)
