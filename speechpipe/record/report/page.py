"""The page as a whole: what it allows itself, facts, notices, downloads, what the models are and are not."""

from __future__ import annotations

import base64
import hashlib
import json
import mimetypes
import zlib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from string import Template

from speechpipe.contract import Failure, HalfStatus, Record, Stage, Status
from speechpipe.contract.prices import about
from speechpipe.record.cues import cues
from speechpipe.record.exports import to_csv
from speechpipe.record.report.charts import clock_time, patterns, timeline_of
from speechpipe.record.report.escaping import escape
from speechpipe.record.report.label_styles import Look, looks_of
from speechpipe.record.report.player import player
from speechpipe.record.report.transcript import glance, transcript
from speechpipe.record.subtitles import subrip, webvtt

#: What each half is, to who reads.
_STAGES = {Stage.STT: "what was said", Stage.SER: "how it was said"}
_STATUS = {
    Status.COMPLETED: "completed",
    Status.PARTIAL: "partly completed",
    Status.FAILED: "failed",
    Status.REJECTED: "rejected",
}


def render_report(record: Record, *, audio: str | None = None) -> str:
    """The page. `audio`: where the player finds the recording, as a URL: `data:` to have it in the page.

    Without it a recording that is a file is looked for where it was; otherwise the page asks for the file, or takes
    `#audio=URL` from its own address (a link that the viewer signed). Nothing is loaded before somebody listens.
    """
    looks = _looks(record)
    timeline = timeline_of(record, looks)
    if audio is None and record.source.uri.startswith("file:"):
        audio = record.source.uri
    return Template(_part("page.html")).substitute(
        policy=content_security_policy(),
        title=f"{escape(record.source.name)} – speechpipe",
        style=_part("report.css"),
        seconds=f"{timeline.seconds:.6g}" if timeline else "0",
        audio=f' data-audio="{escape(audio)}"' if audio else "",
        patterns=patterns(),
        name=escape(record.source.name),
        facts=_facts(record),
        notices=_notices(record),
        player=player(record, timeline) if timeline else "",
        glance=glance(record, timeline, looks),
        transcript=transcript(record, looks),
        downloads=_downloads(record),
        about=_about(record),
        footer=_footer(record),
        data=_data(record),
        script=_part("report.js"),
    )


def content_security_policy() -> str:
    """What the page allows: its own style and script, and media to listen to. For a server's header too.

    Media may come from any address that a viewer gives, and from nowhere else: there is no other way to listen to a
    recording by a signed link.
    """
    return (
        f"default-src 'none'; script-src '{_hash('report.js')}'; style-src '{_hash('report.css')}'; "
        "media-src 'self' data: blob: file: https: http:; base-uri 'none'; form-action 'none'"
    )


def data_url(content: bytes, name: str, content_type: str | None = None) -> str:
    """A sound as an address that holds it: of the type that it came with if that is a sound's, else of its name's."""
    types = (content_type, mimetypes.guess_type(name)[0])
    kind = next((one for one in types if one and one.startswith(("audio/", "video/"))), "audio/mpeg")
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


@cache
def _part(name: str) -> str:
    return files("speechpipe.record.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _hash(name: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(_part(name).encode()).digest()).decode()


def _looks(record: Record) -> dict[str, Look]:
    """Of all labels that occur, the model's first."""
    labels = list(record.emotion_vocabulary.labels) if record.emotion_vocabulary else []
    labels += [segment.emotion.top for segment in record.segments if segment.emotion]
    labels += [score.name for window in record.emotion_windows for score in window.scores]
    labels += [label for point in record.summary.turning_points for label in (point.before, point.after)]
    return looks_of([*labels, *record.summary.emotion_share])


def _data(record: Record) -> str:
    """The record and its files for the script: compressed, since ten hours are 25 MB, and so nothing to escape."""
    shown = cues(record)
    texts = {"vtt": webvtt(shown), "srt": subrip(shown), "csv": to_csv(record)}
    text = f'{{"files":{json.dumps(texts)},"record":{record.model_dump_json()}}}'
    return base64.b64encode(zlib.compress(text.encode(), 6)).decode()


# ------------------------------------------------------------------------------------------------- its head


def _facts(record: Record) -> str:
    state = _STATUS.get(record.status, record.status.value)
    facts = [("State", f"<span class=state data-state={record.status.value}>{state}</span>")]
    if record.audio:
        channels = {1: "mono", 2: "stereo"}.get(record.audio.channels, f"{record.audio.channels} channels")
        facts.append(("Length", f"{clock_time(record.audio.duration)}, {channels}"))
    if record.language:
        language = f"<span data-language>{escape(record.language.code)}</span>"
        translated = ", translated to English" if record.options.task == "translate" else ""
        facts.append(("Language", f"{language}, {record.language.confidence:.0%} sure{translated}"))
    if record.segments:
        facts.append(("Words", f"{record.summary.words:,}"))
    if record.options.ref:
        facts.append(("Reference", escape(record.options.ref)))
    if record.cost:
        facts.append(("Compute", escape(about(record.cost))))
    uploaded = record.source.created_at
    facts.append(("Uploaded", f"{uploaded.day} {uploaded:%b %Y, %H:%M} UTC"))
    return "<dl class=facts>" + "".join(f"<div><dt>{name}<dd>{value}</div>" for name, value in facts) + "</dl>"


def _notices(record: Record) -> str:
    """Why something is missing, and what wants care."""
    errors = {stage: error for stage in Stage if (error := record.halves[stage].error)}
    notices = []
    if len(errors) > 1 and len({(error.code, error.message) for error in errors.values()}) == 1:
        notices.append(_failure("There is nothing to show.", errors[Stage.STT]))
    else:
        notices += [_failure(f"{_STAGES[stage].capitalize()} is missing.", error) for stage, error in errors.items()]
    notices += [f"<p class=notice>{escape(caution.message)}</p>" for caution in record.warnings]
    return f"<section class=notices aria-label=Notices>{''.join(notices)}</section>" if notices else ""


def _failure(what: str, error: Failure) -> str:
    attempts = f" after {error.attempts} attempts" if error.attempts > 1 else ""
    why = f"{escape(error.message)} <span class=dim>({error.code.value}{attempts})</span>"
    return f"<p class='notice bad'><b>{what}</b> {why}</p>"


# ------------------------------------------------------------------------------------------------- its foot


def _about(record: Record) -> str:
    """What made this, and what it cannot know."""
    limits = "".join(f"<p>{text}</p>" for text in _limits(record))
    return f"<section class=about><h2>What made this</h2>{limits}</section>" if limits else ""


def _downloads(record: Record) -> str:
    """Files that the script makes of what is in the page."""
    kinds = [("json", "JSON"), ("txt", "TXT"), ("srt", "SRT"), ("vtt", "VTT"), ("csv", "CSV")]
    if not record.segments:
        kinds = kinds[:1]
    buttons = "".join(f"<button type=button data-file={kind}>{name}</button>" for kind, name in kinds)
    return f"<section class=downloads hidden><h2>Download</h2><div class=buttons>{buttons}</div></section>"


def _limits(record: Record) -> Iterable[str]:
    for stage in Stage:
        half = record.halves[stage]
        what = _STAGES[stage].capitalize()
        if half.model:
            model = f"<b>{escape(half.model.name)}</b> <span class=dim>{escape(half.model.revision[:12])}</span>"
            yield f"{what}: {model}, {escape(half.model.engine)}, {escape(half.model.device)}."
        elif half.status is HalfStatus.SKIPPED:
            yield f"{what}: was not asked for."
    if record.segments:
        yield (
            "Speech recognition makes mistakes: with noise, accents, names and numbers more of them, and now and then "
            "it writes what nobody said. Listen before you rely on a word."
        )
    if record.emotion_vocabulary:
        yield (
            "<b>Emotion scores are not a diagnosis of feelings.</b> They say how speech sounds to a model that was "
            "trained mostly on acted speech; they say nothing of what anybody felt, meant or is like, and they can be "
            "wrong for a voice, an age or a language that the model knows little of. In some places the law limits "
            "what they may be used for."
        )
        if record.emotion_vocabulary.activation == "sigmoid":
            yield "Each label is scored on its own, from 0 to 1: the scores of a moment do not add up to 100%."
        else:
            yield "The scores of a moment add up to 100%: a high score may only mean that the other labels fit less."


def _footer(record: Record) -> str:
    revision = f", revision {record.revision}" if record.revision > 1 else ""
    return f"Recording {escape(record.recording_id)}{revision} · {escape(record.source.uri)} · made by speechpipe"
