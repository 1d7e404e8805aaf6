"""What a plan of Terraform makes and what it will cost, as text; pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from speechpipe.contract import Stage, prices

#: Accelerators of Cloud Run and their price tables.
TABLES = {"nvidia-l4": "l4", "nvidia-rtx-pro-6000": "rtx-pro-6000"}
#: Cloud Run keeps an idle instance up to so long, and a GPU is paid for as long as its instance is there
#: (https://cloud.google.com/run/docs/configuring/services/gpu).
IDLE_TAIL_HOURS = 10 / 60

Shown = Mapping[str, Any]  #: of `terraform show -json`

_VERBS = {("create",): "made", ("update",): "changed", ("delete",): "deleted"}
_REPLACED = "replaced"


def changes(plan: Shown) -> Counter[tuple[str, str]]:
    """How many resources of each kind are made, changed, replaced or deleted: (kind, what) to a number."""
    counted: Counter[tuple[str, str]] = Counter()
    for each in plan.get("resource_changes", []):
        actions = tuple(each["change"]["actions"])
        if each.get("mode", "managed") == "managed" and actions not in (("no-op",), ("read",)):
            counted[each["type"].removeprefix("google_"), _VERBS.get(actions, _REPLACED)] += 1
    return counted


def changes_as_text(counted: Counter[tuple[str, str]]) -> Iterator[str]:
    """A line a kind, and their sum."""
    if not counted:
        yield "Nothing changes."
        return
    for kind in sorted({kind for kind, _ in counted}):
        parts = [f"{count} {what}" for (each, what), count in sorted(counted.items()) if each == kind]
        yield f"  {kind.replace('_', ' '):40} {', '.join(parts)}"
    sums: Counter[str] = Counter()
    for (_, what), count in counted.items():
        sums[what] += count
    yield f"  {'in all':40} {', '.join(f'{count} {what}' for what, count in sorted(sums.items()))}"


def warm_instances(plan: Shown) -> dict[Stage, int]:
    """How many instances of each worker are kept when nothing is to do."""
    kept = dict.fromkeys(Stage, 0)
    for resource in _resources(plan.get("planned_values", {}).get("root_module", {})):
        found = re.search(r"\b(stt|ser)\b", resource["address"])
        if resource["type"] == "google_cloud_run_v2_service" and found:
            scaling = _first(_first(resource["values"].get("template")).get("scaling"))
            kept[Stage(found[1])] += int(scaling.get("min_instance_count") or 0)
    return kept


def cost_as_text(accelerator: str, warm: Mapping[Stage, int]) -> Iterator[str]:
    """What it costs, idle and busy."""
    if accelerator not in TABLES:
        hour = prices.instance_hour(0, vcpus=4, gib=16)  # `none` in infra/locals.tf
        yield f"  idle   {sum(warm.values()) * hour:.2f} USD an hour, and cents for storage and sweep"
        yield f"  busy   {hour:.2f} USD an hour of a worker's instance; how much audio that is depends on the model"
        return
    table = prices.preset(TABLES[accelerator])
    idle = sum(count * table.per_hour[stage] for stage, count in warm.items())
    kept = ", ".join(f"{count} {stage.value}" for stage, count in warm.items() if count)
    yield f"  idle   {idle:.2f} {table.currency} an hour (kept: {kept or 'none'}), and cents for storage and sweep"
    for stage in Stage:
        tail = table.per_hour[stage] * IDLE_TAIL_HOURS
        yield (
            f"  {stage.value}    {table.per_audio_hour(stage):.4f} {table.currency} an hour of audio"
            f" ({table.per_hour[stage]:.2f} an hour of an instance, up to {tail:.2f} of it after the last recording)"
        )
    both = sum(table.per_audio_hour(stage) for stage in Stage)
    yield f"  busy   {both:.4f} {table.currency} an hour of audio; functions, messages and storage are cents beside it"
    yield "  Estimates by list prices and assumed speeds (speechpipe/contract/prices.py). An idle GPU instance"
    yield "  stays, and costs, up to ten minutes after its last recording: with a recording now and then that is most"
    yield "  of the bill."


def _resources(module: Shown) -> Iterator[Shown]:
    yield from module.get("resources", [])
    for child in module.get("child_modules", []):
        yield from _resources(child)


def _first(block: Iterable[Shown] | None) -> Shown:
    return next(iter(block or ()), {})
