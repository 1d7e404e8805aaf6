"""Where to deploy, and with which options."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

#: The images, as docker/NAME.Dockerfile.
IMAGES = ("functions", "stt", "ser", "console")
ACCELERATORS = ("nvidia-l4", "nvidia-rtx-pro-6000", "none")
MODELS = ("default", "demo")
#: The regions in which Cloud Build runs for every project. A new one may be restricted to them
#: (https://cloud.google.com/build/docs/locations#restricted_regions_for_some_projects).
OPEN_BUILD_REGIONS = (
    "us-central1",
    "us-west2",
    "europe-west1",
    "asia-east1",
    "australia-southeast1",
    "southamerica-east1",
)


@dataclass(frozen=True)
class Target:
    """A project and region to deploy to, and the choices made for it."""

    project: str
    region: str
    accelerator: str = ACCELERATORS[0]
    models: str = MODELS[0]  #: `demo`: Whisper base and the bundled emotion model; `default`: the pinned ones
    build_region: str = ""  #: where Cloud Build runs; empty: in `region`, or in another one if Google refuses that
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

    @property
    def open_build_region(self) -> str:
        """The region of OPEN_BUILD_REGIONS on the same continent, or the first one."""
        continent = self.region.partition("-")[0]
        return next((each for each in OPEN_BUILD_REGIONS if each.startswith(continent)), OPEN_BUILD_REGIONS[0])

    def choosing(self, choices: Mapping[str, str]) -> Target:
        """Return the target with these choices of `accelerator` and `models`, and its own where there is none."""
        return replace(
            self,
            accelerator=choices.get("accelerator", self.accelerator),
            models=choices.get("models", self.models),
        )

    def variables(self, images: Mapping[str, str] | None) -> list[str]:
        """Return Terraform's variables as arguments; images that are not built yet (None) get zeros as digests."""
        images = images or {image: f"{self.registry}/{image}@sha256:{'0' * 64}" for image in IMAGES}
        values = {
            "project_id": self.project,
            "region": self.region,
            "accelerator": self.accelerator,
            "models": self.models,
        }
        return [*(f"-var={key}={value}" for key, value in values.items()), f"-var=images={json.dumps(dict(images))}"]

    def confirm(self, question: str) -> bool:
        """Ask for confirmation; without a terminal the answer is no."""
        if self.yes:
            return True
        try:
            return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
        except EOFError:
            return False
