"""A record as files: JSON, WebVTT, SubRip, an emotion track, a report. Pure; everything from a recording is escaped."""

from __future__ import annotations

import json
from dataclasses import dataclass

from speechpipe.contract import Record
from speechpipe.report import render_report
from speechpipe.subtitles import timestamp, transcript_srt, transcript_vtt

__all__ = ["Artifact", "emotion_vtt", "render", "transcript_srt", "transcript_vtt"]


@dataclass(frozen=True)
class Artifact:
    """A file of a record."""

    name: str
    body: bytes
    content_type: str


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
        end = max(window.end, window.start + 0.001)  # a cue must take time
        blocks.append(f"{timestamp(window.start)} --> {timestamp(end)}\n{body}\n")
    return "\n".join(blocks)
