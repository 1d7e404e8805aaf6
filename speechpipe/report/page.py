"""The page around the drawings: facts, notices, the player, the transcript, what the models are."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from string import Template

from speechpipe.contract import Failure, HalfStatus, Record, Segment, Stage, Status
from speechpipe.exports import to_csv
from speechpipe.prices import about
from speechpipe.report.charts import Timeline, axis, clock_time, lane, patterns, table, timeline_of, turns, waveform
from speechpipe.report.escaping import escape
from speechpipe.report.looks import Look, looks_of
from speechpipe.subtitles import transcript_srt, transcript_vtt

#: Segments laid out together: what is far from the window is not laid out at all (content-visibility).
CHUNK = 40
_LISTED_TURNS = 8

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
        player=_player(record, timeline) if timeline else "",
        glance=_glance(record, timeline, looks),
        transcript=_transcript(record, looks),
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


def data_url(content: bytes, content_type: str | None) -> str:
    """A sound as an address that holds it. A type that is no sound's is left out: the player finds out by itself."""
    kind = content_type if content_type and content_type.startswith(("audio/", "video/")) else "audio/mpeg"
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


@cache
def _part(name: str) -> str:
    return files("speechpipe.report").joinpath(name).read_text(encoding="utf-8")


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
    texts = {"vtt": transcript_vtt(record), "srt": transcript_srt(record), "csv": to_csv(record)}
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
    facts.append(("Uploaded", f"{record.source.created_at:%-d %b %Y, %H:%M} UTC"))
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


# ------------------------------------------------------------------------------------- player and drawings


def _player(record: Record, timeline: Timeline) -> str:
    assert record.audio is not None
    rows = [
        _row(escape(timeline.name(channel)), waveform(timeline, channel, record.audio.waveforms), "sound")
        for channel in timeline.channels
    ]
    if record.summary.turning_points:
        rows.append(_row("Turning points", turns(timeline, record), "points"))
    rows.append(_row("", axis(timeline), "times"))
    return (
        f"{_CONTROLS}<section class=player aria-label='Sound and emotions over time'><div class=timeline>"
        f"{''.join(rows)}<div class=cursor hidden></div></div>"
        f"{_lanes(record, timeline)}</section>"
    )


#: Hidden until the script has taken them into use.
_CONTROLS = """<section class=controls aria-label=Player hidden>
<button type=button id=play class=primary aria-label=Play disabled>
<span aria-hidden=true>▶</span> <span>Play</span></button>
<button type=button id=back>−5<span class=away> seconds</span></button>
<button type=button id=forward>+5<span class=away> seconds</span></button>
<input type=range id=seek min=0 step=0.1 value=0 aria-label=Position>
<output id=clock for=seek></output>
<label class=speed><span class=away>Speed</span><select id=speed>
<option>0.5<option>0.75<option value=1 selected>1×<option>1.25<option>1.5<option>2</select></label>
<label><input type=checkbox id=follow checked> Follow</label>
<label class=open id=open hidden><input type=file id=file accept="audio/*,video/*">
<span>Open the recording to listen</span></label>
<p id=said role=status></p>
<audio id=audio preload=none></audio>
</section>"""


def _row(label: str, drawing: str, kind: str) -> str:
    return f"<div class='row {kind}'><div class=label>{label}</div><div class=plot>{drawing}</div></div>"


def _lanes(record: Record, timeline: Timeline) -> str:
    """Every label of every channel over time, and the same as a table."""
    vocabulary = record.emotion_vocabulary
    if vocabulary is None or not record.emotion_windows:
        return ""
    heard = {label for parts in timeline.parts.values() for part in parts for label in part.scores}
    share = record.summary.emotion_share
    labels = sorted(
        dict.fromkeys([*vocabulary.labels, *sorted(heard)]),
        key=lambda label: (label not in vocabulary.primary, -share.get(label, 0.0)),
    )
    channels = [channel for channel in timeline.channels if timeline.parts[channel]]
    drawn, tables = [], []
    for channel in channels:
        title = f"<h3>{escape(timeline.name(channel))}</h3>" if len(channels) > 1 else ""
        rows = "".join(
            _row(f"{timeline.looks[label].chip} {escape(label)}", lane(timeline, channel, label), "thin")
            for label in labels
        )
        name = f"Emotion scores over time, {timeline.name(channel)}"
        about = (
            f"One lane for each of {len(labels)} labels, from 0 at its bottom to 1; the table below has the numbers."
        )
        drawn.append(f"{title}<div role=img aria-label='{escape(name)}. {about}'>{rows}</div>")
        tables.append(table(timeline, channel, labels))
    return (
        "<h2>How it sounds, label by label</h2><div class='timeline lanes'>"
        f"{''.join(drawn)}{_row('', axis(timeline), 'times')}<div class=cursor hidden></div></div>"
        f"<details><summary>The same as a table</summary>{''.join(tables)}</details>"
    )


# ------------------------------------------------------------------------------------------------- its text


def _glance(record: Record, timeline: Timeline | None, looks: dict[str, Look]) -> str:
    parts = []
    summary = record.summary
    if summary.dominant_emotion:
        share = summary.emotion_share.get(summary.dominant_emotion, 0.0)
        parts.append(
            f"<p>Mostly <b>{escape(summary.dominant_emotion)}</b>: {share:.0%} of the time that was scored.</p>"
        )
        parts.append("<ul class=shares>")
        for label, part in summary.emotion_share.items():
            bar = (
                f"<svg class=bar aria-hidden=true><rect class='f e{looks[label].slot}' width={part:.1%} height=100% />"
            )
            if looks[label].slot % 8:
                bar += f"<rect fill='url(#p{looks[label].slot % 8})' width={part:.1%} height=100% />"
            parts.append(f"<li>{looks[label].chip} <span>{escape(label)}</span>{bar}</svg><b>{part:.0%}</b>")
        parts.append("</ul>")
    if timeline and len({part.emotion for part in summary.trend if part.emotion}) > 1:
        quarters = " → ".join(
            f"{looks[part.emotion].chip} {escape(part.emotion)}" if part.emotion else "–" for part in summary.trend
        )
        parts.append(f"<h3>From beginning to end</h3><p class=trend>{quarters}</p>")
    if summary.turning_points and timeline:
        items = [
            f"<li><a href='#t={point.at:.6g}'>{clock_time(point.at)}</a> "
            f"{looks[point.before].chip} {escape(point.before)} → {looks[point.after].chip} {escape(point.after)}"
            + (f" <span class=dim>{escape(timeline.name(point.channel))}</span>" if len(timeline.channels) > 1 else "")
            for point in summary.turning_points
        ]
        parts.append(f"<h3>Turning points</h3><ul class=points>{''.join(items[:_LISTED_TURNS])}</ul>")
        if len(items) > _LISTED_TURNS:
            more = f"<details><summary>{len(items) - _LISTED_TURNS} more</summary>"
            parts.append(f"{more}<ul class=points>{''.join(items[_LISTED_TURNS:])}</ul></details>")
    if not parts:
        return ""
    return f"<section class=glance><h2>At a glance</h2>{''.join(parts)}</section>"


def _transcript(record: Record, looks: dict[str, Look]) -> str:
    if not record.segments:
        missing = record.halves[Stage.STT].status is not HalfStatus.COMPLETED
        text = "There is no transcript." if missing else "No speech was found in this recording."
        return f"<section id=transcript tabindex=-1><h2>Transcript</h2><p class=empty>{text}</p></section>"
    channels = sorted({segment.channel for segment in record.segments})
    sides = {channel: f" side{place}" for place, channel in enumerate(channels)} if len(channels) == 2 else {}
    language = escape(record.language.code) if record.language and record.options.task == "transcribe" else "en"
    rows = [_segment(segment, sides, looks) for segment in record.segments]
    chunks = "".join(f"<ol class=chunk>{''.join(rows[at : at + CHUNK])}</ol>" for at in range(0, len(rows), CHUNK))
    heads = (
        "".join(f"<span>{escape(_speaker(record.segments, channel))}</span>" for channel in channels) if sides else ""
    )
    unsure = (
        "<p class=dim>Dotted: the recogniser was unsure.</p>"
        if any(segment.quality.suspect for segment in record.segments)
        else ""
    )
    return (
        f"<section id=transcript tabindex=-1><h2>Transcript</h2><p class=keys hidden>Click a word to go there, or move "
        f"with the arrow keys and press Enter.</p>{unsure}"
        + (f"<div class=heads aria-hidden=true>{heads}</div>" if heads else "")
        + f"<div class='text{' two' if sides else ''}' lang='{language}'>{chunks}</div></section>"
    )


def _speaker(segments: Sequence[Segment], channel: int) -> str:
    return next((s.speaker for s in segments if s.channel == channel and s.speaker), f"channel {channel}")


def _segment(segment: Segment, sides: dict[int, str], looks: dict[str, Look]) -> str:
    emotion = segment.emotion
    classes = "s" + (f" e{looks[emotion.top].slot}" if emotion else "") + sides.get(segment.channel, "")
    tag = ""
    if emotion:
        tag = f"<small>{looks[emotion.top].chip} {escape(emotion.top)} {emotion.confidence:.0%}</small>"
    who = f"<b>{escape(segment.speaker)}</b>" if segment.speaker else ""
    unsure = " class=unsure" if segment.quality.suspect else ""
    return (
        f"<li class='{classes}'><a href='#t={segment.start:.6g}' tabindex=-1>{clock_time(segment.start)}</a>{who}{tag}"
        f"<p dir=auto{unsure}>{escape(segment.text.strip())}</p>"
    )


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
