"""Subtitles and emotions as text tracks: WebVTT (w3.org/TR/webvtt1) and SubRip. Pure; strangers' texts are escaped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from speechpipe.contract import Record
from speechpipe.record.cues import Cue, cues


def transcript_vtt(record: Record) -> str:
    """Its subtitles as WebVTT."""
    return webvtt(cues(record))


def transcript_srt(record: Record) -> str:
    """Its subtitles as SubRip."""
    return subrip(cues(record))


def webvtt(shown: Iterable[Cue]) -> str:
    """WebVTT with the speaker as voice and the emotion as class: `<v channel 1><c.anger>`."""
    blocks = ["WEBVTT\n"]
    for cue in shown:
        text = _markup("\n".join(cue.lines))
        if cue.emotion:
            text = f"<c.{_class_name(cue.emotion)}>{text}</c>"
        if name := " ".join((cue.speaker or "").split()):
            text = f"<v {_markup(name)}>{text}</v>"
        blocks.append(f"{timestamp(cue.start)} --> {timestamp(cue.end)}\n{text}\n")
    return "\n".join(blocks)


def subrip(shown: Iterable[Cue]) -> str:
    """SubRip: the same cues, numbered, as plain text, with the speakers' names where there are several."""
    blocks = []
    for number, cue in enumerate(shown, start=1):
        # No format says so, but players end the times at an arrow, and a cue at an empty line.
        text = (cue.label + "\n".join(cue.lines)).replace("-->", "→")
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
        end = max(window.end, window.start + 0.001)  # a cue must take time
        blocks.append(f"{timestamp(window.start)} --> {timestamp(end)}\n{body}\n")
    return "\n".join(blocks)


def timestamp(seconds: float, decimal: str = ".") -> str:
    """`HH:MM:SS.mmm`."""
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{decimal}{milliseconds % 1000:03}"


def _markup(text: str) -> str:
    """A text as WebVTT's text: `&` and `<` would begin something, and `-->` would be a cue's times."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _class_name(label: str) -> str:
    """A label as a WebVTT class: no dots, spaces or markup."""
    return re.sub(r"[^\w-]+", "-", label).strip("-") or "unknown"
