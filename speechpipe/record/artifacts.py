"""A record's files: JSON, WebVTT, SubRip, emotion metadata and the report. Pure; untrusted text is escaped."""

from __future__ import annotations

from dataclasses import dataclass

from speechpipe.contract import Record
from speechpipe.record.cues import cues
from speechpipe.record.report import data_url, render_report
from speechpipe.record.subtitles import emotion_vtt, labels_of, subrip, transcript_srt, transcript_vtt, webvtt

__all__ = ["Artifact", "emotion_vtt", "render", "transcript_srt", "transcript_vtt"]


@dataclass(frozen=True)
class Artifact:
    """One file that belongs to a record."""

    name: str
    body: bytes
    content_type: str


def render(record: Record, audio: bytes | None = None) -> list[Artifact]:
    """The files that `record.artifacts` lists, record.json last: once it exists, so do the others.

    `audio`: the recording's bytes, to embed in the report.
    """
    files = []
    subtitles = cues(record)
    if record.artifacts.vtt:
        files.append(
            Artifact("transcript.vtt", webvtt(subtitles, labels_of(record)).encode(), "text/vtt; charset=utf-8")
        )
    if record.artifacts.srt:
        files.append(Artifact("transcript.srt", subrip(subtitles).encode(), "application/x-subrip; charset=utf-8"))
    if record.artifacts.emotion_vtt:
        files.append(Artifact("emotion.vtt", emotion_vtt(record).encode(), "text/vtt; charset=utf-8"))
    if record.artifacts.report:
        url = None if audio is None else data_url(audio, record.source.name, record.source.content_type)
        files.append(Artifact("report.html", render_report(record, audio=url).encode(), "text/html; charset=utf-8"))
    files.append(Artifact("record.json", record.model_dump_json(indent=1).encode(), "application/json"))
    return files
