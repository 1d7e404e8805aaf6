"""Write WebVTT (w3.org/TR/webvtt1) and SubRip files. Pure; untrusted text is escaped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

from speechpipe.contract import Record
from speechpipe.record.align import top_label
from speechpipe.record.cues import Cue, cues
from speechpipe.record.direction import line_of


def transcript_vtt(record: Record) -> str:
    """The transcript as a WebVTT file."""
    return webvtt(cues(record), labels_of(record))


def transcript_srt(record: Record) -> str:
    """The transcript as a SubRip file."""
    return subrip(cues(record))


def webvtt(subtitles: Sequence[Cue], labels: Iterable[str] = ()) -> str:
    """Cues as WebVTT, with the speaker as voice and the emotion as class: `<v channel 1><c.anger>`, or `<c.unsure>`.

    `labels`: the vocabulary's, so that a label has the same class in every file.
    """
    blocks = ["WEBVTT\n"]
    classes = class_names([*labels, *(cue.emotion for cue in subtitles if cue.emotion)])
    for cue in subtitles:
        text = _escape(_text(cue))
        if cue.emotion:
            text = f"<c.{classes[cue.emotion]}>{text}</c>"
        if name := " ".join((cue.speaker or "").split()):
            text = f"<v {_escape(name)}>{text}</v>"
        blocks.append(f"{timestamp(cue.start)} --> {timestamp(cue.end)}\n{text}\n")
    return "\n".join(blocks)


def subrip(subtitles: Iterable[Cue]) -> str:
    """Cues as SubRip: numbered plain text, with the speaker's name if there are several speakers."""
    blocks = []
    for number, cue in enumerate(subtitles, start=1):
        # SubRip has no specification, but players read an arrow as a time line and an empty line as the end of a cue.
        text = (cue.label + _text(cue)).replace("-->", "→")
        start, end = timestamp(cue.start, ","), timestamp(cue.end, ",")
        blocks.append(f"{number}\n{start} --> {end}\n{text}\n")
    return "\n".join(blocks)


def _text(cue: Cue) -> str:
    """The lines in the text's direction: a player takes that of each line's first letter, or left to right."""
    return "\n".join(line_of(line, from_right=cue.from_right) for line in cue.lines)


def emotion_vtt(record: Record) -> str:
    """Emotion windows as WebVTT for `<track kind=metadata>`: one line of JSON per window, `emotion` null if unsure."""
    blocks = ["WEBVTT\n"]
    vocabulary = record.emotion_vocabulary
    for window in record.emotion_windows:
        cue = {
            "channel": window.channel,
            "emotion": top_label(window, vocabulary) if vocabulary else None,
            "scores": {s.name: s.score for s in window.scores},
        }
        # WebVTT forbids `-->` in a cue's text.
        body = json.dumps(cue, ensure_ascii=False).replace(">", "\\u003e")
        end = max(window.end, window.start + 0.001)  # WebVTT requires end > start
        blocks.append(f"{timestamp(window.start)} --> {timestamp(end)}\n{body}\n")
    return "\n".join(blocks)


def timestamp(seconds: float, decimal: str = ".") -> str:
    """`HH:MM:SS.mmm`."""
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{decimal}{milliseconds % 1000:03}"


def _escape(text: str) -> str:
    """Escape for a WebVTT cue: `&` starts an entity, `<` a tag, and `-->` would be read as times."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def labels_of(record: Record) -> Sequence[str]:
    """The labels of a record's vocabulary; none if it has no emotions."""
    return record.emotion_vocabulary.labels if record.emotion_vocabulary else ()


def class_names(labels: Iterable[str]) -> dict[str, str]:
    """A WebVTT class for each label, without dots, spaces or markup: `a.b` is `a-b`, and if that is taken `a-b-2`."""
    classes: dict[str, str] = {}
    labels = list(dict.fromkeys(labels))
    taken = {label for label in labels if _class_name(label) == label}  # those stay as they are
    for label in labels:
        name = _class_name(label)
        number = 1
        while name in taken and name != label:
            number += 1
            name = f"{_class_name(label)}-{number}"
        taken.add(name)
        classes[label] = name
    return classes


def _class_name(label: str) -> str:
    return re.sub(r"[^\w-]+", "-", label).strip("-") or "unknown"
