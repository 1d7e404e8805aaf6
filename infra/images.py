"""The images: their tag, what is published, and building them in Cloud Build."""

from __future__ import annotations

import hashlib
import re

from infra import commands
from infra.apply import patiently
from infra.commands import TERRAFORM, CommandFailed, DeploymentError, run, try_output
from infra.target import IMAGES, Target

#: The images' sources; docker/ has the Dockerfiles and the requirement files.
SOURCES = ("cloudbuild.yaml", ".dockerignore", "docker", "speechpipe", "functions", "workers")
#: Resources that a build needs (`registry.tf`), created before the others.
BUILD_PREREQUISITES = (
    "google_artifact_registry_repository.images",
    "google_artifact_registry_repository_iam_member.build",
    "google_project_iam_member.build_log",
    "google_storage_bucket_iam_member.build_source",
)
#: How Cloud Build says that this project may not build in this region.
_REGION_REFUSED = re.compile(r"quota restrictions|no concurrent builds quota", re.IGNORECASE)


def image_tag(models: str) -> str:
    """Return the images' tag: a digest of their sources and models."""
    digest = hashlib.sha256(models.encode())
    for source in SOURCES:
        path = commands.ROOT / source
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"\0{file.relative_to(commands.ROOT)}\0".encode() + file.read_bytes())
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


def build(target: Target, tag: str) -> dict[str, str]:
    """Test, build and push the images in Cloud Build, and return their references by digest."""
    addresses = [f"-target={address}" for address in BUILD_PREREQUISITES]
    patiently(lambda: run(*TERRAFORM, "apply", "-input=false", "-auto-approve", *target.variables(None), *addresses))
    try:
        _submit(target, tag, target.build_region or target.region)
    except CommandFailed as failed:
        if not _REGION_REFUSED.search(failed.said):
            raise
        other = target.open_build_region
        if target.build_region or other == target.region:
            raise DeploymentError(
                f"Cloud Build does not build for {target.project} in {target.build_region or target.region}. Choose"
                " another region (BUILD_REGION=us-central1), or request a larger quota: docs/deploy.md, Troubleshooting"
            ) from failed
        print(f"\nA new project may not build in {target.region}: building in {other} instead.", flush=True)
        _submit(target, tag, other)
    images = published_images(target, tag)
    if images is None:
        raise DeploymentError(
            f"the build succeeded, but not all of its images are in {target.registry} with the tag {tag}"
        )
    return images


def _submit(target: Target, tag: str, region: str) -> None:
    """Run the build in a region; the images go to the target's registry from every region."""
    values = {"_REGION": target.region, "_TAG": tag}
    if target.models == "demo":
        values |= {"_STT_MODEL": "demo", "_SER_MODEL": "demo"}
    run(
        # Only the beta command shows a log that is in Cloud Logging; `--quiet` installs it where it is missing.
        *("gcloud", "beta", "builds", "submit", ".", "--quiet", f"--project={target.project}", f"--region={region}"),
        *("--config=cloudbuild.yaml", f"--service-account=projects/{target.project}/serviceAccounts/{target.builder}"),
        f"--gcs-source-staging-dir=gs://{target.project}-speechpipe-source/builds",
        "--substitutions=" + ",".join(f"{key}={value}" for key, value in values.items()),
    )
