"""A machine to deploy from: real Terraform with stand-in providers, and a fake gcloud that records its calls."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import infra.commands
import infra.deploy
from tests.infra.terraform import INFRA, Workspace, executable

PROJECT, REGION = "example-project", "us-central1"
DIGEST = "sha256:" + "ab" * 32

_GCLOUD = '''#!{python}
"""Answers from state.json as gcloud would, without contacting Google."""
import json, pathlib, sys
home = pathlib.Path({home!r})
words = sys.argv[1:]
with open(home / "calls", "a") as calls:
    print("gcloud", *words, file=calls)
state = json.loads((home / "state.json").read_text())
said = " ".join(words)
def keep(**changes):
    (home / "state.json").write_text(json.dumps(state | changes))
if any(said.startswith(start) for start in state["fails"]):
    sys.exit("gcloud: refused")
if said.startswith("auth list"):
    print(state["account"])
elif said.startswith("services list"):
    print("\\n".join(state["apis"]))
elif said.startswith("services enable"):
    keep(apis=[*state["apis"], *(word for word in words if word.endswith(".googleapis.com"))])
elif said.startswith("storage buckets describe"):
    if state["bucket"] is None:
        sys.exit("not found")
    print(state["bucket"])
elif said.startswith("storage buckets create"):
    keep(bucket="")
elif said.startswith("storage buckets update"):
    keep(bucket="True")
elif said.startswith("eventarc triggers describe"):
    print("projects/{project}/subscriptions/eventarc-us-central1-speechpipe-partials-sub-123")
elif said.startswith("pubsub subscriptions describe"):
    print(state["deadline"])
elif said.startswith("pubsub subscriptions update"):
    keep(deadline=said.partition("--ack-deadline=")[2])
elif said.startswith("builds submit"):
    keep(images=[*state["images"], said.partition("_TAG=")[2].partition(",")[0].split()[0]])
elif said.startswith("artifacts docker images describe"):
    if words[4].rpartition(":")[2] not in state["images"]:
        sys.exit("not found")
    print({digest!r})
'''

_TERRAFORM = """#!/bin/sh
echo "terraform $*" >>"{home}/calls"
for word; do
    shift
    case $word in -backend-config=*) ;; *) set -- "$@" "$word" ;; esac
done
exec "{terraform}" "$@"
"""


@dataclass(frozen=True)
class Machine:
    """The folder with the recorded commands and the fake gcloud's state."""

    home: Path

    @property
    def calls(self) -> list[str]:
        """All commands run so far."""
        path = self.home / "calls"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def changing(self) -> list[str]:
        """Those commands that create, change or delete anything, shortened to their first words."""
        starts = (
            "gcloud services enable",
            "gcloud storage buckets create",
            "gcloud storage buckets update",
            "gcloud builds submit",
            "gcloud pubsub subscriptions update",
            "terraform -chdir=infra apply",
        )
        return [start for call in self.calls for start in starts if call.startswith(start)]

    def clear_calls(self) -> None:
        """Forget the commands run so far."""
        (self.home / "calls").unlink(missing_ok=True)

    def set_state(self, **state: Any) -> None:
        """Change the state that gcloud answers from."""
        path = self.home / "state.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | state))

    def make(self, command: str, *more: str) -> int:
        """Run a command as the Makefile does."""
        return infra.deploy.main([command, f"--project={PROJECT}", f"--region={REGION}", *more])


def machine(home: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Set up a machine for an empty project, with a copy of infra/."""
    checkout = home / "checkout"
    workspace = Workspace(INFRA, home)
    checkout.mkdir()
    workspace.folder.rename(checkout / "infra")
    for name in ("speechpipe", "functions", "workers", "docker"):
        (checkout / name).mkdir()
        (checkout / name / "code.py").write_text(name)
    shutil.copy(infra.commands.ROOT / "cloudbuild.yaml", checkout)
    shutil.copy(infra.commands.ROOT / ".dockerignore", checkout)
    state: dict[str, Any] = {
        "account": "ann@example.com",
        "apis": [],
        "bucket": None,
        "images": [],
        "deadline": "10",
        "fails": [],
    }
    (home / "state.json").write_text(json.dumps(state))
    programs = home / "bin"
    programs.mkdir()
    for name, text in (
        ("gcloud", _GCLOUD.format(python=sys.executable, home=str(home), digest=DIGEST, project=PROJECT)),
        ("terraform", _TERRAFORM.format(home=home, terraform=executable())),
    ):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", str(home / "terraform.rc"))
    monkeypatch.setenv("TF_DISABLE_PLUGIN_TLS", "1")  # as in tests.infra.terraform
    monkeypatch.setenv("TF_CLI_ARGS", "-no-color")
    monkeypatch.setattr(infra.commands, "ROOT", checkout)
    monkeypatch.setattr(infra.deploy, "ROOT", checkout)
    return Machine(home)
