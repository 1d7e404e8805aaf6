"""Look, before half an hour of building, for what would make the deployment fail at its end."""

from __future__ import annotations

import json
from collections.abc import Iterator

from infra import quotas
from infra.apply import patiently
from infra.commands import CommandFailed, DeploymentError, output, try_output
from infra.estimate import PlanJson
from infra.quotas import Finding
from infra.target import Target


def check(target: Target, plan: PlanJson) -> str:
    """Print what does not fit, and return the question to ask before going on.

    Raises DeploymentError if the deployment would certainly fail and nobody is asked.
    """
    findings = [*_existing_database(target, plan), *_quotas(target, plan)]
    for finding in findings:
        print(f"\n{'This would fail' if finding.certain else 'Note'}: {finding.text}")
    if not any(finding.certain for finding in findings):
        return "Continue?"
    if target.yes:
        raise DeploymentError("nothing was changed, because the deployment would fail; see above")
    return "The deployment would fail. Continue all the same?"


def _existing_database(target: Target, plan: PlanJson) -> Iterator[Finding]:
    """A database that is there but not in the state cannot be created."""
    for change in plan.get("resource_changes", ()):
        if change["type"] == "google_firestore_database" and change["change"]["actions"] == ["create"]:
            name = change["change"]["after"]["name"]
            described = ("gcloud", "firestore", "databases", "describe", f"--database={name}")
            found = try_output(*described, f"--project={target.project}", "--format=json")
            if found:
                there = json.loads(found)
                yield Finding(
                    f"the Firestore database {name} exists already ({there.get('type')}, {there.get('locationId')}),"
                    " and this deployment did not create it. Let it create one of its own: set"
                    ' database = "speechpipe" in infra/terraform.tfvars.',
                    certain=True,
                )


def _quotas(target: Target, plan: PlanJson) -> Iterator[Finding]:
    listed = ("gcloud", "beta", "quotas", "info", "list", f"--service={quotas.SERVICE}", "--quiet", "--format=json")
    try:
        infos = json.loads(patiently(lambda: output(*listed, f"--project={target.project}")))
    except CommandFailed as failed:
        reason = (failed.said.strip().splitlines() or [str(failed)])[0]
        yield Finding(
            f"the quotas of Cloud Run could not be read ({reason}). Look at them yourself: docs/deploy.md, Quotas.",
            certain=False,
        )
        return
    limits = quotas.read_limits(infos, target.region)
    yield from quotas.compare(plan, limits, target.accelerator, target.project, target.region)
