"""Generate the files that others read: JSON Schemas for users and the system description for Terraform.

`python -m speechpipe.schemas [--check]`
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from speechpipe.backends.gcp.indexes import COMPOSITE_INDEXES, TIME_TO_LIVE, UNINDEXED
from speechpipe.contract import CompletionData, Frozen, Options, Partial, Record, Recording, Stage, Task, resources
from speechpipe.observe.metrics import METRICS
from speechpipe.record import tables

ROOT = Path(__file__).parent.parent
TYPES: tuple[type[Frozen], ...] = (CompletionData, Options, Partial, Record, Recording, Task)


def schemas() -> dict[str, str]:
    """The JSON Schemas (draft 2020-12): file name -> text."""
    texts = {}
    for kind in TYPES:
        schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
        schema |= kind.model_json_schema(mode="serialization")
        texts[f"docs/schemas/{kind.__name__.lower()}.schema.json"] = json.dumps(schema, indent=2) + "\n"
    return texts


def system() -> dict[str, Any]:
    """All cloud resources that the code relies on. `infra/` reads them from here and does not repeat them."""
    return {
        "functions": {name.value: f"functions/{name.value}.py" for name in resources.FUNCTIONS},
        "workers": {stage.value: resources.WORKERS[stage].value for stage in Stage},
        "ready_path": resources.READY_PATH,
        "alive_path": resources.ALIVE_PATH,
        "request_seconds": resources.REQUEST_SECONDS,
        "waiting_room": resources.WAITING_ROOM,
        "topics": resources.TOPICS,
        "task_topics": {stage.value: topic for stage, topic in resources.TASK_TOPICS.items()},
        "dead_letter_topic": resources.DEAD_LETTER_TOPIC,
        "completions_topic": resources.COMPLETIONS_TOPIC,
        "subscriptions": {each.name: asdict(each) for each in resources.SUBSCRIPTIONS},
        "dead_uploads_topic": resources.DEAD_UPLOADS_TOPIC,
        "uploads_notification": asdict(resources.UPLOADS_NOTIFICATION),
        "firestore_trigger": asdict(resources.FIRESTORE_TRIGGER),
        "schedules": {name.value: asdict(schedule) for name, schedule in resources.SCHEDULES.items()},
        "firestore": {
            "indexes": [[{"field": field, "order": order} for field, order in index] for index in COMPOSITE_INDEXES],
            "unindexed": [{"collection": collection, "field": field} for collection, field in UNINDEXED],
            "time_to_live": [{"collection": collection, "field": field} for collection, field in TIME_TO_LIVE],
        },
        "metrics": {metric.name: asdict(metric) for metric in METRICS},
    }


def generated() -> dict[str, str]:
    """All generated files: path relative to the root of the source tree -> text."""
    return schemas() | {
        "docs/schemas/bigquery.json": json.dumps(tables.schema(), indent=2) + "\n",
        "infra/system.json": json.dumps(system(), indent=2) + "\n",
    }


def main() -> None:
    """Write the stale files; with --check, only list them and fail."""
    stale = []
    for name, text in generated().items():
        path = ROOT / name
        if path.exists() and path.read_text() == text:
            continue
        stale.append(name)
        if "--check" not in sys.argv:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    if stale:
        print("stale:" if "--check" in sys.argv else "written:", *stale)
    sys.exit(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    main()
