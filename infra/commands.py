"""gcloud and terraform as subprocesses: shown before they run, and one that fails ends everything with its remedy."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent


class Stop(Exception):
    """Nothing more can be done; the message says why and what to do about it."""


def ask(*command: str) -> str | None:
    """What a command prints, without the last newline; None if it ends with an error. For questions only."""
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def answer(*command: str) -> str:
    """As `ask`, for a question that must have an answer. Raises Stop with what the command said."""
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise Stop(f"{shlex.join(command)}\n{done.stderr.strip()}")
    return done.stdout.strip()


def run(*command: str) -> None:
    """Show a command and run it; its output goes to the terminal. Raises Stop."""
    print(f"$ {shlex.join(command)}", flush=True)
    status = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL).returncode
    if status:
        raise Stop(
            f"{command[0]} ended with status {status}; what it said stands above. Run make again to go on from here"
        )


def installed(name: str, remedy: str) -> None:
    """Raise Stop, with the remedy, if there is no such command."""
    if shutil.which(name) is None:
        raise Stop(f"{name} is not installed: {remedy}")
