"""A backlog on the emulators: 2,000 recordings for one worker with two slots, killed on the way.

    python -m benchmarks.backlog [--rules now before] [--count 2000] [--limit SECONDS] [--dry]

Each recording takes 0.2 s of an engine that only waits, so the work is 200 s. Pub/Sub's push window and the backoff of
each message are those of `speechpipe.emulators.window`. The worker is killed with -9 after a third of the recordings,
and restarted as Cloud Run would. `before` has the rules before decision 26, as far as they matter within the time: no
waiting room, and a backoff of 10 to 600 s.

- busy: the time in which deliveries had a slot, of both slots' time from the first delivery to the end of the last. One
  whose worker was killed counts nothing, and neither does the restart.
- engine: the same of the engine alone; the rest is for reading and writing documents, and the upload.
- copies: how often a recording's task was published, seen by a subscription of our own. None leaves the queue before
  its recording has ended, so there are never more in it.
- refused: deliveries that got a 429.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.backlog_worker import ENGINE_SECONDS, SLOTS_FILE
from benchmarks.machine import machine
from speechpipe.backends.gcp.documents import from_document
from speechpipe.contract import Lease, Stage, Status, resources
from speechpipe.contract.resources import Service
from speechpipe.emulators import LocalCloud
from speechpipe.emulators.setup import exported

SLOTS = 2
RESULTS = Path(__file__).parent / "results"
BEFORE_BACKOFF_SECONDS = 10, 600
UPLOADERS = 4
LOOK_SECONDS = 1.0
RULES = ("now", "before")


def cloud_with(rules: str, state: Path) -> LocalCloud:
    """The local cloud with the rules of now or of before."""
    settings = {"SPEECHPIPE_TRACES": "off", "SPEECHPIPE_CONCURRENCY": str(SLOTS), SLOTS_FILE: str(state / "slots")}
    subscriptions: Sequence[resources.Subscription] = resources.SUBSCRIPTIONS
    if rules == "before":
        settings["SPEECHPIPE_WAITING_ROOM"] = "0"
        shortest, longest = BEFORE_BACKOFF_SECONDS
        subscriptions = [
            replace(each, minimum_backoff_seconds=shortest, maximum_backoff_seconds=longest)
            if each.dead_letter_topic
            else each
            for each in subscriptions
        ]
    return LocalCloud(
        state=state,
        workers=lambda stage: (sys.executable, "-m", "benchmarks.backlog_worker"),
        settings=settings,
        subscriptions=subscriptions,
        patient=True,
    )


class Witness:
    """Counts how often each recording's task is published, with a subscription of its own."""

    def __init__(self, project: str) -> None:
        from google.cloud.pubsub_v1 import SubscriberClient

        self.copies = Counter[str]()
        self._client = SubscriberClient()
        self._path = f"projects/{project}/subscriptions/witness"
        topic = f"projects/{project}/topics/{resources.TASK_TOPICS[Stage.STT]}"
        self._client.create_subscription(name=self._path, topic=topic)
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        with suppress(Exception):  # the emulator ends first
            while True:
                found = self._client.pull(subscription=self._path, max_messages=1000, timeout=None, retry=None)
                messages = found.received_messages
                self.copies.update(each.message.attributes["recording_id"] for each in messages)
                if messages:
                    ids = [each.ack_id for each in messages]
                    self._client.acknowledge(subscription=self._path, ack_ids=ids)


def measure(rules: str, count: int, limit: float) -> dict[str, Any]:
    """Run one backlog; stops after `limit` seconds if it is not done by then."""
    from google.cloud import firestore, storage

    with tempfile.TemporaryDirectory() as name, cloud_with(rules, Path(name)) as cloud:
        with exported(**cloud.environment()):
            witness, documents = Witness(cloud.ids.project), firestore.Client()
            bucket = storage.Client().bucket(cloud.ids.uploads)

        def upload(number: int) -> None:
            blob = bucket.blob(f"{number:05}.wav")
            blob.metadata = {"emotion": "off"}
            blob.upload_from_string(b"a recording", content_type="audio/x-wav")

        began, killed = time.monotonic(), 0.0
        threads = ThreadPoolExecutor(UPLOADERS)
        uploads = [threads.submit(upload, number) for number in range(count)]
        while True:
            time.sleep(LOOK_SECONDS)
            found = cloud.status().recordings
            ended = sum(number for status, number in found.items() if status.is_final)
            passed = time.monotonic() - began
            print(f"{rules}: {passed:.0f} s, {ended} of {count} ended", end="\r", file=sys.stderr)
            if not killed and ended >= count / 3:
                cloud.send(Service.STT_WORKER.value, signal.SIGKILL)
                killed = passed
            if ended >= count or passed > limit:
                break
        threads.shutdown(cancel_futures=True)
        for each in uploads:
            if each.done() and not each.cancelled():
                each.result()
        print(file=sys.stderr)
        leases = [from_document(Lease, each.to_dict() or {}) for each in documents.collection_group("leases").stream()]
        slots = [tuple(map(float, line.split())) for line in (Path(name) / "slots").read_text().splitlines()]
        log = (cloud.logs / f"{Service.STT_WORKER.value}.log").read_text(encoding="utf-8", errors="replace")
    return {
        "rules": rules,
        "recordings": count,
        "seconds": round(passed, 1),
        "killed_after": round(killed, 1),
        "ended": {status.value: number for status, number in found.items() if number},
        **summary(slots, leases, witness.copies),
        "refused": log.count('"full"'),
    }


def summary(slots: Sequence[tuple[float, ...]], leases: Sequence[Lease], copies: Counter[str]) -> dict[str, Any]:
    """What the slots, the attempts and the published tasks show."""
    attempts = [attempt for lease in leases for attempt in lease.attempts]
    done = sum(each.outcome == "done" for each in attempts)
    seconds = max(freed for _, freed in slots) - min(taken for taken, _ in slots)
    return {
        "work_seconds": round(seconds, 1),
        "busy": round(sum(freed - taken for taken, freed in slots) / seconds / SLOTS, 3),
        "engine": round(done * ENGINE_SECONDS / seconds / SLOTS, 3),
        "a_second": round(done / seconds, 2),
        "attempts": _counted(str(len(lease.attempts)) for lease in leases),
        "outcomes": _counted(str(each.outcome) for each in attempts),
        "copies": _counted(str(number) for number in copies.values()),
    }


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def failed(run: dict[str, Any]) -> list[str]:
    """What a run with the rules of now does not show as it should."""
    more = sum(number for attempts, number in run["attempts"].items() if attempts != "1")
    checks = {
        "every recording completed": run["ended"] == {Status.COMPLETED.value: run["recordings"]},
        "no task was in the queue more than twice": run["copies"].keys() <= {"1", "2"},
        "the slots were busy for 90 % of the time": run["busy"] >= 0.9,
        "only those that were killed had a second attempt": more == run["outcomes"].get("expired", 0) <= SLOTS,
    }
    return [what for what, holds in checks.items() if not holds]


def table(runs: Sequence[dict[str, Any]], where: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        f"`python -m benchmarks.backlog`, {where['cores']} cores of {where['cpu']}: one worker with {SLOTS} slots,"
        f" {ENGINE_SECONDS} s of engine a recording, killed once. The module's docstring explains the columns.",
        "",
        "| rules | recordings | ended | seconds | a second | busy | engine | attempts | copies | refused |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        ended, attempts, copies = (
            ", ".join(f"{key}: {number}" for key, number in run[each].items())
            for each in ("ended", "attempts", "copies")
        )
        lines.append(
            f"| {run['rules']} | {run['recordings']} | {ended} | {run['work_seconds']} | {run['a_second']} |"
            f" {run['busy']:.1%} | {run['engine']:.1%} | {attempts} | {copies} | {run['refused']} |"
        )
    lines += ["", "`attempts`, `copies`: how many recordings had 1, 2, ... of them."]
    by_rules = {run["rules"]: run for run in runs}
    if by_rules.keys() == set(RULES):
        now, before = by_rules["now"], by_rules["before"]
        lines.append(
            f"Recordings a second, now to before: {now['a_second'] / before['a_second']:.2f}."
            f" Refused deliveries a recording: {_refused(now):.2f} now, {_refused(before):.2f} before."
        )
    lines += [f"{run['rules']}: {run['note']}" for run in runs if "note" in run]
    return "\n".join(lines) + "\n"


def _refused(run: dict[str, Any]) -> float:
    return float(run["refused"] / max(sum(run["ended"].values()), 1))


def write(runs: Sequence[dict[str, Any]], where: dict[str, Any]) -> None:
    """Write the results; those of other rules stay as they are."""
    path = RESULTS / "backlog.json"
    known = json.loads(path.read_text())["runs"] if path.exists() else []
    by_rules = {run["rules"]: run for run in (*known, *runs)}  # a run may have a `note`, written by hand
    ordered = [by_rules[rules] for rules in RULES if rules in by_rules]
    path.write_text(json.dumps({"machine": where, "runs": ordered}, indent=2) + "\n")
    (RESULTS / "backlog.md").write_text(table(json.loads(path.read_text())["runs"], where))


def main() -> int:
    """Measure what the command line asks for; status 1 if the rules of now do not hold what they promise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", nargs="+", choices=RULES, default=RULES)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--limit", type=float, default=900.0, help="seconds for each run")
    parser.add_argument("--dry", action="store_true", help="do not write the results")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    where = machine()
    runs = [measure(rules, given.count, given.limit) for rules in given.rules]
    print(table(runs, where))
    if not given.dry:
        write(runs, where)
    broken = [what for run in runs if run["rules"] == "now" for what in failed(run)]
    for what in broken:
        print(f"not so: {what}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
