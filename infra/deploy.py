"""`make plan`, `make deploy`, `make destroy`, `make exports`: the system into a Google Cloud project and out of it.

Each step looks first whether it is done, so that all of it can be stopped anywhere and run again. Images are tagged by
their content: what is published already is not built again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.commands import ROOT, Stop, answer, ask, installed, run
from infra.estimate import changes, changes_as_text, cost_as_text, warm_instances

#: What Terraform needs before it can enable the rest itself, and what a build needs.
APIS = (
    "artifactregistry.googleapis.com",
    "cloudbuild.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "iam.googleapis.com",
    "serviceusage.googleapis.com",
    "storage.googleapis.com",
)
IMAGES = ("functions", "stt", "ser", "console")
#: What images are made of; the requirement files and the Dockerfiles are in docker/.
SOURCES = ("cloudbuild.yaml", ".dockerignore", "docker", "speechpipe", "functions", "workers")
#: What a build needs (`registry.tf`), made before the rest.
FOUNDATION = (
    "google_artifact_registry_repository.images",
    "google_artifact_registry_repository_iam_member.build",
    "google_project_iam_member.build_log",
    "google_storage_bucket_iam_member.build_source",
)
#: Where the data are.
DATA = ("google_storage_bucket.uploads", "google_storage_bucket.results", "google_firestore_database.this")
#: How the addresses begin that `destroy` keeps unless the data are to go: these, the rules that guard them, and what
#: they stand on.
KEPT = (*DATA, "google_firestore_", "google_firebaserules_", "google_project_service", "google_kms_")
TERRAFORM = ("terraform", "-chdir=infra")


@dataclass(frozen=True)
class Deployment:
    """A project and how it is to be."""

    project: str
    region: str
    accelerator: str = "nvidia-l4"
    models: str = ""  #: `demo` for the bundled models, else the pinned ones
    yes: bool = False

    @property
    def state_bucket(self) -> str:
        """Where Terraform's state is."""
        return f"{self.project}-speechpipe-tfstate"

    @property
    def builder(self) -> str:
        """Who builds the images."""
        return f"speechpipe-build@{self.project}.iam.gserviceaccount.com"

    @property
    def registry(self) -> str:
        """Where the images are."""
        return f"{self.region}-docker.pkg.dev/{self.project}/speechpipe"

    def variables(self, images: Mapping[str, str] | None) -> list[str]:
        """Terraform's variables, as arguments. Images that are not built yet have no digest: zeros stand for it."""
        images = images or {image: f"{self.registry}/{image}@sha256:{'0' * 64}" for image in IMAGES}
        values = {"project_id": self.project, "region": self.region, "accelerator": self.accelerator}
        return [*(f"-var={key}={value}" for key, value in values.items()), f"-var=images={json.dumps(dict(images))}"]

    def agreed(self, question: str) -> bool:
        """Whether the person says yes; nobody there is a no."""
        if self.yes:
            return True
        try:
            return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
        except EOFError:
            return False


def check(to: Deployment) -> None:
    """Both commands are there, and somebody is logged in to the project. Raises Stop with the remedy."""
    installed("gcloud", "https://cloud.google.com/sdk/docs/install")
    installed("terraform", "https://developer.hashicorp.com/terraform/install (1.9 or later)")
    if not ask("gcloud", "auth", "list", "--filter=status:ACTIVE", "--format=value(account)"):
        raise Stop("gcloud is not logged in: gcloud auth login")
    if ask("gcloud", "auth", "application-default", "print-access-token") is None:
        raise Stop("terraform has no credentials: gcloud auth application-default login")
    if ask("gcloud", "projects", "describe", to.project, "--format=value(projectNumber)") is None:
        raise Stop(f"there is no project {to.project}, or this account may not see it: gcloud projects list")


def prepare(to: Deployment) -> None:
    """Enable the first APIs and make the bucket for Terraform's state; asked before, if anything is missing."""
    project = f"--project={to.project}"
    enabled = answer("gcloud", "services", "list", "--enabled", project, "--format=value(config.name)").split()
    missing = [api for api in APIS if api not in enabled]
    bucket = f"gs://{to.state_bucket}"
    versioned = ask("gcloud", "storage", "buckets", "describe", bucket, "--format=value(versioning_enabled)")
    if missing or versioned != "True":
        print("\nBefore Terraform can plan, it needs, free of charge:")
        print("".join(f"  the API {api}\n" for api in missing), end="")
        print("" if versioned == "True" else f"  the bucket {bucket} for its state\n", end="")
        for line in (
            "And then, if you agree once more, with the defaults this much:",
            *cost_as_text(to.accelerator, {}),
        ):
            print(line)
        if not to.agreed("Make these?"):
            raise Stop("nothing was made")
    if missing:
        run("gcloud", "services", "enable", project, *missing)
    if versioned is None:
        access = ("--uniform-bucket-level-access", "--public-access-prevention")
        run("gcloud", "storage", "buckets", "create", bucket, project, f"--location={to.region}", *access)
    if versioned != "True":
        run("gcloud", "storage", "buckets", "update", bucket, project, "--versioning")
    run(*initialising(to))


def initialising(to: Deployment) -> tuple[str, ...]:
    """The command that points Terraform to the project's state; anew, since one checkout may serve several projects."""
    return (*TERRAFORM, "init", "-input=false", "-reconfigure", f"-backend-config=bucket={to.state_bucket}")


def deployed(to: Deployment) -> None:
    """Point Terraform to a state that is there. Raises Stop if nothing was ever deployed."""
    if ask("gcloud", "storage", "buckets", "describe", f"gs://{to.state_bucket}", "--format=value(name)") is None:
        raise Stop(f"nothing is deployed in {to.project}: make deploy PROJECT={to.project} REGION={to.region}")
    answer(*initialising(to))


def tag(models: str) -> str:
    """The images' tag: a digest of all that they are made of."""
    digest = hashlib.sha256(models.encode())
    for source in SOURCES:
        path = ROOT / source
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"\0{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def published(to: Deployment, version: str) -> dict[str, str] | None:
    """The images of that tag by digest; None unless all are there."""
    found = {}
    for image in IMAGES:
        name = f"{to.registry}/{image}"
        described = ("gcloud", "artifacts", "docker", "images", "describe", f"{name}:{version}")
        digest = ask(*described, "--format=value(image_summary.digest)")
        if not digest:
            return None
        found[image] = f"{name}@{digest}"
    return found


def planned(to: Deployment, images: Mapping[str, str] | None, file: Path, *more: str) -> dict[str, Any]:
    """Terraform's plan into `file`; what `terraform show -json` says of it. Changes nothing."""
    answer(*TERRAFORM, "plan", "-input=false", f"-out={file}", *to.variables(images), *more)
    shown: dict[str, Any] = json.loads(answer(*TERRAFORM, "show", "-json", str(file)))
    return shown


def build(to: Deployment, version: str) -> dict[str, str]:
    """Make what a build needs, then test, build and push the images in Cloud Build; them by digest."""
    targets = [f"-target={address}" for address in FOUNDATION]
    run(*TERRAFORM, "apply", "-input=false", "-auto-approve", *to.variables(None), *targets)
    values = {"_REGION": to.region, "_TAG": version}
    if to.models == "demo":
        values |= {"_STT_MODEL": "demo", "_SER_MODEL": "demo"}
    run(
        *("gcloud", "builds", "submit", ".", f"--project={to.project}", f"--region={to.region}"),
        *("--config=cloudbuild.yaml", f"--service-account=projects/{to.project}/serviceAccounts/{to.builder}"),
        f"--gcs-source-staging-dir=gs://{to.project}-speechpipe-source/builds",
        "--substitutions=" + ",".join(f"{key}={value}" for key, value in values.items()),
    )
    images = published(to, version)
    if images is None:
        raise Stop(f"the build ended well, but not all of its images are in {to.registry} with the tag {version}")
    return images


def plan(to: Deployment) -> None:
    """`make plan`: show what a deployment would change, and what it costs."""
    check(to)
    prepare(to)
    with tempfile.TemporaryDirectory() as folder:
        images = published(to, tag(to.models))
        _show(to, planned(to, images, Path(folder) / "plan"), images)


def deploy(to: Deployment) -> None:
    """`make deploy`: bring the project to where it should be. Raises Stop."""
    check(to)
    prepare(to)
    version = tag(to.models)
    images = published(to, version)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plan"
        shown = planned(to, images, file)
        _show(to, shown, images)
        if images is None or changes(shown):
            if not to.agreed("Go on?"):
                raise Stop("nothing was changed")
            if images is None:
                images = build(to, version)
                planned(to, images, file)
            run(*TERRAFORM, "apply", "-input=false", str(file))
    print(f"\n{to.project} is as it should be. Next:\n")
    print(f'  eval "$(make -s exports PROJECT={to.project} REGION={to.region})"')
    print("  .venv/bin/speechpipe submit workers/demo/samples/changing_mood.m4a --wait")


def _show(to: Deployment, shown: Mapping[str, Any], images: Mapping[str, str] | None) -> None:
    print(f"\nIn {to.project}, {to.region}:")
    for line in changes_as_text(changes(shown)):
        print(line)
    print("The images are there." if images else "Four images are built first, in Cloud Build: about half an hour.")
    print("It costs:")
    for line in cost_as_text(to.accelerator, warm_instances(shown)):
        print(line)


def exports(to: Deployment) -> None:
    """`make exports`: the variables that `speechpipe` reads, for `eval`."""
    check(to)
    deployed(to)
    outputs = json.loads(answer(*TERRAFORM, "output", "-json"))
    if "environment" not in outputs:
        raise Stop(f"{to.project} is deployed in part only: make deploy PROJECT={to.project} REGION={to.region}")
    for name, value in sorted(outputs["environment"]["value"].items()):
        print(f"export {name}={shlex.quote(value)}")


def destroy(to: Deployment, *, delete_data: bool) -> None:
    """`make destroy`: take it down. Buckets and database stay, and in Terraform's state, unless the data are to go."""
    check(to)
    deployed(to)
    there = answer(*TERRAFORM, "state", "list").splitlines()
    kept = [address for address in there if not delete_data and address.startswith(KEPT)]
    doomed = [address for address in there if address not in kept and "data" not in address.split(".")]
    if not doomed:
        raise Stop(f"nothing is left to take down in {to.project}")
    data = f"-var=delete_data={str(delete_data).lower()}"
    targets = [f"-target={address}" for address in doomed] if kept else []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plan"
        shown = planned(to, None, file, "-destroy", data, *targets)
        print(f"\nFrom {to.project}, {to.region}:")
        for line in changes_as_text(changes(shown)):
            print(line)
        print("".join(f"  kept: {address}\n" for address in kept if address.startswith(DATA)), end="")
        print(f"  kept: gs://{to.state_bucket}, Terraform's state; and the APIs stay enabled")
        if not to.agreed("Take it down?"):
            raise Stop("nothing was deleted")
        if delete_data:
            if not to.agreed(f"ALL recordings, results and the database of {to.project} go with it, for good. Really?"):
                raise Stop("nothing was deleted")
            stores = [f"-target={address}" for address in there if address in DATA]
            run(*TERRAFORM, "apply", "-input=false", "-auto-approve", *to.variables(None), data, *stores)
            planned(to, None, file, "-destroy", data)
        run(*TERRAFORM, "apply", "-input=false", str(file))


def main(arguments: list[str]) -> int:
    """The command line; 0 if all went well."""
    parser = argparse.ArgumentParser(prog="make", description=__doc__)
    parser.add_argument("command", choices=("plan", "deploy", "destroy", "exports"))
    parser.add_argument("--project", default="")
    parser.add_argument("--region", default="")
    parser.add_argument("--accelerator", default="nvidia-l4", choices=("nvidia-l4", "nvidia-rtx-pro-6000", "none"))
    parser.add_argument("--models", default="", choices=("", "demo"))
    parser.add_argument("--yes", action="store_true")
    parser.add_argument("--delete-data", action="store_true")
    given = parser.parse_args(arguments)
    try:
        if not given.project or not given.region:
            raise Stop(f"say where: make {given.command} PROJECT=my-project REGION=us-central1")
        to = Deployment(given.project, given.region, given.accelerator, given.models, given.yes)
        if given.command == "destroy":
            destroy(to, delete_data=given.delete_data)
        else:
            {"plan": plan, "deploy": deploy, "exports": exports}[given.command](to)
    except Stop as stop:
        print(f"\n{stop}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
