"""`speechpipe console`, and the console alongside other commands."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer
from rich.console import Console as Terminal

from speechpipe.client import Client
from speechpipe.contract.errors import SpeechpipeError

_MISSING = "the console is not installed: pip install 'speechpipe[console]'"

commands = typer.Typer()
err = Terminal(stderr=True, soft_wrap=True)


@commands.command()
def console(context: typer.Context) -> None:
    """Serve the console on this machine's loopback interface, for the folder or the cloud. Ctrl-C stops it."""
    if not _installed():
        raise SpeechpipeError(_MISSING)
    with beside(Client(context.find_object(Path)), err):
        threading.Event().wait()


@contextmanager
def beside(
    client: Client,
    err: Terminal,
    processes: Callable[[], Mapping[str, bool]] | None = None,
    front: Callable[[Any], Any] = lambda app: app,
) -> Iterator[None]:
    """Serve the console alongside another command and print its URL, or how to install it if it is missing.

    `front` wraps its application in what stands before it in the cloud.
    """
    if not _installed():
        err.print(_MISSING)
        yield
        return
    from speechpipe.console import Console  # slow to import

    with Console(client, processes=processes, front=front) as served:
        err.print(f"console: [link={served.url}]{served.url}[/link]", highlight=False)
        yield


def _installed() -> bool:
    return all(find_spec(name) is not None for name in ("starlette", "uvicorn"))
