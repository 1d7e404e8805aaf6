"""A machine to deploy from: real Terraform with stand-in providers, and a gcloud that answers as Google's does.

Messages are Google's own, as people quote them in public.
"""

from __future__ import annotations

import builtins
import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import infra.apply
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
elif said.startswith("beta builds submit"):
    region = said.partition("--region=")[2].split()[0]
    if region in state["restricted"]:
        sys.exit("ERROR: (gcloud.beta.builds.submit) FAILED_PRECONDITION: failed precondition: due to quota"
                 " restrictions, cannot run builds in this region, see"
                 " https://cloud.google.com/build/docs/locations#restricted_regions_for_some_projects")
    print('Step #0 - "test": passed')
    keep(images=[*state["images"], said.partition("_TAG=")[2].partition(",")[0].split()[0]])
elif said.startswith("beta quotas info list"):
    if state["quotas"] is None:
        sys.exit("ERROR: (gcloud.beta.quotas.info.list) PERMISSION_DENIED: Permission 'cloudquotas.quotas.get' denied")
    print(json.dumps(state["quotas"]))
elif said.startswith("firestore databases describe"):
    found = state["databases"].get(said.partition("--database=")[2].split()[0])
    if not found:
        sys.exit("ERROR: (gcloud.firestore.databases.describe) NOT_FOUND: The database does not exist")
    print(json.dumps(found))
elif said.startswith("artifacts docker images describe"):
    if words[4].rpartition(":")[2] not in state["images"]:
        sys.exit("not found")
    print({digest!r})
'''

_TERRAFORM = '''#!{python}
"""Runs the real Terraform, with a state on disk. An `apply` ends with the next of `refusals`, after doing its work."""
import json, os, pathlib, subprocess, sys
home = pathlib.Path({home!r})
with open(home / "calls", "a") as calls:
    print("terraform", *sys.argv[1:], file=calls)
command = [{terraform!r}, *(word for word in sys.argv[1:] if not word.startswith("-backend-config="))]
state = json.loads((home / "state.json").read_text())
if "apply" not in command or not state["refusals"]:
    os.execv(command[0], command)
refusal, *left = state["refusals"]
(home / "state.json").write_text(json.dumps(state | dict(refusals=left)))
if refusal:
    sys.exit(refusal)
os.execv(command[0], command)
'''

#: What a new project has in every region, as `gcloud beta quotas info list` prints it: nothing is known about GPUs.
NEW_PROJECT: list[dict[str, Any]] = [
    {
        "quotaId": quota,
        "service": "run.googleapis.com",
        "dimensions": ["region"],
        "dimensionsInfos": [
            {"details": {"value": value} if value else {}, "applicableLocations": [REGION, "europe-west4"]}
        ],
    }
    for quota, value in (
        ("CpuAllocPerProjectRegion", "20000"),
        ("MemAllocPerProjectRegion", str(40 * 1024**3)),
        ("NvidiaL4GpuAllocNoZonalRedundancyPerProjectRegion", None),
        ("NvidiaRtxPro6000GpuAllocNoZonalRedundancyPerProjectRegion", None),
    )
]


@dataclass(frozen=True)
class Machine:
    """The folder with the recorded commands and the fake gcloud's state."""

    home: Path
    waits: list[float]  #: the pauses before repeated steps, in seconds

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
            "gcloud beta builds submit",
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
        "databases": {},
        "quotas": NEW_PROJECT,
        "restricted": [],  # regions in which this project may not build
        "refusals": [],  # how the next applies end; "": as usual
        "deadline": "10",
        "fails": [],
    }
    (home / "state.json").write_text(json.dumps(state))
    programs = home / "bin"
    programs.mkdir()
    for name, text in (
        ("gcloud", _GCLOUD.format(python=sys.executable, home=str(home), digest=DIGEST, project=PROJECT)),
        ("terraform", _TERRAFORM.format(python=sys.executable, home=str(home), terraform=executable())),
    ):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", str(home / "terraform.rc"))
    monkeypatch.setenv("TF_DISABLE_PLUGIN_TLS", "1")  # as in tests.infra.terraform
    monkeypatch.setenv("TF_CLI_ARGS", "-no-color")
    monkeypatch.setattr(infra.commands, "ROOT", checkout)
    waits: list[float] = []
    monkeypatch.setattr(infra.apply, "sleep", waits.append)
    return Machine(home, waits)


def answering(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """Answer the questions in order; returns the list of questions asked."""
    asked: list[str] = []
    left = list(answers)

    def ask(question: str) -> str:
        asked.append(question)
        if not left:
            raise EOFError
        return left.pop(0)

    monkeypatch.setattr(builtins, "input", ask)
    return asked
