"""Plan with Terraform and apply, and wait where Google only wants time."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from time import sleep
from typing import Any, TypeVar

from infra.commands import TERRAFORM, CommandFailed, output, run
from infra.target import Target

#: How often a step is repeated, and the pause before it.
REPEATS, PAUSE_SECONDS = 3, 60
#: What Google says when a step only comes too early, and what that means.
PASSING = (
    (
        r"Eventarc Service Agent|service-\d+@gcp-sa-\S+ does not exist",
        "Google is still setting up its own agent in this project",
    ),
    (r"accessNotConfigured|SERVICE_DISABLED|has not been used in project", "an API was only just enabled"),
    (r"does not have permission", "a permission is missing, or was granted only just now"),
    (r"Error 429|rateLimitExceeded|ABORTED|concurrent policy changes", "Google asks to go slower"),
    (
        r"total allowable count of GPUs",
        "all GPUs of the quota are in use, and an update needs one more (docs/deploy.md)",
    ),
)

_T = TypeVar("_T")


def patiently(step: Callable[[], _T]) -> _T:
    """Take a step, and repeat it while it fails for a reason that passes. Raises CommandFailed."""
    for _ in range(REPEATS):
        try:
            return step()
        except CommandFailed as failed:
            reason = next((meaning for said, meaning in PASSING if re.search(said, failed.said)), None)
            if reason is None:
                raise
            print(f"\n{reason[0].upper()}{reason[1:]}: trying again in {PAUSE_SECONDS} s.", flush=True)
            sleep(PAUSE_SECONDS)
    return step()


def make_plan(target: Target, images: Mapping[str, str] | None, file: Path, *more: str) -> dict[str, Any]:
    """Write Terraform's plan to `file`, and return it as `terraform show -json` prints it. Changes nothing."""
    patiently(lambda: output(*TERRAFORM, "plan", "-input=false", f"-out={file}", *target.variables(images), *more))
    plan: dict[str, Any] = json.loads(output(*TERRAFORM, "show", "-json", str(file)))
    return plan


def apply(target: Target, images: Mapping[str, str], file: Path) -> None:
    """Apply the plan in `file`; after a failure that passes, plan anew, because a plan can be applied only once."""
    fresh = True

    def attempt() -> None:
        nonlocal fresh
        if not fresh:
            make_plan(target, images, file)
        fresh = False
        run(*TERRAFORM, "apply", "-input=false", str(file))

    patiently(attempt)
