from __future__ import annotations

import json

import jsonschema
import pytest

from speechpipe.contract import Record
from speechpipe.pipeline.outcomes import completion_event
from speechpipe.schemas import ROOT, generated
from tests.record.test_artifacts import record


@pytest.mark.parametrize("name", generated())
def test_the_committed_schema_is_current(name: str) -> None:
    assert (ROOT / name).read_text() == generated()[name], "run `make schemas`"


def test_a_record_and_its_event_fit_their_schemas() -> None:
    made = record()
    for value, name in ((made, "record"), (completion_event(made).data, "completiondata")):
        schema = json.loads((ROOT / "docs" / "schemas" / f"{name}.schema.json").read_text())
        jsonschema.validate(value.model_dump(mode="json"), schema)


def test_fields_of_a_newer_version_are_tolerated() -> None:
    made = record()
    newer = made.model_dump(mode="json") | {"invented_later": {"a": 1}}
    assert Record.model_validate(newer) == made
