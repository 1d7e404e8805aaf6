"""The roles in the plan for infra/; `python -m tests.infra.roles` writes them into docs/roles.md."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from tests.infra.terraform import INFRA, Plan, Resource, Workspace
from tests.infra.variables import EVERYTHING, PROJECT, REQUIRED

PAGE = INFRA.parent / "docs" / "roles.md"
BEGIN, END = "<!-- written by `make roles` -->\n", "<!-- end -->\n"
AGENTS = {
    "gcp-sa-pubsub": "Pub/Sub",
    "gcp-sa-eventarc": "Eventarc",
    "gcp-sa-firestore": "Firestore",
    "gcp-sa-iap": "Identity-Aware Proxy",
    "gcp-sa-artifactregistry": "Artifact Registry",
    "gs-project-accounts": "Cloud Storage",
    "serverless-robot-prod": "Cloud Run",
}
#: IAM resource type -> what it guards, and the argument that names it
GUARDED = {
    "google_artifact_registry_repository_iam_member": ("repository", "repository"),
    "google_cloud_run_v2_service_iam_member": ("service", "name"),
    "google_iap_web_cloud_run_service_iam_member": ("proxy in front of", "cloud_run_service_name"),
    "google_kms_crypto_key_iam_member": ("key", "crypto_key_id"),
    "google_project_iam_member": ("project", "project"),
    "google_pubsub_subscription_iam_member": ("subscription", "subscription"),
    "google_pubsub_topic_iam_member": ("topic", "topic"),
    "google_service_account_iam_member": ("account", "service_account_id"),
    "google_storage_bucket_iam_member": ("bucket", "bucket"),
}


@dataclass(frozen=True, order=True)
class Grant:
    """One row of the table."""

    component: str  #: what runs or calls as the identity
    identity: str
    resource: str
    role: str
    why: str


def grants(plan: Plan, folder: Path) -> list[Grant]:
    """Return every IAM member of a plan, with the reasons from the `# why:` comments in the folder's files.

    Raises KeyError for an unknown type of IAM resource, LookupError for a resource without a reason.
    """
    acting = _acting(plan)
    reasons = _reasons(folder)
    found = []
    for resource in plan.resources.values():
        if "_iam_" not in resource.type:
            continue
        member = resource.values["member"].removeprefix("serviceAccount:")
        component = ", ".join(sorted(acting.get(member, []))) or _agent_or_people(member)
        role = resource.values["role"].removeprefix("roles/")
        why = reasons.get((resource.type, resource.name))
        if not why:
            raise LookupError(f"{resource.address} has no `# why:` above it")
        found.append(Grant(component, _short(member), _guarded(resource), role, why))
    return sorted(found)


def _acting(plan: Plan) -> dict[str, list[str]]:
    """Map each service account to what runs or calls as it."""
    acting: dict[str, list[str]] = {}
    for what, type_, path in (
        ("service", "google_cloud_run_v2_service", ("template", "service_account")),
        ("subscription", "google_pubsub_subscription", ("push_config", "oidc_token", "service_account_email")),
        ("trigger", "google_eventarc_trigger", ("service_account",)),
        ("schedule", "google_cloud_scheduler_job", ("http_target", "oidc_token", "service_account_email")),
    ):
        for resource in plan.of(type_):
            for account in _at(resource.values, path):
                acting.setdefault(account, []).append(f"{what} {resource.values['name']}")
    for identity in plan.of("google_service_account"):
        acting.setdefault(identity.values["email"], [identity.values["display_name"]])
    return acting


def _at(value: Any, path: tuple[str, ...]) -> Iterator[str]:
    """Yield the strings at a path through nested blocks."""
    if isinstance(value, list):
        for each in value:
            yield from _at(each, path)
    elif not path:
        yield from [value] if value else []
    elif value.get(path[0]) is not None:
        yield from _at(value[path[0]], path[1:])


def _agent_or_people(member: str) -> str:
    for part, name in AGENTS.items():
        if part in member:
            return f"{name}'s agent"
    return "people"


def _short(member: str) -> str:
    for variable in ("uploaders", "readers", "operators"):
        if member in EVERYTHING[variable]:
            return f"var.{variable}"
    if member in EVERYTHING["console"]["users"]:
        return "var.console.users"
    return member.split("@")[0] if member.endswith(f"@{PROJECT}.iam.gserviceaccount.com") else _named(member)


def _named(text: str) -> str:
    return text.replace("123456789012", "NUMBER").replace(PROJECT, "PROJECT")


def _guarded(resource: Resource) -> str:
    what, argument = GUARDED[resource.type]
    name = str(resource.values[argument]).split("/")[-1].split("@")[0]
    guarded = what if what == "project" else f"{what} {_named(name)}"
    conditions = [condition["title"] for condition in resource.values.get("condition") or []]
    return f"{guarded}, {conditions[0]}" if conditions else guarded


def _reasons(folder: Path) -> dict[tuple[str, str], str]:
    """Map (type, name) of each resource to its `# why:` comment."""
    found: dict[tuple[str, str], str] = {}
    for path in sorted(folder.rglob("*.tf")):
        comments: list[str] = []
        for line in path.read_text().splitlines():
            if line.startswith("#"):
                comments.append(line.removeprefix("#").strip())
                continue
            header = re.match(r'resource "(\w+)" "(\w+)"', line)
            _, why, reason = " ".join(comments).partition("why: ")
            if header and why:
                key = (header[1], header[2])
                if key in found:
                    raise LookupError(f"two resources are called {'.'.join(key)}: their reasons would be mixed up")
                found[key] = reason
            comments = []
    return found


def table(rows: list[Grant]) -> str:
    """Format the rows as a Markdown table."""
    lines = ["| Component | Identity | Resource | Role | Why |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        component, identity, resource, role, why = astuple(row)
        lines.append(f"| {component} | `{identity}` | {resource} | `{role}` | {why} |")
    return "\n".join(lines) + "\n"


def written(page: str, rows: list[Grant]) -> str:
    """Return the page with the table between its markers."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + "\n" + table(rows) + "\n" + END + rest.partition(END)[2]


def main() -> int:
    """Write the table into the page."""
    with tempfile.TemporaryDirectory() as home:
        rows = grants(Workspace(INFRA, Path(home)).plan(REQUIRED | EVERYTHING), INFRA)
    PAGE.write_text(written(PAGE.read_text(), rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
