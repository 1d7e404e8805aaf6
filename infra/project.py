"""The project before Terraform: credentials, the first APIs, the bucket for the state, and what the state remembers."""

from __future__ import annotations

import json
from collections.abc import Mapping

from infra.commands import TERRAFORM, DeploymentError, output, require_installed, run, try_output
from infra.estimate import describe_cost
from infra.target import Target

#: The APIs that Terraform needs before it can enable the others, and those that a build and the checks before it need.
FIRST_APIS = (
    "artifactregistry.googleapis.com",
    "cloudbuild.googleapis.com",
    "cloudquotas.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "firestore.googleapis.com",
    "iam.googleapis.com",
    "logging.googleapis.com",
    "run.googleapis.com",
    "serviceusage.googleapis.com",
    "storage.googleapis.com",
)


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
    run(*_init_command(target))


def use_existing_state(target: Target) -> None:
    """Point Terraform to the project's existing state. Raises DeploymentError if nothing was ever deployed."""
    bucket = f"gs://{target.state_bucket}"
    if try_output("gcloud", "storage", "buckets", "describe", bucket, "--format=value(name)") is None:
        raise DeploymentError(f"nothing is deployed in {target.project}: make deploy {target.make_arguments}")
    output(*_init_command(target))


def _init_command(target: Target) -> tuple[str, ...]:
    """Return the command that points Terraform to the project's state; one checkout may serve several projects."""
    return (*TERRAFORM, "init", "-input=false", "-reconfigure", f"-backend-config=bucket={target.state_bucket}")


def deployed_choices() -> Mapping[str, str]:
    """Return the `accelerator` and `models` of the last deployment, from Terraform's state; empty before the first."""
    outputs = json.loads(output(*TERRAFORM, "output", "-json"))
    chosen: dict[str, str] = outputs.get("choices", {}).get("value", {})
    return chosen
