"""`make plan`, `make deploy`, `make destroy`, `make exports`: deploy to a Google Cloud project, and remove it again.

Each step first checks whether it is already done, so a command can be stopped at any point and run again. Images are
tagged by their content, so an image that is already published is not rebuilt.
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

from infra.commands import ROOT, DeploymentError, output, require_installed, run, try_output
from infra.estimate import count_changes, describe_changes, describe_cost, warm_instances
from infra.events import raise_deadline

#: The APIs that Terraform needs before it can enable the others, and those that a build needs.
FIRST_APIS = (
    "artifactregistry.googleapis.com",
    "cloudbuild.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "iam.googleapis.com",
    "serviceusage.googleapis.com",
    "storage.googleapis.com",
)
IMAGES = ("functions", "stt", "ser", "console")
#: The images' sources; docker/ has the Dockerfiles and the requirement files.
SOURCES = ("cloudbuild.yaml", ".dockerignore", "docker", "speechpipe", "functions", "workers")
#: Resources that a build needs (`registry.tf`), created before the others.
BUILD_PREREQUISITES = (
    "google_artifact_registry_repository.images",
    "google_artifact_registry_repository_iam_member.build",
    "google_project_iam_member.build_log",
    "google_storage_bucket_iam_member.build_source",
)
#: Resources that hold data.
DATA_STORES = ("google_storage_bucket.uploads", "google_storage_bucket.results", "google_firestore_database.this")
#: Address prefixes that `destroy` keeps unless it deletes the data too: the data stores, the rules that guard them, and
#: what they depend on.
KEPT_PREFIXES = (*DATA_STORES, "google_firestore_", "google_firebaserules_", "google_project_service", "google_kms_")
TERRAFORM = ("terraform", "-chdir=infra")


@dataclass(frozen=True)
class Target:
    """Where to deploy, and with which options."""

    project: str
    region: str
    accelerator: str = "nvidia-l4"
    models: str = ""  #: `demo`: Whisper base and the bundled emotion model; empty: the pinned ones
    yes: bool = False

    @property
    def state_bucket(self) -> str:
        """Name of the bucket for Terraform's state."""
        return f"{self.project}-speechpipe-tfstate"

    @property
    def builder(self) -> str:
        """Email of the service account that builds the images."""
        return f"speechpipe-build@{self.project}.iam.gserviceaccount.com"

    @property
    def registry(self) -> str:
        """Address of the image registry."""
        return f"{self.region}-docker.pkg.dev/{self.project}/speechpipe"

    @property
    def make_arguments(self) -> str:
        """Project and region as `make` takes them."""
        return f"PROJECT={self.project} REGION={self.region}"

    def variables(self, images: Mapping[str, str] | None) -> list[str]:
        """Return Terraform's variables as arguments; images that are not built yet (None) get zeros as digests."""
        images = images or {image: f"{self.registry}/{image}@sha256:{'0' * 64}" for image in IMAGES}
        values = {"project_id": self.project, "region": self.region, "accelerator": self.accelerator}
        return [*(f"-var={key}={value}" for key, value in values.items()), f"-var=images={json.dumps(dict(images))}"]

    def confirm(self, question: str) -> bool:
        """Ask for confirmation; without a terminal the answer is no."""
        if self.yes:
            return True
        try:
            return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
        except EOFError:
            return False


def check_prerequisites(target: Target) -> None:
    """Check that both commands are installed and logged in, and the project exists. Raises DeploymentError if not."""
    require_installed("gcloud", "https://cloud.google.com/sdk/docs/install")
    require_installed("terraform", "https://developer.hashicorp.com/terraform/install (1.9 or later)")
    if not try_output("gcloud", "auth", "list", "--filter=status:ACTIVE", "--format=value(account)"):
        raise DeploymentError("gcloud is not logged in: gcloud auth login")
    if try_output("gcloud", "auth", "application-default", "print-access-token") is None:
        raise DeploymentError("terraform has no credentials: gcloud auth application-default login")
    if try_output("gcloud", "projects", "describe", target.project, "--format=value(projectNumber)") is None:
        raise DeploymentError(
            f"the project {target.project} does not exist, or this account cannot see it: gcloud projects list"
        )


def bootstrap(target: Target) -> None:
    """Enable the first APIs and create the bucket for Terraform's state; asks first if anything is missing."""
    project = f"--project={target.project}"
    enabled = output("gcloud", "services", "list", "--enabled", project, "--format=value(config.name)").split()
    missing = [api for api in FIRST_APIS if api not in enabled]
    bucket = f"gs://{target.state_bucket}"
    versioned = try_output("gcloud", "storage", "buckets", "describe", bucket, "--format=value(versioning_enabled)")
    if missing or versioned != "True":
        print("\nTerraform cannot plan yet. It needs these first, free of charge:")
        print("".join(f"  enable the API {api}\n" for api in missing), end="")
        print("" if versioned == "True" else f"  create the bucket {bucket} for its state\n", end="")
        for line in (
            "The deployment itself is planned and confirmed afterwards. With the defaults it costs:",
            *describe_cost(target.accelerator, {}),
        ):
            print(line)
        if not target.confirm("Continue?"):
            raise DeploymentError("nothing was created")
    if missing:
        run("gcloud", "services", "enable", project, *missing)
    if versioned is None:
        access = ("--uniform-bucket-level-access", "--public-access-prevention")
        run("gcloud", "storage", "buckets", "create", bucket, project, f"--location={target.region}", *access)
    if versioned != "True":
        run("gcloud", "storage", "buckets", "update", bucket, project, "--versioning")
    run(*init_command(target))


def init_command(target: Target) -> tuple[str, ...]:
    """Return the command that points Terraform to the project's state; one checkout may serve several projects."""
    return (*TERRAFORM, "init", "-input=false", "-reconfigure", f"-backend-config=bucket={target.state_bucket}")


def use_existing_state(target: Target) -> None:
    """Point Terraform to the project's existing state. Raises DeploymentError if nothing was ever deployed."""
    bucket = f"gs://{target.state_bucket}"
    if try_output("gcloud", "storage", "buckets", "describe", bucket, "--format=value(name)") is None:
        raise DeploymentError(f"nothing is deployed in {target.project}: make deploy {target.make_arguments}")
    output(*init_command(target))


def image_tag(models: str) -> str:
    """Return the images' tag: a digest of their sources and models."""
    digest = hashlib.sha256(models.encode())
    for source in SOURCES:
        path = ROOT / source
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"\0{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def published_images(target: Target, tag: str) -> dict[str, str] | None:
    """Return the references by digest of the images with this tag, or None unless all of them are published."""
    found = {}
    for image in IMAGES:
        name = f"{target.registry}/{image}"
        described = ("gcloud", "artifacts", "docker", "images", "describe", f"{name}:{tag}")
        digest = try_output(*described, "--format=value(image_summary.digest)")
        if not digest:
            return None
        found[image] = f"{name}@{digest}"
    return found


def make_plan(target: Target, images: Mapping[str, str] | None, file: Path, *more: str) -> dict[str, Any]:
    """Write Terraform's plan to `file`, and return it as `terraform show -json` prints it. Changes nothing."""
    output(*TERRAFORM, "plan", "-input=false", f"-out={file}", *target.variables(images), *more)
    plan: dict[str, Any] = json.loads(output(*TERRAFORM, "show", "-json", str(file)))
    return plan


def build(target: Target, tag: str) -> dict[str, str]:
    """Test, build and push the images in Cloud Build, and return their references by digest."""
    addresses = [f"-target={address}" for address in BUILD_PREREQUISITES]
    run(*TERRAFORM, "apply", "-input=false", "-auto-approve", *target.variables(None), *addresses)
    values = {"_REGION": target.region, "_TAG": tag}
    if target.models == "demo":
        values |= {"_STT_MODEL": "demo", "_SER_MODEL": "demo"}
    run(
        *("gcloud", "builds", "submit", ".", f"--project={target.project}", f"--region={target.region}"),
        *("--config=cloudbuild.yaml", f"--service-account=projects/{target.project}/serviceAccounts/{target.builder}"),
        f"--gcs-source-staging-dir=gs://{target.project}-speechpipe-source/builds",
        "--substitutions=" + ",".join(f"{key}={value}" for key, value in values.items()),
    )
    images = published_images(target, tag)
    if images is None:
        raise DeploymentError(
            f"the build succeeded, but not all of its images are in {target.registry} with the tag {tag}"
        )
    return images


def plan(target: Target) -> None:
    """`make plan`: show what a deployment would change, and what it would cost."""
    check_prerequisites(target)
    bootstrap(target)
    with tempfile.TemporaryDirectory() as folder:
        images = published_images(target, image_tag(target.models))
        _print_plan(target, make_plan(target, images, Path(folder) / "plan"), images)


def deploy(target: Target) -> None:
    """`make deploy`: deploy to the project, or update it. Raises DeploymentError."""
    check_prerequisites(target)
    bootstrap(target)
    tag = image_tag(target.models)
    images = published_images(target, tag)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plan"
        planned = make_plan(target, images, file)
        _print_plan(target, planned, images)
        if images is None or count_changes(planned):
            if not target.confirm("Continue?"):
                raise DeploymentError("nothing was changed")
            if images is None:
                images = build(target, tag)
                make_plan(target, images, file)
            run(*TERRAFORM, "apply", "-input=false", str(file))
    raise_deadline(target.project, target.region)
    print(f"\n{target.project} is up to date. Next:\n")
    print(f'  eval "$(make -s exports {target.make_arguments})"')
    print("  .venv/bin/speechpipe submit workers/demo/samples/kennedy_1961.flac --wait")


def _print_plan(target: Target, planned: Mapping[str, Any], images: Mapping[str, str] | None) -> None:
    print(f"\nIn {target.project}, {target.region}:")
    for line in describe_changes(count_changes(planned)):
        print(line)
    print("The images are built." if images else "Four images are built first, in Cloud Build: about half an hour.")
    print("Cost:")
    for line in describe_cost(target.accelerator, warm_instances(planned)):
        print(line)


def exports(target: Target) -> None:
    """`make exports`: print the variables that `speechpipe` reads, for `eval`."""
    check_prerequisites(target)
    use_existing_state(target)
    outputs = json.loads(output(*TERRAFORM, "output", "-json"))
    if "environment" not in outputs:
        raise DeploymentError(f"the deployment in {target.project} is incomplete: make deploy {target.make_arguments}")
    for name, value in sorted(outputs["environment"]["value"].items()):
        print(f"export {name}={shlex.quote(value)}")


def destroy(target: Target, *, delete_data: bool) -> None:
    """`make destroy`: delete the deployment, but keep buckets and database, also in the state, unless `delete_data`."""
    check_prerequisites(target)
    use_existing_state(target)
    existing = output(*TERRAFORM, "state", "list").splitlines()
    kept = [address for address in existing if not delete_data and address.startswith(KEPT_PREFIXES)]
    deleted = [address for address in existing if address not in kept and "data" not in address.split(".")]
    if not deleted:
        raise DeploymentError(f"nothing is left to delete in {target.project}")
    data = f"-var=delete_data={str(delete_data).lower()}"
    addresses = [f"-target={address}" for address in deleted] if kept else []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plan"
        planned = make_plan(target, None, file, "-destroy", data, *addresses)
        print(f"\nIn {target.project}, {target.region}:")
        for line in describe_changes(count_changes(planned)):
            print(line)
        print("".join(f"  kept: {address}\n" for address in kept if address.startswith(DATA_STORES)), end="")
        print(f"  kept: gs://{target.state_bucket}, Terraform's state; the APIs stay enabled")
        if not target.confirm("Delete these?"):
            raise DeploymentError("nothing was deleted")
        if delete_data:
            if not target.confirm(f"This deletes ALL recordings, results and the database of {target.project}. Sure?"):
                raise DeploymentError("nothing was deleted")
            stores = [f"-target={address}" for address in existing if address in DATA_STORES]
            run(*TERRAFORM, "apply", "-input=false", "-auto-approve", *target.variables(None), data, *stores)
            make_plan(target, None, file, "-destroy", data)
        run(*TERRAFORM, "apply", "-input=false", str(file))


def main(arguments: list[str]) -> int:
    """Run the command line; return 0 on success."""
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
            raise DeploymentError(
                f"name the project and region: make {given.command} PROJECT=my-project REGION=us-central1"
            )
        target = Target(given.project, given.region, given.accelerator, given.models, given.yes)
        if given.command == "destroy":
            destroy(target, delete_data=given.delete_data)
        else:
            {"plan": plan, "deploy": deploy, "exports": exports}[given.command](target)
    except DeploymentError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
