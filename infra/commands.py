"""Run gcloud and terraform as subprocesses; a command that fails ends the deployment, with a remedy."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent


class DeploymentError(Exception):
    """The command cannot continue; the message gives the reason and the remedy."""


def try_output(*command: str) -> str | None:
    """Return what a command prints, without the last newline, or None if it fails. For read-only commands."""
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def output(*command: str) -> str:
    """Return what a command prints, without the last newline. Raises DeploymentError if it fails."""
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise DeploymentError(f"{shlex.join(command)}\n{done.stderr.strip()}")
    return done.stdout.strip()


def run(*command: str) -> None:
    """Show a command and run it, with its output on the terminal. Raises DeploymentError if it fails."""
    print(f"$ {shlex.join(command)}", flush=True)
    status = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL).returncode
    if status:
        raise DeploymentError(
            f"{command[0]} failed with status {status}; see its output above. Run make again to continue from here"
        )


def require_installed(name: str, remedy: str) -> None:
    """Raise DeploymentError, with the remedy, if the command is not installed."""
    if shutil.which(name) is None:
        raise DeploymentError(f"{name} is not installed: {remedy}")
