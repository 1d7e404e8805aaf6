"""No content of a recording reaches a function's output, even when the framework logs an error."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import functions_framework
import pytest

import functions.services
from functions.services import Services
from speechpipe.backends import local
from speechpipe.pipeline.world import World
from speechpipe.settings import FunctionSettings

GOLDEN = Path(__file__).parents[1] / "contract" / "golden"
NAME, METADATA = "jane doe's diagnosis.wav", "xylophonist"


@pytest.fixture(autouse=True)
def _services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings = FunctionSettings(project="p", uploads_bucket="uploads", results_bucket="results")
    services = Services(settings, World.over(local.connect(tmp_path), settings))
    monkeypatch.setattr(functions.services, "_services", lambda: services)
    yield
    sys.modules.pop("ingest", None)


def post(client: Any, **changes: object) -> int:
    event = json.loads((GOLDEN / "storage-finalized.json").read_text())
    event |= {"name": NAME, "metadata": {"ref": METADATA}, **changes}
    push = json.loads((GOLDEN / "storage-push.json").read_text())
    push["message"]["data"] = base64.b64encode(json.dumps(event).encode()).decode()
    status: int = client.post("/", json=push).status_code
    return status


@pytest.mark.parametrize("error", [ValueError, RuntimeError, KeyError, OSError])
def test_a_functions_output_contains_ids_and_actions_but_no_content(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: type[Exception]
) -> None:
    def broken(source: Any, world: Any) -> None:
        raise error(f"{source.name} {source.metadata}")

    source = Path(functions.services.__file__).with_name("ingest.py")
    ingest = functions_framework.create_app("ingest", str(source)).test_client()  # type: ignore[no-untyped-call]
    assert post(ingest) == 204
    assert post(ingest, size="many") == 204  # unreadable
    monkeypatch.setattr("speechpipe.pipeline.ingest.ingest", broken)
    assert post(ingest) == 500
    output = "".join(capsys.readouterr())
    assert "action=queued" in output
    assert "action=unreadable" in output
    assert error.__name__ in output
    assert "Traceback" in output
    assert [secret for secret in ("jane", "diagnosis", METADATA) if secret in output] == []
