"""Make the transcript of all channels: what counts as words, in which language, in which order. Pure."""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from speechpipe.contract import Caution, Language, LanguageSeconds, Quality, Segment, Transcript, Word
from workers.audio.places import places
from workers.audio.vad import Span
from workers.whisper.checks import MAX_COMPRESSION, MAX_NO_SPEECH, MIN_LOGPROB
from workers.whisper.coverage import MIN_GAP
from workers.whisper.transcription import Channel, Said

#: Below this log probability text is not taken for words, where the model is in doubt that anybody speaks ...
MIN_LOGPROB_IN_DOUBT = -0.5
#: ... and the segment has fewer words than this: invented text is short ...
MIN_WORDS_IN_DOUBT = 10
#: ... or where there are fewer seconds of speech than the shortest word takes.
MIN_SPEECH_SECONDS = 0.35
#: What no language spells.
_ONE_LETTER = re.compile(r"(\w)\1{7,}")
#: Segments of two channels that overlap by this share and are as similar are one voice, heard on both.
MIN_OVERLAP, MIN_SIMILARITY = 0.5, 0.8


def transcript_of(channels: Sequence[Channel], duration: float, *, named: bool) -> tuple[Transcript, list[Caution]]:
    """The transcript of a recording of `duration` seconds, and what must be said about it.

    With `named`, segments name their channel as the speaker.
    """
    spoken: list[Segment] = []
    omitted: list[Segment] = []
    for channel in channels:
        end = 0.0
        for said in channel.said:
            segment = _segment(said, channel.number, end, duration)
            (omitted if _is_omitted(said) else spoken).append(segment)
            end = segment.end
    spoken, doubled = _without_bleed(spoken) if named else (spoken, [])
    gaps = [*(gap for channel in channels for gap in channel.gaps), *_unworded(omitted)]
    cautions = [*_gap_cautions(gaps), *_hint_cautions(channels), *_bleed_cautions(doubled)]
    seconds: dict[str, float] = {}
    for channel in channels:
        for code, length in channel.language_seconds.items():
            seconds[code] = seconds.get(code, 0.0) + length
    ranked = sorted(seconds.items(), key=lambda item: (-item[1], item[0])) if spoken else []
    transcript = Transcript(
        language=_language(channels, spoken),
        languages=tuple(LanguageSeconds(code=code, seconds=length) for code, length in ranked),
        segments=_numbered(spoken, named=named),
        omitted=_numbered([*omitted, *doubled], named=named),
        speech_seconds=sum(channel.speech_seconds for channel in channels),
    )
    return transcript, cautions


def _numbered(segments: Sequence[Segment], *, named: bool) -> tuple[Segment, ...]:
    """Segments in order of time, with their numbers and speakers."""
    ordered = sorted(segments, key=lambda s: (s.start, s.channel, s.end))
    return tuple(
        segment.model_copy(update={"id": number, "speaker": f"channel {segment.channel}" if named else None})
        for number, segment in enumerate(ordered)
    )


def _language(channels: Sequence[Channel], spoken: Sequence[Segment]) -> Language | None:
    """The language of the channel with most words, the one that takes up most of its speech."""
    if not spoken:
        return None
    words: Counter[int] = Counter()
    for segment in spoken:
        words[segment.channel] += len(segment.words) or 1
    wordiest = words.most_common(1)[0][0]
    channel = next(one for one in channels if one.number == wordiest)
    code = max(channel.language_seconds.items(), key=lambda item: item[1])[0]
    voted = channel.voted
    detected = voted is not None and voted.code == code and not channel.given
    return Language(code=code, confidence=_share(voted.confidence) if voted and detected else 1.0)


def _is_omitted(said: Said) -> bool:
    """Whether text is too short or too unsure to be words: Whisper hears "Thank you" in a breath, "wwww" in a laugh."""
    segment = said.segment
    if _ONE_LETTER.search(segment.text):
        return True
    if segment.avg_logprob >= MIN_LOGPROB_IN_DOUBT:
        return False
    invented = segment.no_speech_prob > MAX_NO_SPEECH and len(segment.words or ()) < MIN_WORDS_IN_DOUBT
    return bool(invented or said.row_seconds < MIN_SPEECH_SECONDS)


def _segment(said: Said, channel: int, earliest: float, duration: float) -> Segment:
    """Convert a faster-whisper segment to the contract's, with times in order and inside the recording."""
    found = said.segment
    words: list[Word] = []
    at = min(earliest, duration)
    for word in found.words or ():
        start = _within(word.start, at, duration)
        at = _within(word.end, start, duration)
        words.append(Word(word=word.word.strip(), start=start, end=at, confidence=_share(word.probability)))
    start = words[0].start if words else _within(found.start, at, duration)
    end = words[-1].end if words else _within(found.end, start, duration)
    likelihood = math.exp(_within(found.avg_logprob, -math.inf, 0.0))
    confidence = sum(word.confidence for word in words) / len(words) if words else likelihood
    return Segment(
        id=0,
        start=start,
        end=end,
        channel=channel,
        language=said.language,
        text=found.text.strip(),
        confidence=_share(confidence),
        quality=_quality(found),
        words=tuple(words),
    )


def _quality(found: Any) -> Quality:
    logprob, no_speech, compression = map(float, (found.avg_logprob, found.no_speech_prob, found.compression_ratio))
    unknown = not all(map(math.isfinite, (logprob, no_speech, compression)))
    doubtful = no_speech > MAX_NO_SPEECH and logprob < MIN_LOGPROB_IN_DOUBT
    return Quality(
        avg_logprob=round(logprob, 4),
        no_speech_prob=_share(no_speech) if math.isfinite(no_speech) else None,
        compression_ratio=round(compression, 3),
        suspect=unknown or compression > MAX_COMPRESSION or logprob < MIN_LOGPROB or doubtful,
    )


def _share(value: float) -> float:
    """Clamp a probability to 0 to 1, since float rounding can put it slightly outside; NaN is 0."""
    return _within(value, 0.0, 1.0)


def _within(value: float, low: float, high: float) -> float:
    """A number from low to high; low for NaN, so that times stay in order and nothing unknown is certain."""
    return low if math.isnan(value) else min(max(float(value), low), high)


# -------------------------------------------------------------------------------------------------------- bleed


def _without_bleed(segments: Sequence[Segment]) -> tuple[list[Segment], list[Segment]]:
    """Segments, and those that only repeat what a surer segment of another channel says at the same time."""
    kept: list[Segment] = []
    doubled: list[Segment] = []
    for one in sorted(segments, key=lambda segment: (-segment.confidence, segment.channel)):
        (doubled if any(_repeats(one, other) for other in kept) else kept).append(one)
    return kept, doubled


def _repeats(one: Segment, other: Segment) -> bool:
    """Whether another channel's segment says the same at the same time."""
    if one.channel == other.channel:
        return False
    overlap = min(one.end, other.end) - max(one.start, other.start)
    if overlap < MIN_OVERLAP * max(one.end - one.start, other.end - other.start):
        return False
    return difflib.SequenceMatcher(None, _plain(one.text), _plain(other.text), autojunk=False).ratio() >= MIN_SIMILARITY


def _plain(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _bleed_cautions(doubled: Sequence[Segment]) -> Iterator[Caution]:
    if doubled:
        seconds = sum(segment.end - segment.start for segment in doubled)
        message = f"{seconds:.0f} s are the same on two channels and are shown once"
        yield Caution(code="channels_alike", message=message)


# --------------------------------------------------------------------------------------------------------- gaps


def _unworded(omitted: Iterable[Segment]) -> Iterator[Span]:
    """Text that was too unsure to be words, where it stands for more than a sound."""
    for segment in omitted:
        if segment.end - segment.start >= MIN_GAP:
            yield Span(segment.start, segment.end)


def _gap_cautions(gaps: Iterable[Span]) -> Iterator[Caution]:
    ordered = sorted(gaps)
    if ordered:
        seconds = sum(gap.length for gap in ordered)
        message = f"{seconds:.0f} s sound like speech but got no words: at {places(ordered)}"
        yield Caution(code="untranscribed_speech", message=message)


def _hint_cautions(channels: Iterable[Channel]) -> Iterator[Caution]:
    found = sorted(span for channel in channels for span in channel.unhinted)
    if found:
        message = f"the model wrote hints that nobody said; transcribed without hints: at {places(found)}"
        yield Caution(code="hints_removed", message=message)
