"""Recordings on the terminal. Text that comes from a recording is passed through `shown` or `printable` first."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import chain
from urllib.parse import unquote, urlsplit

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from speechpipe.cli.terminal import plural, shown
from speechpipe.client import Client
from speechpipe.contract import (
    UNSURE,
    Artifacts,
    Half,
    HalfStatus,
    Quote,
    Record,
    Recording,
    Segment,
    SegmentEmotion,
    Stage,
    Status,
)
from speechpipe.contract.errors import NotFound
from speechpipe.contract.prices import about
from speechpipe.observe.log import printable
from speechpipe.pipeline import progress
from speechpipe.record.direction import isolated
from speechpipe.record.report import clock_time

REFRESH_SECONDS = 0.2
#: Segments shown of a recording whose emotion is not known yet.
EARLY_SEGMENTS = 8
_COLOURS = {
    Status.HELD: "magenta",
    Status.QUEUED: "dim",
    Status.PROCESSING: "cyan",
    Status.COMPLETED: "green",
    Status.PARTIAL: "yellow",
    Status.FAILED: "red",
    Status.REJECTED: "red",
    Status.ERASED: "dim",
}


class WarningLines(logging.Handler):
    """Print log records as lines, each message once, because both engines report that they are toy models."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._printed: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message unless it was printed before."""
        message = record.getMessage()
        if record.exc_info and record.exc_info[0]:
            message += f" ({record.exc_info[0].__name__}: {record.exc_info[1]})"
        if message not in self._printed:
            self._printed.add(message)
            style = "yellow" if record.levelno < logging.ERROR else "red"
            line = f"[{style}]{record.levelname.lower()}:[/] {shown(message)}"
            self._console.print(line, highlight=False)


def coloured(status: Status) -> str:
    """Status as rich markup."""
    return f"[{_COLOURS[status]}]{status.value}[/]"


def show_record(record: Record, out: Console) -> None:
    """Print what was said and how, and where the files are."""
    length = f", {clock_time(record.audio.duration)}" if record.audio else ""
    language = f", {record.language.code}" if record.language else ""
    cost = f", {about(record.cost)}" if record.cost else ""
    name = shown(record.source.name)
    out.print(f"\n[bold]{name}[/]  {coloured(record.status)}{length}{language}{cost}", highlight=False)
    if record.error:
        out.print(f"  [red]{record.error.code.value}[/]: {shown(record.error.message)}", highlight=False)
    for segment in record.segments:
        speaker = f"{shown(segment.speaker)}: " if segment.speaker else ""
        text = speaker + shown(segment.text.strip())
        emotion = f"  [magenta]{_label(segment.emotion)}[/]" if segment.emotion else ""
        out.print(f"  [dim]{clock_time(segment.start):>5}[/]  {text}{emotion}", highlight=False)
    shares = record.summary.emotion_share | ({UNSURE: unsure} if (unsure := record.summary.unsure_share) else {})
    if shares:
        share = ", ".join(f"{label} {part:.0%}" for label, part in shares.items())
        few = record.summary.shortened(5)
        points = "".join(f"; turns {p.after} at {clock_time(p.at)}" for p in few.turning_points)
        points += f"; and {few.turning_points_omitted} more turns" if few.turning_points_omitted else ""
        out.print(f"  how: {shown(share + points)}", highlight=False)
    for caution in record.warnings:
        first = caution.message.split(". ")[0]  # the record has the whole message
        out.print(f"  [yellow]{caution.code}[/]: {shown(first)}", highlight=False)
    out.print(f"  [dim]{shown(_file_paths(record.artifacts))}[/]", highlight=False)


def _label(emotion: SegmentEmotion) -> str:
    return shown(f"{emotion.top} {emotion.confidence:.0%}" if emotion.top else UNSURE)


def _file_paths(artifacts: Artifacts) -> str:
    """The folder of the files, as a path if it is a file URI, and their names."""
    uris = artifacts.model_dump(exclude_none=True).values()
    folder = artifacts.record.rpartition("/")[0]
    if folder.startswith("file:"):
        folder = unquote(urlsplit(folder).path)
    return f"{folder}/ " + " ".join(uri.rpartition("/")[2] for uri in uris)


def table(recordings: Iterable[Recording], width: int) -> Table:
    """Recordings, one per line. The text is left out if the terminal is too narrow for it."""
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for column, least in (("id", 30), ("status", 10), ("queued", 14), ("emotion", 9)):
        grid.add_column(column, no_wrap=True, min_width=least)
    grid.add_column("name", no_wrap=True, overflow="ellipsis")
    if width >= 120:
        grid.add_column("text", no_wrap=True, overflow="ellipsis", ratio=1)
    for recording in recordings:
        emotion = recording.summary.shown_emotion if recording.summary else None
        text = recording.error.message if recording.error and not recording.preview else recording.preview or ""
        if recording.status is Status.HELD and recording.hold:
            text = recording.hold.message
        cells = (
            recording.id,
            coloured(recording.status) + (f" r{recording.revision}" if recording.revision > 1 else ""),
            f"{recording.queued_at:%m-%d %H:%M:%S}",
            shown(emotion or ""),
            shown(recording.source.name),
            shown(text),
        )
        grid.add_row(*cells[: len(grid.columns)])
    return grid


def follow(
    client: Client, out: Console, err: Console, *, shown: set[tuple[str, int]], ended: Callable[[], bool]
) -> None:
    """Print each announced record and each hold, above the progress of the unfinished, until `ended` returns true.

    What was said is shown as soon as it is known, under the progress; if `out` is no terminal, its beginning on `err`.
    """
    held: set[str] = set()
    heard: dict[tuple[str, int], Text] = {}
    with Live(console=out, auto_refresh=False, transient=True) as live:
        while True:
            over = ended()
            unfinished = list(client.backend.store.unfinished())
            finished = []
            for recording in reversed(client.recordings(limit=1000)):
                if recording.status is Status.HELD and recording.id not in held:
                    held.add(recording.id)
                    show_held([recording], live.console)
                outcome = (recording.id, recording.revision)
                if recording.announced_at and recording.status is not Status.ERASED and outcome not in shown:
                    shown.add(outcome)
                    finished.append(recording.id)
            for recording_id in finished:
                show_record(client.record(recording_id), live.console)
            texts = [text for text in (_heard(client, each, heard, out, err) for each in unfinished) if text]
            live.update(Group(progress_table(unfinished, datetime.now(UTC)), *texts), refresh=True)
            if over:
                return
            time.sleep(REFRESH_SECONDS)


def _heard(
    client: Client, recording: Recording, heard: dict[tuple[str, int], Text], out: Console, err: Console
) -> Text | None:
    """What was said in a recording whose emotion is not known yet; None before that half is done."""
    half, key = recording.halves[Stage.STT], (recording.id, recording.revision)
    if key not in heard and half.status is HalfStatus.PROCESSING and half.progress == 1.0:
        transcript = client.transcript(recording.id)
        if transcript is not None:
            heard[key] = text = early_text(recording, transcript.segments)
            if not out.is_terminal and text:
                err.print(text, soft_wrap=True)
    return heard.get(key)


def early_text(recording: Recording, segments: Sequence[Segment]) -> Text:
    """The beginning of what was said, which the record will replace."""
    text = Text()
    if segments:
        text.append(isolated(printable(recording.source.name)), "bold").append("  text; emotion follows", "dim")
    for segment in segments[:EARLY_SEGMENTS]:
        speaker = f"{isolated(printable(segment.speaker))}: " if segment.speaker else ""
        spoken = isolated(printable(segment.text.strip()))
        text.append(f"\n  {clock_time(segment.start):>5}  ", "dim").append(speaker + spoken)
    if len(segments) > EARLY_SEGMENTS:
        text.append(f"\n  and {plural(len(segments) - EARLY_SEGMENTS, 'segment')} more", "dim")
    return text


def watch(client: Client, recordings: Sequence[str], out: Console) -> None:
    """Show progress until the named recordings, or all that are unfinished now, are final or held.

    Raises NotFound if a name does not exist or nothing is unfinished.
    """
    ids = [client.get(name).id for name in recordings]
    ids = ids or [recording.id for recording in client.backend.store.unfinished()]
    if not ids:
        raise NotFound("nothing is in progress; `speechpipe list` lists all recordings")
    with Live(console=out, refresh_per_second=4) as live:
        while True:
            client.work()
            current = [client.get(recording_id) for recording_id in ids]
            live.update(progress_table(current, datetime.now(UTC)))
            if all(recording.status.is_final or recording.status is Status.HELD for recording in current):
                break
            time.sleep(REFRESH_SECONDS)

    show_held([recording for recording in current if recording.status is Status.HELD], out)


def show_held(recordings: Sequence[Recording], out: Console) -> None:
    """Print why each recording is held, one per line."""
    for recording in recordings:
        if recording.hold:
            name, reason = (shown(text) for text in (recording.source.name, recording.hold.message))
            out.print(f"[bold]{name}[/]  {coloured(recording.status)}: {reason}", highlight=False)


def estimate(quote: Quote | None) -> str:
    """Audio length and cost as `, 1:00 of audio, about 1 USD`; empty without a quote."""
    if quote is None:
        return ""
    cost = f", {about(quote.cost)}" if quote.cost else ""
    return f", {'' if quote.exact else '≈'}{clock_time(quote.audio_seconds)} of audio{cost}"


def progress_table(recordings: Sequence[Recording], now: datetime) -> Table:
    """One row per recording: its status and progress, and those of both halves."""
    grid = Table(box=None, pad_edge=False, show_header=False)
    for recording in recordings[:30]:
        grid.add_row(
            coloured(recording.status),
            shown(recording.source.name),
            progress.in_words(progress.of_recording(recording, now)) if not recording.status.is_final else "",
            *chain.from_iterable((stage.value, *_half(recording.halves[stage], now)) for stage in Stage),
        )
    if len(recordings) > 30:
        grid.add_row("", f"and {len(recordings) - 30} more")
    return grid


def _half(half: Half, now: datetime) -> tuple[ProgressBar | str, str]:
    if half.status is not HalfStatus.PROCESSING:
        return half.status.value, ""
    done = progress.of_half(half, now)
    return ProgressBar(total=1.0, completed=done.share, width=16), progress.in_words(done)
