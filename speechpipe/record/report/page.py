"""The page as a whole: its security policy, facts, notices and downloads, and what the models can and cannot tell."""

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

from speechpipe.contract import Failure, Half, HalfStatus, Record, Stage, Status
from speechpipe.contract.prices import about
from speechpipe.record.cues import cues
from speechpipe.record.exports import to_csv
from speechpipe.record.report.charts import build_timeline, clock_time, patterns
from speechpipe.record.report.escaping import escape
from speechpipe.record.report.label_styles import LabelStyle, label_styles
from speechpipe.record.report.player import render_player
from speechpipe.record.report.summary import render_summary
from speechpipe.record.report.transcript import render_transcript
from speechpipe.record.subtitles import labels_of, subrip, webvtt

#: Each half's result, in the reader's words.
_RESULTS = {Stage.STT: "Transcript", Stage.SER: "Emotion scores"}
_MISSING = {Stage.STT: "The transcript is missing.", Stage.SER: "The emotion scores are missing."}
_STATUS = {
    Status.COMPLETED: "completed",
    Status.PARTIAL: "partly completed",
    Status.FAILED: "failed",
    Status.REJECTED: "rejected",
}


def render_report(record: Record, *, audio: str | None = None) -> str:
    """Render the page. `audio` is the URL from which it plays the recording; a `data:` URL embeds it.

    Without `audio`, a recording with a `file:` URI is played from there. Otherwise the page takes `#audio=URL` from its
    own address (such as a link that the viewer signed), or asks for the file. It loads no audio before Play is pressed.
    """
    styles = _label_styles(record)
    timeline = build_timeline(record, styles)
    if audio is None and record.source.uri.startswith("file:"):
        audio = record.source.uri
    return Template(_asset("page.html")).substitute(
        policy=content_security_policy(),
        title=f"{escape(record.source.name)} – speechpipe",
        style=_asset("report.css"),
        seconds=f"{timeline.seconds:.6g}" if timeline else "0",
        estimated="" if record.audio is None or record.audio.length_in_header else " data-estimated",
        audio=f' data-audio="{escape(audio)}"' if audio else "",
        patterns=patterns(),
        name=escape(record.source.name),
        facts=_facts(record),
        notices=_notices(record),
        player=render_player(record, timeline) if timeline else "",
        summary=render_summary(record, timeline, styles),
        transcript=render_transcript(record, styles),
        downloads=_downloads(record),
        about=_about(record),
        footer=_footer(record),
        data=_data(record),
        script=_asset("report.js"),
    )


def content_security_policy() -> str:
    """The page's policy, which a server can also send as a header: its own style and script, and media to play.

    Media may come from any origin, because a viewer may give the page a signed link to the recording.
    """
    return (
        f"default-src 'none'; script-src '{_hash('report.js')}'; style-src '{_hash('report.css')}'; "
        "media-src 'self' data: blob: file: https: http:; base-uri 'none'; form-action 'none'"
    )


def data_url(content: bytes, name: str, content_type: str | None = None) -> str:
    """Audio as a `data:` URL. The media type is `content_type` if that is audio or video, else the name decides."""
    candidates = (content_type, mimetypes.guess_type(name)[0])
    media_type = next((each for each in candidates if each and each.startswith(("audio/", "video/"))), "audio/mpeg")
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


@cache
def _asset(name: str) -> str:
    return files("speechpipe.record.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _hash(name: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(_asset(name).encode()).digest()).decode()


def _label_styles(record: Record) -> dict[str, LabelStyle]:
    """Styles for every label that occurs, the model's labels first."""
    labels = list(record.emotion_vocabulary.labels) if record.emotion_vocabulary else []
    labels += [segment.emotion.top for segment in record.segments if segment.emotion and segment.emotion.top]
    labels += [score.name for window in record.emotion_windows for score in window.scores]
    labels += [label for point in record.summary.turning_points for label in (point.before, point.after)]
    return label_styles([*labels, *record.summary.emotion_share])


def _data(record: Record) -> str:
    """The record and its files for the script. Compressed, since ten hours are 25 MB; base64 needs no escaping."""
    subtitles = cues(record)
    texts = {"vtt": webvtt(subtitles, labels_of(record)), "srt": subrip(subtitles), "csv": to_csv(record)}
    text = f'{{"files":{json.dumps(texts)},"record":{record.model_dump_json()}}}'
    return base64.b64encode(zlib.compress(text.encode(), 6)).decode()


# ------------------------------------------------------------------------------------------- facts and notices


def _facts(record: Record) -> str:
    state = _STATUS.get(record.status, record.status.value)
    facts = [("Status", f"<span class=state data-state={record.status.value}>{state}</span>")]
    if record.audio:
        channels = {1: "mono", 2: "stereo"}.get(record.audio.channels, f"{record.audio.channels} channels")
        facts.append(("Length", f"{clock_time(record.audio.duration)}, {channels}"))
    if record.language:
        language = f"<span data-language>{escape(record.language.code)}</span>"
        translated = ", translated to English" if record.options.task == "translate" else ""
        facts.append(("Language", f"{language} ({record.language.confidence:.0%} confidence){translated}"))
    if record.segments:
        facts.append(("Words", f"{record.summary.words:,}"))
    if record.options.ref:
        facts.append(("Reference", f"<bdi>{escape(record.options.ref)}</bdi>"))
    if record.cost:
        facts.append(("Compute", escape(about(record.cost))))
    uploaded = record.source.created_at
    facts.append(("Uploaded", f"{uploaded.day} {uploaded:%b %Y, %H:%M} UTC"))
    return "<dl class=facts>" + "".join(f"<div><dt>{name}<dd>{value}</div>" for name, value in facts) + "</dl>"


def _notices(record: Record) -> str:
    """Why a half is missing, and the record's warnings."""
    errors = {stage: error for stage in Stage if (error := record.halves[stage].error)}
    notices = []
    if len(errors) > 1 and len({(error.code, error.message) for error in errors.values()}) == 1:
        notices.append(_failure("There is nothing to show.", errors[Stage.STT]))
    else:
        notices += [_failure(_consequence(record.halves[stage], stage), error) for stage, error in errors.items()]
    notices += [f"<p class=notice>{escape(caution.message)}</p>" for caution in record.warnings]
    return f"<section class=notices aria-label=Notices>{''.join(notices)}</section>" if notices else ""


def _consequence(half: Half, stage: Stage) -> str:
    """What is missing: all of a stage, or parts of it."""
    if half.status is not HalfStatus.COMPLETED:
        return _MISSING[stage]
    return {Stage.STT: "Parts of the transcript are missing.", Stage.SER: "Parts have no emotions."}[stage]


def _failure(consequence: str, error: Failure) -> str:
    attempts = f" after {error.attempts} attempts" if error.attempts > 1 else ""
    cause = f"{escape(error.message)} <span class=dim>({error.code.value}{attempts})</span>"
    return f"<p class='notice bad'><b>{consequence}</b> {cause}</p>"


# ----------------------------------------------------------------------------------- downloads, models, footer


def _downloads(record: Record) -> str:
    """Buttons for files that the script makes from the page's data."""
    kinds = [("json", "JSON"), ("txt", "TXT"), ("srt", "SRT"), ("vtt", "VTT"), ("csv", "CSV")]
    if not record.segments:
        kinds = kinds[:1]
    buttons = "".join(f"<button type=button data-file={kind}>{name}</button>" for kind, name in kinds)
    return f"<section class=downloads hidden><h2>Download</h2><div class=buttons>{buttons}</div></section>"


def _about(record: Record) -> str:
    """Which models produced the results, and what the results cannot tell."""
    paragraphs = "".join(f"<p>{text}</p>" for text in _paragraphs(record))
    return f"<section class=about><h2>About these results</h2>{paragraphs}</section>" if paragraphs else ""


def _paragraphs(record: Record) -> Iterable[str]:
    for stage in Stage:
        half = record.halves[stage]
        if half.model:
            model = f"<b>{escape(half.model.name)}</b> <span class=dim>{escape(half.model.revision[:12])}</span>"
            yield f"{_RESULTS[stage]}: {model}, {escape(half.model.engine)}, {escape(half.model.device)}."
        elif half.status is HalfStatus.SKIPPED:
            yield f"{_RESULTS[stage]}: not requested."
    if record.segments:
        yield (
            "Speech recognition makes mistakes, especially with noise, accents, names and numbers, and sometimes it "
            "transcribes words that nobody said. Listen to the recording before you rely on a word."
        )
    if record.emotion_vocabulary:
        yield (
            "<b>Emotion scores are not a diagnosis of feelings.</b> They say how speech sounds to a model that was "
            "trained mostly on acted speech. They do not say what anyone felt, meant or is like, and they can be wrong "
            "for voices, ages or languages that the model knows little about. In some places the law limits their use."
        )
        if record.emotion_vocabulary.calibrated:
            yield (
                "The confidence of an emotion was fitted to how often the model is right about recordings for which "
                "that is known. About recordings that are unlike these it may still be too sure."
            )
        else:
            yield (
                "<b>The confidence of an emotion is uncalibrated:</b> nobody compared it with how often the model is "
                "right, so of the labels with 90% far fewer than nine in ten may be right."
            )
        if record.emotion_vocabulary.activation == "sigmoid":
            yield "Each label is scored separately from 0 to 1, so the scores at any moment do not add up to 100%."
        else:
            yield "Scores at any moment add up to 100%, so a high score may only mean that the other labels fit worse."


def _footer(record: Record) -> str:
    revision = f", revision {record.revision}" if record.revision > 1 else ""
    uri = f"<bdi>{escape(record.source.uri)}</bdi>"
    return f"Recording {escape(record.recording_id)}{revision} · {uri} · made by speechpipe"
