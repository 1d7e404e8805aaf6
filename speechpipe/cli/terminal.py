"""The consoles that commands print to, and the progress bar of long ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from speechpipe.observe.log import printable
from speechpipe.record.direction import isolated

out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)


class _Rate(ProgressColumn):
    """Items per second."""

    def render(self, task: Task) -> Text:
        """Show the rate, or nothing until it is known."""
        return Text(f"{task.speed:.1f}/s" if task.speed else "", style="dim")


@contextmanager
def progress_bar(title: str, total: int | None) -> Iterator[Progress]:
    """Show a bar below the printed lines if stderr is a terminal, otherwise nothing."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        progress.add_task(title, total=total)
        yield progress


def advance(progress: Progress) -> None:
    """Count one more item as done."""
    progress.advance(progress.task_ids[0])


def shown(text: str) -> str:
    """Text of a recording as markup: one line that cannot control the terminal, in its own direction."""
    return escape(isolated(printable(text)))


def print_line(progress: Progress, recording_id: str, done: str, name: str) -> None:
    """Print what was done to a recording, above the bar."""
    text = f"{recording_id}  {done}  {shown(name)}"
    (progress.console if out.is_terminal and not progress.disable else out).print(text, highlight=False)


def print_problem(subject: str, error: Exception) -> None:
    """Print what went wrong with one of several subjects, on stderr."""
    message = str(error) or type(error).__name__
    err.print(f"[red]{shown(subject)}:[/] {shown(message)}", highlight=False)


def plural(number: int, noun: str = "recording") -> str:
    """`1 recording`, `2 recordings`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
