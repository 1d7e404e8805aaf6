"""`make plan`, `make deploy`, `make destroy`, `make exports`: deploy to a Google Cloud project, and remove it again.

Each step first checks whether it is already done, so a command can be stopped at any point and run again. Images are
tagged by their content, so an image that is already published is not rebuilt.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from infra import preflight
from infra.apply import apply, make_plan
from infra.commands import TERRAFORM, DeploymentError, output, run
from infra.estimate import count_changes, describe_build, describe_changes, describe_cost, warm_instances
from infra.events import raise_deadline
from infra.images import build, image_tag, published_images
from infra.project import bootstrap, check_prerequisites, deployed_choices, use_existing_state
from infra.target import ACCELERATORS, MODELS, Target

#: Resources that hold data.
DATA_STORES = ("google_storage_bucket.uploads", "google_storage_bucket.results", "google_firestore_database.this")
#: Address prefixes that `destroy` keeps unless it deletes the data too: the data stores, and what they depend on.
KEPT_PREFIXES = (*DATA_STORES, "google_firestore_", "google_project_service", "google_kms_")


def plan(target: Target, given: Mapping[str, str]) -> None:
    """`make plan`: show what a deployment would change, and what it would cost."""
    check_prerequisites(target)
    bootstrap(target.choosing(given))
    chosen = _remember(target, given)
    with tempfile.TemporaryDirectory() as folder:
        images = published_images(chosen, image_tag(chosen.models))
        planned = make_plan(chosen, images, Path(folder) / "plan")
        _print_plan(chosen, planned, images)
        preflight.check(replace(chosen, yes=False), planned)


def deploy(target: Target, given: Mapping[str, str]) -> None:
    """`make deploy`: deploy to the project, or update it. Raises DeploymentError."""
    check_prerequisites(target)
    bootstrap(target.choosing(given))
    target = _remember(target, given)
    tag = image_tag(target.models)
    images = published_images(target, tag)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plan"
        planned = make_plan(target, images, file)
        _print_plan(target, planned, images)
        if images is None or count_changes(planned):
            if not target.confirm(preflight.check(target, planned)):
                raise DeploymentError("nothing was changed")
            if images is None:
                images = build(target, tag)
                make_plan(target, images, file)
            apply(target, images, file)
    raise_deadline(target.project, target.region)
    _print_next_steps(target)


def _remember(target: Target, given: Mapping[str, str]) -> Target:
    """Return the target with the choices that are given now, or were made at the last deployment; say what changes."""
    before = deployed_choices()
    chosen = {**before, **given}
    changes = [f"  {name}: {before[name]} -> {chosen[name]}" for name in before if before[name] != chosen[name]]
    if changes:
        print("\nThis changes what is deployed:", *changes, sep="\n")
    return target.choosing(chosen)


def _print_plan(target: Target, planned: Mapping[str, Any], images: Mapping[str, str] | None) -> None:
    print(f"\nIn {target.project}, {target.region}, with {target.accelerator} and the {target.models} models:")
    for line in describe_changes(count_changes(planned)):
        print(line)
    print("The images are built." if images else describe_build())
    print("Cost:")
    for line in describe_cost(target.accelerator, warm_instances(planned)):
        print(line)


def _print_next_steps(target: Target) -> None:
    print(f"""
{target.project} is up to date. Upload a recording, and list what comes out after some minutes:

  eval "$(make -s exports {target.make_arguments})"
  gcloud storage cp workers/demo/samples/kennedy_1961.flac gs://$SPEECHPIPE_UPLOADS_BUCKET/
  gcloud storage ls "gs://$SPEECHPIPE_RESULTS_BUCKET/**"

If nothing is there after ten minutes: docs/deploy.md, "If the first upload stays silent". The command line waits for
the text; this installs it without the engines:

  .venv-deploy/bin/pip install --quiet --constraint constraints.txt --editable .
  .venv-deploy/bin/speechpipe submit workers/demo/samples/kennedy_1961.flac --wait""")


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
    target = target.choosing(deployed_choices())
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
    parser.add_argument("--accelerator", default="", choices=("", *ACCELERATORS))
    parser.add_argument("--models", default="", choices=("", *MODELS))
    parser.add_argument("--build-region", default="")
    parser.add_argument("--yes", action="store_true")
    parser.add_argument("--delete-data", action="store_true")
    given = parser.parse_args(arguments)
    choices = {name: value for name in ("accelerator", "models") if (value := getattr(given, name))}
    try:
        if not given.project or not given.region:
            raise DeploymentError(
                f"name the project and region: make {given.command} PROJECT=my-project REGION=us-central1"
            )
        target = Target(given.project, given.region, build_region=given.build_region, yes=given.yes)
        match given.command:
            case "plan":
                plan(target, choices)
            case "deploy":
                deploy(target, choices)
            case "destroy":
                destroy(target, delete_data=given.delete_data)
            case "exports":
                exports(target)
    except DeploymentError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; run make again to continue from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
