"""A record as files: JSON, WebVTT, SubRip, an emotion track, a report. Pure; everything from a recording is escaped."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from speechpipe.contract import Record, Segment
from speechpipe.report import render_report

LINE_CHARACTERS = 42  #: the usual limits of subtitles: two lines of 42 characters
CUE_CHARACTERS = 2 * LINE_CHARACTERS - 4


@dataclass(frozen=True)
class Artifact:
    """A file of a record."""

    name: str
    body: bytes
    content_type: str


@dataclass(frozen=True)
class Cue:
    """A subtitle: what is on the screen from start to end (seconds)."""

    start: float
    end: float
    text: str
    segment: Segment


def render(record: Record) -> list[Artifact]:
    """The files that `record.artifacts` promises, record.json last: whoever sees it finds the others."""
    files = []
    if record.artifacts.vtt:
        files.append(Artifact("transcript.vtt", transcript_vtt(record).encode(), "text/vtt; charset=utf-8"))
    if record.artifacts.srt:
        files.append(Artifact("transcript.srt", transcript_srt(record).encode(), "application/x-subrip; charset=utf-8"))
    if record.artifacts.emotion_vtt:
        files.append(Artifact("emotion.vtt", emotion_vtt(record).encode(), "text/vtt; charset=utf-8"))
    if record.artifacts.report:
        files.append(Artifact("report.html", render_report(record).encode(), "text/html; charset=utf-8"))
    files.append(Artifact("record.json", record.model_dump_json(indent=1).encode(), "application/json"))
    return files


def transcript_vtt(record: Record) -> str:
    """WebVTT with the speaker as voice and the emotion as class: `<v.anger channel 1>` (w3.org/TR/webvtt1)."""
    blocks = ["WEBVTT\n"]
    for cue in cues(record):
        text = "\n".join(_wrap(cue.text))
        text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        emotion = f".{_class_name(cue.segment.emotion.top)}" if cue.segment.emotion else ""
        if cue.segment.speaker:
            text = f"<v{emotion} {cue.segment.speaker}>{text}</v>"
        elif emotion:
            text = f"<c{emotion}>{text}</c>"
        blocks.append(f"{timestamp(cue.start)} --> {timestamp(cue.end)}\n{text}\n")
    return "\n".join(blocks)


def transcript_srt(record: Record) -> str:
    """SubRip: numbered cues, plain text."""
    blocks = []
    for number, cue in enumerate(cues(record), start=1):
        text = "\n".join(_wrap(cue.text)).replace("-->", "->")  # there are no escapes, and that is a time
        if cue.segment.speaker:
            text = f"{cue.segment.speaker}: {text}"
        start, end = timestamp(cue.start, ","), timestamp(cue.end, ",")
        blocks.append(f"{number}\n{start} --> {end}\n{text}\n")
    return "\n".join(blocks)


def emotion_vtt(record: Record) -> str:
    """A metadata track for `<track kind=metadata>`: one line of JSON a window."""
    blocks = ["WEBVTT\n"]
    primary = record.emotion_vocabulary.primary if record.emotion_vocabulary else ()
    for window in record.emotion_windows:
        cue = {
            "channel": window.channel,
            "emotion": next((s.name for s in window.scores if s.name in primary), None),
            "scores": {s.name: s.score for s in window.scores},
        }
        # A cue's text must not hold `-->`.
        body = json.dumps(cue, ensure_ascii=False).replace(">", "\\u003e")
        blocks.append(f"{timestamp(window.start)} --> {timestamp(window.end)}\n{body}\n")
    return "\n".join(blocks)


def cues(record: Record) -> Iterator[Cue]:
    """Segments cut between words into cues of at most two lines, in order of time."""
    for segment in record.segments:
        if not segment.text.strip():
            continue
        if len(segment.text) <= CUE_CHARACTERS or not segment.words:
            yield Cue(segment.start, segment.end, segment.text.strip(), segment)
            continue
        start, text, end = segment.words[0].start, "", segment.start
        for word in segment.words:
            longer = f"{text} {word.word.strip()}".strip()
            if text and len(longer) > CUE_CHARACTERS:
                yield Cue(start, end, text, segment)
                start, longer = word.start, word.word.strip()
            text, end = longer, word.end
        yield Cue(start, end, text, segment)


def timestamp(seconds: float, decimal: str = ".") -> str:
    """`HH:MM:SS.mmm`."""
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{decimal}{milliseconds % 1000:03}"


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, LINE_CHARACTERS, break_long_words=False) or [""]


def _class_name(label: str) -> str:
    """A label as a WebVTT class: no dots, spaces or markup."""
    return re.sub(r"[^\w-]+", "-", label).strip("-") or "unknown"
