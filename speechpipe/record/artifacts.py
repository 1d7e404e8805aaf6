"""A record as files: JSON, WebVTT, SubRip, an emotion track, a report. Pure; everything from a recording is escaped."""

from __future__ import annotations

from dataclasses import dataclass

from speechpipe.contract import Record
from speechpipe.record.cues import cues
from speechpipe.record.report import data_url, render_report
from speechpipe.record.subtitles import emotion_vtt, subrip, transcript_srt, transcript_vtt, webvtt

__all__ = ["Artifact", "emotion_vtt", "render", "transcript_srt", "transcript_vtt"]


@dataclass(frozen=True)
class Artifact:
    """A file of a record."""

    name: str
    body: bytes
    content_type: str


def render(record: Record, sound: bytes | None = None) -> list[Artifact]:
    """The files that `record.artifacts` promises, record.json last: whoever sees it finds the others.

    `sound`: the recording, to be heard in its report.
    """
    files = []
    shown = cues(record)
    if record.artifacts.vtt:
        files.append(Artifact("transcript.vtt", webvtt(shown).encode(), "text/vtt; charset=utf-8"))
    if record.artifacts.srt:
        files.append(Artifact("transcript.srt", subrip(shown).encode(), "application/x-subrip; charset=utf-8"))
    if record.artifacts.emotion_vtt:
        files.append(Artifact("emotion.vtt", emotion_vtt(record).encode(), "text/vtt; charset=utf-8"))
    if record.artifacts.report:
        audio = None if sound is None else data_url(sound, record.source.name, record.source.content_type)
        files.append(Artifact("report.html", render_report(record, audio=audio).encode(), "text/html; charset=utf-8"))
    files.append(Artifact("record.json", record.model_dump_json(indent=1).encode(), "application/json"))
    return files
