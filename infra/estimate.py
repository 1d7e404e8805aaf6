"""Describe what a Terraform plan changes and what it costs; no I/O."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from speechpipe.contract import Stage, prices

#: Price table of each Cloud Run accelerator.
PRICE_TABLES = {"nvidia-l4": "l4", "nvidia-rtx-pro-6000": "rtx-pro-6000"}
#: Cloud Run keeps an idle instance for up to this long, and a GPU costs money while its instance exists
#: (https://cloud.google.com/run/docs/configuring/services/gpu).
IDLE_TAIL_HOURS = 10 / 60

PlanJson = Mapping[str, Any]  #: a part of `terraform show -json`

_ACTIONS = {("create",): "create", ("update",): "change", ("delete",): "delete"}
_REPLACE = "replace"


def count_changes(plan: PlanJson) -> Counter[tuple[str, str]]:
    """Count the resources to create, change, replace or delete, by (resource type, action)."""
    counts: Counter[tuple[str, str]] = Counter()
    for each in plan.get("resource_changes", []):
        actions = tuple(each["change"]["actions"])
        if each.get("mode", "managed") == "managed" and actions not in (("no-op",), ("read",)):
            counts[each["type"].removeprefix("google_"), _ACTIONS.get(actions, _REPLACE)] += 1
    return counts


def describe_changes(counts: Counter[tuple[str, str]]) -> Iterator[str]:
    """Yield one line per resource type, and the totals."""
    if not counts:
        yield "No changes."
        return
    for kind in sorted({kind for kind, _ in counts}):
        parts = [f"{count} to {action}" for (each, action), count in sorted(counts.items()) if each == kind]
        yield f"  {kind.replace('_', ' '):40} {', '.join(parts)}"
    totals: Counter[str] = Counter()
    for (_, action), count in counts.items():
        totals[action] += count
    yield f"  {'total':40} {', '.join(f'{count} to {action}' for action, count in sorted(totals.items()))}"


@dataclass(frozen=True)
class Service:
    """A planned Cloud Run service: its address in Terraform, its name, its numbers of instances, its container."""

    address: str
    name: str
    minimum: int
    maximum: int
    container: PlanJson


def services(plan: PlanJson) -> Iterator[Service]:
    """Yield the Cloud Run services that will exist."""
    for resource in _resources(plan.get("planned_values", {}).get("root_module", {})):
        if resource["type"] == "google_cloud_run_v2_service":
            values = resource["values"]
            template = _first(values.get("template"))
            scaling = _first(template.get("scaling"))
            yield Service(
                resource["address"],
                values.get("name", ""),
                int(scaling.get("min_instance_count") or 0),
                int(scaling.get("max_instance_count") or 0),
                _first(template.get("containers")),
            )


def warm_instances(plan: PlanJson) -> dict[Stage, int]:
    """Count the instances of each worker that are kept warm."""
    warm = dict.fromkeys(Stage, 0)
    for service in services(plan):
        if found := re.search(r"\b(stt|ser)\b", service.address):
            warm[Stage(found[1])] += service.minimum
    return warm


def describe_build() -> str:
    """Say how long the build takes and what it costs, by the list price of a minute on E2_HIGHCPU_32."""
    return "Four images are built first, in Cloud Build: 30 to 40 minutes on 32 vCPUs, 2 to 3 USD."


def describe_cost(accelerator: str, warm: Mapping[Stage, int]) -> Iterator[str]:
    """Yield lines with the cost while idle and while busy."""
    yield "  always 1 to 2 USD per month for the images and their build cache (12 to 24 GB); Google's price of alerts"
    if accelerator not in PRICE_TABLES:
        hour = prices.instance_hour(0, vcpus=4, gib=16)  # `none` in infra/locals.tf
        yield f"  idle   {sum(warm.values()) * hour:.2f} USD per hour, plus cents for storage and sweep"
        yield f"  busy   {hour:.2f} USD per hour of a worker instance; how much audio that is depends on the model"
        return
    table = prices.preset(PRICE_TABLES[accelerator])
    idle = sum(count * table.per_hour[stage] for stage, count in warm.items())
    instances = ", ".join(f"{count} {stage.value}" for stage, count in warm.items() if count) or "none"
    yield f"  idle   {idle:.2f} {table.currency} per hour (warm: {instances}), plus cents for storage and sweep"
    for stage in Stage:
        tail = table.per_hour[stage] * IDLE_TAIL_HOURS
        yield (
            f"  {stage.value}    {table.per_audio_hour(stage):.4f} {table.currency} per hour of audio"
            f" ({table.per_hour[stage]:.2f} per instance hour, plus up to {tail:.2f} idle after the last recording)"
        )
    both = sum(table.per_audio_hour(stage) for stage in Stage)
    yield f"  busy   {both:.4f} {table.currency} per hour of audio; functions, messages and storage add only cents"
    yield "  Estimated from list prices and assumed speeds (speechpipe/contract/prices.py). An idle GPU instance stays"
    yield "  up, and costs money, for up to ten minutes after its last recording. If recordings arrive now and then,"
    yield "  that is most of the bill."


def _resources(module: PlanJson) -> Iterator[PlanJson]:
    yield from module.get("resources", [])
    for child in module.get("child_modules", []):
        yield from _resources(child)


def _first(block: Iterable[PlanJson] | None) -> PlanJson:
    return next(iter(block or ()), {})
