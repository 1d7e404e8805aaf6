"""Run gcloud and terraform as subprocesses; a command that fails ends the deployment, with a remedy."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections import deque
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parent.parent
TERRAFORM = ("terraform", "-chdir=infra")
#: Lines of a failed command's output that are kept, to find Google's reason in them.
_KEPT_LINES = 500


class DeploymentError(Exception):
    """The command cannot continue; the message gives the reason and the remedy."""


class CommandFailed(DeploymentError):
    """A command failed; `said` is the end of what it printed."""

    def __init__(self, message: str, said: str) -> None:
        super().__init__(message)
        self.said = said


def try_output(*command: str) -> str | None:
    """Return what a command prints, without the last newline, or None if it fails. For read-only commands."""
    try:
        return output(*command)
    except CommandFailed:
        return None


def output(*command: str) -> str:
    """Return what a command prints, without the last newline. Raises CommandFailed if it fails."""
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise CommandFailed(f"{shlex.join(command)}\n{done.stderr.strip()}", done.stderr)
    return done.stdout.strip()


def run(*command: str) -> None:
    """Show a command and run it, with its output on the terminal as it comes. Raises CommandFailed if it fails."""
    print(f"$ {shlex.join(command)}", flush=True)
    said: deque[str] = deque(maxlen=_KEPT_LINES)
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        try:
            _show(process.stdout, said)
        except KeyboardInterrupt:
            # The command got the Ctrl-C too. Let it end by itself, or Terraform's state would stay locked.
            _show(process.stdout, said)
            raise
    if process.returncode:
        raise CommandFailed(
            f"{command[0]} failed with status {process.returncode}; see its output above. Run make again to continue"
            " from here. What to do about common errors: docs/deploy.md, Troubleshooting",
            "".join(said),
        )


def _show(lines: IO[str], said: deque[str]) -> None:
    for line in lines:
        print(line, end="", flush=True)
        said.append(line)


def require_installed(name: str, remedy: str) -> None:
    """Raise DeploymentError, with the remedy, if the command is not installed."""
    if shutil.which(name) is None:
        raise DeploymentError(f"{name} is not installed: {remedy}")
