"""The examples in docs/ say how they are used and what is missing. The emulators' tests run them for real."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from google.api_core.exceptions import NotFound

from tests.test_layers import ROOT

EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))
NAMES = [path.stem for path in EXAMPLES]


def run(name: str, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """Run an example without any of Google's variables except these; (exit status, stdout, stderr)."""
    command = [sys.executable, "-W", "error", str(ROOT / "docs" / "examples" / f"{name}.py"), *arguments]
    ours = ("GOOGLE_", "SPEECHPIPE_", "STORAGE_", "FIRESTORE_", "PUBSUB_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    ran = subprocess.run(command, env=kept | environment, capture_output=True, text=True, timeout=120, check=False)
    assert "Traceback" not in ran.stderr
    return ran.returncode, ran.stdout, ran.stderr


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"examples_{name}", ROOT / "docs" / "examples" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_tested() -> None:
    assert NAMES == ["completions", "drop_file", "poll_result"]


@pytest.mark.parametrize("path", EXAMPLES, ids=NAMES)
def test_examples_are_short_and_need_only_googles_libraries(path: Path) -> None:
    text = path.read_text()
    nodes = list(ast.walk(ast.parse(text)))
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    tops = {name.partition(".")[0] for name in imported}
    assert tops <= sys.stdlib_module_names | {"google"}
    assert len(text.splitlines()) <= 65


@pytest.mark.parametrize("name", NAMES)
def test_help_is_printed(name: str) -> None:
    status, out, err = run(name, "--help")
    assert (status, err) == (0, "")
    assert out.startswith(f"usage: {name}.py")
    assert f"python {name}.py " in out


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_argument_prints_the_usage(name: str) -> None:
    status, out, err = run(name)
    assert (status, out) == (2, "")
    assert err.startswith(f"usage: {name}.py")


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_variable_is_named(name: str) -> None:
    status, out, err = run(name, __file__)
    assert (status, out) == (1, "")
    variable = "SPEECHPIPE_UPLOADS_BUCKET" if name == "drop_file" else "GOOGLE_CLOUD_PROJECT"
    assert err == f"{variable} is not set; export what `speechpipe up` or `make exports` prints\n"


@pytest.mark.parametrize("name", NAMES)
def test_missing_credentials_are_one_sentence(name: str) -> None:
    status, out, err = run(
        name,
        __file__,
        GOOGLE_APPLICATION_CREDENTIALS="/nonexistent",
        GOOGLE_CLOUD_PROJECT="p",
        SPEECHPIPE_UPLOADS_BUCKET="b",
    )
    assert (status, out) == (1, "")
    assert "/nonexistent was not found" in err
    assert len(err.splitlines()) == 1


def test_a_file_that_does_not_exist_or_a_bad_option_is_named() -> None:
    assert run("drop_file", "gone.wav") == (1, "", "there is no file gone.wav\n")
    status, _, err = run("drop_file", "gone.wav", "german")
    assert status == 2
    assert "'german' is not NAME=VALUE" in err


def test_a_bucket_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise NotFound("POST https://storage.googleapis.com/...")  # type: ignore[no-untyped-call]

    blob = SimpleNamespace(upload_from_filename=refuse)
    bucket = SimpleNamespace(blob=lambda name: blob, name="none")
    module = load("drop_file")
    monkeypatch.setattr(module, "storage", SimpleNamespace(Client=lambda: SimpleNamespace(bucket=lambda name: bucket)))
    monkeypatch.setenv("SPEECHPIPE_UPLOADS_BUCKET", "none")
    monkeypatch.setattr(sys, "argv", ["drop_file.py", __file__])
    with pytest.raises(SystemExit, match=r"^there is no bucket none$"):
        module.main()


def poll(monkeypatch: pytest.MonkeyPatch, found: dict[str, Any] | None) -> None:
    """Run poll_result.py on a document that never changes."""

    class Client:
        def __init__(self, **arguments: object) -> None:
            assert arguments == {"project": "p", "database": None}

        def collection(self, name: str) -> Client:
            return self

        def document(self, name: str) -> Client:
            return self

        def get(self) -> SimpleNamespace:
            return SimpleNamespace(to_dict=lambda: found)

    module = load("poll_result")
    monkeypatch.setattr(module, "firestore", SimpleNamespace(Client=Client))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    monkeypatch.delenv("SPEECHPIPE_DATABASE", raising=False)
    monkeypatch.setattr(sys, "argv", ["poll_result.py", "rec_a", "--timeout", "0"])
    module.main()


def test_a_recording_that_does_not_exist_or_does_not_finish_ends_the_poll(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"^there is no recording rec_a \(waited \d+ s\)$"):
        poll(monkeypatch, None)
    with pytest.raises(SystemExit, match=r"^rec_a is still processing after \d+ s$"):
        poll(monkeypatch, {"status": "processing"})
    with pytest.raises(SystemExit, match=r"^held: too long$"):
        poll(monkeypatch, {"status": "held", "hold": {"message": "too long"}})
    poll(monkeypatch, {"status": "erased", "error": None, "result": None, "artifacts": None})
    assert capsys.readouterr().out == "status: erased\n"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (NotFound("subscription"), r"^there is no subscription mine in project p$"),  # type: ignore[no-untyped-call]
        (TimeoutError(), r"^no event about rec_a came within 5 s$"),
    ],
)
def test_a_subscription_that_does_not_exist_or_brings_no_event_is_named(
    monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
) -> None:
    class Stream:
        cancelled = False

        def cancel(self) -> None:
            self.cancelled = True

        def result(self, timeout: float | None = None) -> None:
            if not self.cancelled:
                assert timeout == 5
                raise error

    class Subscriber(nullcontext[None]):
        def subscription_path(self, project: str, name: str) -> str:
            return f"projects/{project}/subscriptions/{name}"

        def subscribe(self, path: str, callback: object) -> Stream:
            assert path == "projects/p/subscriptions/mine"
            return Stream()

    module = load("completions")
    monkeypatch.setattr(module, "pubsub_v1", SimpleNamespace(SubscriberClient=Subscriber))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    monkeypatch.setenv("SPEECHPIPE_COMPLETIONS_SUBSCRIPTION", "mine")
    monkeypatch.setattr(sys, "argv", ["completions.py", "rec_a", "--timeout", "5"])
    with pytest.raises(SystemExit, match=sentence):
        module.main()
