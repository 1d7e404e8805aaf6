"""Operators' commands on the local cloud: redrive, erase, backfill, reconcile and settle dead letters."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.cloud import storage
from google.cloud.pubsub_v1 import PublisherClient

from speechpipe.contract import HalfStatus, Recording, Stage, Status, wire
from speechpipe.contract.resources import DEAD_UPLOADS_TOPIC, Service
from speechpipe.emulators.setup import exported
from speechpipe.emulators.storage import notification
from speechpipe.pipeline.reconcile import reconcile
from speechpipe.pipeline.world import World, utc_now
from speechpipe.settings import FunctionSettings, read
from tests.emulators.conftest import PREFIX, TEST_SECONDS, WAIT_SECONDS, User, wait_for

pytestmark = [pytest.mark.emulators, pytest.mark.timeout(TEST_SECONDS)]


def speechpipe(user: User, *arguments: str, **more: str) -> str:
    """Run a command. Returns its stdout."""
    command = [sys.executable, "-m", "speechpipe.cli", *arguments]
    environment = user.cloud.environment() | {"SPEECHPIPE_UPLOADS_PREFIX": PREFIX} | more
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr
    return ran.stdout


def at(user: User, recording: str, revision: int) -> Recording:
    """The recording at the end of a revision."""

    def look() -> Recording | None:
        found = user.backend.store.recording(recording)
        return found if found and found.announced_at and found.revision == revision else None

    return wait_for(look)


def test_redriving_one_half_does_not_compute_the_other_again(user: User) -> None:
    recording = user.drop(b"RIFF0", PREFIX + "half.wav")
    user.final(recording)
    assert speechpipe(user, "redrive", recording, "--stage", "ser").split()[:2] == [recording, "ser"]
    again = at(user, recording, 2)
    assert again.status is Status.COMPLETED
    assert user.backend.store.lease(recording, Stage.SER, 2) is not None
    assert user.backend.store.lease(recording, Stage.STT, 2) is None
    wait_for(lambda: {event.id for event in user.events[recording]} == {f"{recording}.r{n}.completed" for n in (1, 2)})
    assert "revision 2: ser rerun, stt kept" in speechpipe(user, "explain", recording, COLUMNS="200")


def test_an_erased_recording_leaves_a_tombstone_and_an_event(user: User) -> None:
    name = PREFIX + "Jane Doe #1.wav"
    recording = user.drop(b"RIFF0", name)
    user.final(recording)
    assert "already" not in speechpipe(user, "erase", name, "--upload", "--yes")
    stone = at(user, recording, 2)
    assert (stone.status, stone.source.name) == (Status.ERASED, "")
    assert user.backend.store.partials(recording) == []
    assert user.bucket.get_blob(name) is None
    with exported(**user.cloud.environment()):
        results = storage.Client().bucket(user.cloud.ids.results)
    assert list(results.list_blobs(prefix=recording)) == []
    wait_for(lambda: f"{recording}.r2.erased" in {event.id for event in user.events[recording]})
    assert speechpipe(user, "erase", recording) == f"{recording}  already erased\n"


def test_backfill_ingests_objects_without_an_event_even_from_another_bucket(user: User, tmp_path: Path) -> None:
    with exported(**user.cloud.environment()):
        old = storage.Client().create_bucket("old")
    for name in ("a.wav", "b #?.wav", "folder/"):
        old.blob(PREFIX + name).upload_from_string(b"RIFF0" if name != "folder/" else b"")
    arguments = ("backfill", f"gs://old/{PREFIX}", "--rate", "50")
    state = {"XDG_STATE_HOME": str(tmp_path)}
    assert speechpipe(user, *arguments, "--dry-run", **state).startswith(
        "2 new, 0 known, 0 held, 0 rejected, 1 ignored"
    )
    assert speechpipe(user, *arguments, **state).startswith("2 new, 0 known, 0 held, 0 rejected, 1 ignored")
    for blob in old.list_blobs():
        if not blob.name.endswith("/"):
            source = next(found for found in _objects(user, "gs://old/") if found.name == blob.name)
            assert user.final(source.recording_id).status is Status.COMPLETED
    assert speechpipe(user, *arguments, **state).startswith("0 new, 2 known")
    assert "404" in _stderr(user, "backfill", "gs://nobody-has-this/", **state)


def _objects(user: User, target: str) -> list[Any]:
    from speechpipe.client import Client

    with exported(**user.cloud.environment()), Client() as client:
        return list(client.objects(target))


def _stderr(user: User, *arguments: str, **more: str) -> str:
    command = [sys.executable, "-m", "speechpipe.cli", *arguments]
    environment = user.cloud.environment() | more
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False)
    assert ran.returncode == 2
    return ran.stderr


def test_a_dead_letter_is_kept_until_an_operator_redrives_its_stage(user: User) -> None:
    recording = user.drop(b"fail-ser", PREFIX + "dead.wav")
    assert user.final(recording).halves[Stage.SER].status is HalfStatus.FAILED

    def letters() -> list[dict[str, Any]]:
        found = [json.loads(line) for line in speechpipe(user, "dead-letters", "list", "--json").splitlines()]
        return [letter for letter in found if letter["task"]["recording_id"] == recording]

    first = wait_for(letters)  # another may follow: each event comes twice
    assert {(letter["state"], letter["task"]["stage"], letter["task"]["revision"]) for letter in first} == {
        ("open", "ser", 1)
    }
    ids = {letter["id"] for letter in first}
    assert [letter for letter in letters() if letter["id"] in ids] == first  # listing removes and changes nothing
    assert "out_of_memory" in speechpipe(user, "explain", recording, COLUMNS="200")
    assert "attempt 1" in speechpipe(user, "dead-letters", "show", recording)
    assert "ser redriven" in speechpipe(user, "dead-letters", "redrive", recording)
    assert user.backend.store.recording(recording).revision == 2  # type: ignore[union-attr]
    assert not {letter["id"] for letter in letters()} & ids
    user.bucket.blob(PREFIX + "dead.wav").delete()
    assert speechpipe(user, "erase", recording, "--yes").startswith(f"{recording}  erased")


@contextmanager
def losing_events(user: User, number: int) -> Iterator[None]:
    """Lose the events of as many uploads as are made in this block."""
    with user.cloud.losing(Service.INGEST) as lost:
        yield
        wait_for(lambda: len(lost) >= number * user.cloud.copies)


def test_uploads_whose_event_was_lost_are_found_and_finished_and_the_others_left_alone(user: User) -> None:
    seen = [user.drop(b"RIFF0", f"{PREFIX}reconcile/seen {number}.wav") for number in range(8)]
    finished = [user.final(recording) for recording in seen]
    with losing_events(user, 3):
        lost = {user.drop(b"RIFF0", f"{PREFIX}reconcile/lost {number} #?.wav") for number in range(3)}
    environment = user.cloud.environment() | {"SPEECHPIPE_UPLOADS_PREFIX": PREFIX + "reconcile/"}
    settings = read(FunctionSettings, environment)
    told: set[str] = set()
    # As in two hours: the event of a young upload may still be on its way.
    world = World.over(user.backend, settings, lambda: utc_now() + timedelta(hours=2))
    with exported(**user.cloud.environment()):  # the publisher is created by the first task
        report = reconcile(world, utc_now() - timedelta(days=1), tell=lambda source, _: told.add(source.recording_id))
    assert (report.listed, report.looked_up, report.missed, report.new) == (11, 11, 3, 3)
    assert told == lost
    for recording in lost:
        assert user.final(recording).status is Status.COMPLETED
    left_alone = [user.backend.store.recording(recording) for recording in seen]  # but for their second announcements
    assert [(each.id, each.revision, each.result) for each in left_alone if each] == [
        (each.id, each.revision, each.result) for each in finished
    ]
    assert user.cloud.call(Service.RECONCILE)  # in the function's process too, with what is old enough now: nothing


def test_an_event_that_ingest_did_not_take_is_kept_until_an_operator_redrives_it(user: User) -> None:
    with losing_events(user, 1):
        recording = user.drop(b"RIFF0", PREFIX + "dead upload.wav")
        obj = user.bucket.get_blob(PREFIX + "dead upload.wav")._properties | {"bucket": user.bucket.name}
    data, attributes = notification(obj)
    with exported(**user.cloud.environment()), PublisherClient() as publisher:
        topic = f"projects/{user.cloud.ids.project}/topics/{DEAD_UPLOADS_TOPIC}"
        publisher.publish(topic, data, **attributes, **{wire.DEAD_LETTER_COUNT: "100"}).result()

    def letters() -> list[dict[str, Any]]:
        found = [json.loads(line) for line in speechpipe(user, "dead-letters", "list", "--json").splitlines()]
        return [letter for letter in found if letter["upload"] and letter["upload"]["name"].endswith("dead upload.wav")]

    (letter,) = wait_for(letters)
    assert (letter["state"], letter["task"], letter["deliveries"]) == ("open", None, 100)
    shown = speechpipe(user, "dead-letters", "show", recording)
    assert f"upload of {recording}" in shown
    assert "after 100 deliveries" in shown
    assert f"upload of {recording}  open" in speechpipe(user, "dead-letters", "list")
    assert "upload redriven" in speechpipe(user, "dead-letters", "redrive", recording)
    assert user.final(recording).status is Status.COMPLETED
    assert letters() == []
