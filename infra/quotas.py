"""Compare what a plan's services need with the project's Cloud Run quotas; no I/O.

Cloud Run refuses a service whose maximum number of instances exceeds a quota, but only when it is created, which is
after the build. All quotas are per project and region (https://cloud.google.com/run/quotas).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.estimate import PlanJson, services

SERVICE = "run.googleapis.com"


@dataclass(frozen=True)
class Quota:
    """A quota of Cloud Run: the id that Google's tools and errors use, its unit in words, and Google's units in one."""

    id: str
    unit: str
    scale: int


CPU = Quota("CpuAllocPerProjectRegion", "vCPUs", 1000)
MEMORY = Quota("MemAllocPerProjectRegion", "GiB of memory", 1024**3)
GPUS = {
    "nvidia-l4": Quota("NvidiaL4GpuAllocNoZonalRedundancyPerProjectRegion", "L4 GPUs", 1),
    "nvidia-rtx-pro-6000": Quota(
        "NvidiaRtxPro6000GpuAllocNoZonalRedundancyPerProjectRegion", "RTX PRO 6000 GPUs", 1000
    ),
}


@dataclass(frozen=True)
class Finding:
    """Something to know before building; `certain` if the deployment would fail because of it."""

    text: str
    certain: bool


@dataclass(frozen=True)
class _Need:
    """What one service needs at its maximum."""

    service: str
    instances: int
    each: Mapping[str, float]  #: quota id -> amount for an instance

    def total(self, quota: Quota) -> float:
        return self.instances * self.each.get(quota.id, 0)


def read_limits(infos: Sequence[Mapping[str, Any]], region: str) -> dict[str, float]:
    """Map quota ids to this region's limits, from QuotaInfos as the Cloud Quotas API returns them.

    A quota without a known value is left out: Google names none for a GPU that the project has never used.
    """
    scales = {quota.id: quota.scale for quota in (CPU, MEMORY, *GPUS.values())}
    limits = {}
    for info in infos:
        entries = info.get("dimensionsInfos", ())
        exact = [each for each in entries if each.get("dimensions", {}).get("region") == region]
        rest = [
            each for each in entries if not each.get("dimensions") and region in each.get("applicableLocations", ())
        ]
        values = [value for each in exact or rest if (value := each.get("details", {}).get("value")) is not None]
        if info.get("quotaId") in scales and values:
            value = int(values[0])  # int64, which JSON has as a string; -1 is no limit
            limits[info["quotaId"]] = math.inf if value < 0 else value / scales[info["quotaId"]]
    return limits


def compare(
    plan: PlanJson, limits: Mapping[str, float], accelerator: str, project: str, region: str
) -> Iterator[Finding]:
    """Yield what of a plan does not fit the quotas."""
    needs = list(_needs(plan, accelerator))
    for quota in (CPU, MEMORY):
        if quota.id in limits:
            yield from _excesses(needs, quota, limits[quota.id], project, region)
    if accelerator in GPUS:
        quota = GPUS[accelerator]
        if limit := limits.get(quota.id):
            yield from _excesses(needs, quota, limit, project, region)
        elif not _already_used(plan, accelerator):
            yield _unknown(quota, sum(need.total(quota) for need in needs), project, region)


def _excesses(needs: Sequence[_Need], quota: Quota, limit: float, project: str, region: str) -> Iterator[Finding]:
    fits = True
    for need in needs:
        if need.total(quota) > limit:
            fits = False
            fitting = int(limit // need.each[quota.id])
            stage = re.search(r"-(stt|ser)-worker$", need.service)
            lower = f", or set max_instances = {{ {stage[1]} = {fitting} }}" if stage and fitting else ""
            yield Finding(
                f"{need.service} may start {need.instances} instance{'s' if need.instances > 1 else ''} with"
                f" {need.total(quota):g} {quota.unit}, and the quota in {region} is {limit:g}. Request more{lower}:\n"
                + _request(need.total(quota), quota, project, region),
                certain=True,
            )
    workers = [need for need in needs if need.service.endswith("-worker")]
    total = sum(need.total(quota) for need in workers)
    if fits and total > limit:
        yield Finding(
            f"The workers may start instances with {total:g} {quota.unit} together, and the quota in {region} is"
            f" {limit:g}: the last ones will not start. Request more if you need them:\n"
            f"{_request(total, quota, project, region)}",
            certain=False,
        )


def _unknown(quota: Quota, total: float, project: str, region: str) -> Finding:
    """Return what to know about a GPU for which Google names no quota, or none at all."""
    if quota is GPUS["nvidia-l4"]:
        return Finding(
            f"Google names no quota for L4 GPUs in {region}. A new project gets three with the first service that asks"
            " for one, but not in a free trial, and not always in a project that has never paid a bill. If the"
            ' deployment ends with "You do not have quota for using GPUs", request them:\n'
            + _request(3, quota, project, region),
            certain=False,
        )
    return Finding(
        f"There is no quota for {quota.unit} in {region}. Request it first, or deploy with ACCELERATOR=nvidia-l4:\n"
        + _request(total, quota, project, region),
        certain=True,
    )


def _already_used(plan: PlanJson, accelerator: str) -> bool:
    """Return whether a service has this GPU before the plan is applied: then there is a quota, named or not."""
    return any(
        selector.get("accelerator") == accelerator
        for change in plan.get("resource_changes", ())
        for template in (change["change"].get("before") or {}).get("template") or ()
        for selector in template.get("node_selector") or ()
    )


def _request(amount: float, quota: Quota, project: str, region: str) -> str:
    """Return the command that requests a quota."""
    return (
        f"    gcloud beta quotas preferences create --service={SERVICE} --project={project} --quota-id={quota.id}"
        f" --dimensions=region={region} --preferred-value={amount * quota.scale:.0f} --email=YOUR_EMAIL"
    )


def _needs(plan: PlanJson, accelerator: str) -> Iterator[_Need]:
    for service in services(plan):
        limits = service.container["resources"][0]["limits"]
        each = {CPU.id: _cpu(limits["cpu"]), MEMORY.id: _gib(limits["memory"])}
        if "nvidia.com/gpu" in limits:
            each[GPUS[accelerator].id] = float(limits["nvidia.com/gpu"])
        yield _Need(service.name, service.maximum, each)


def _cpu(text: str) -> float:
    return float(text.removesuffix("m")) / 1000 if text.endswith("m") else float(text)


def _gib(text: str) -> float:
    return float(text.removesuffix("Mi")) / 1024 if text.endswith("Mi") else float(text.removesuffix("Gi"))
