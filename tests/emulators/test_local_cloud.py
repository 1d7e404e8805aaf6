"""The whole system over real HTTP with canned engines; every event is delivered twice, as platforms may do."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from google.cloud import firestore, storage
from google.cloud.pubsub_v1 import SubscriberClient

from speechpipe.cli.doctor import diagnose
from speechpipe.client import Client
from speechpipe.contract import HalfStatus, Stage, Status, resources
from speechpipe.contract.errors import ErrorCode, Held
from speechpipe.emulators.setup import exported
from tests.emulators.conftest import PREFIX, TEST_SECONDS, WAIT_SECONDS, User, wait_for
from tests.listeners import groups, is_loopback, listeners
from tests.workers.audio.media import write_video

pytestmark = [pytest.mark.emulators, pytest.mark.timeout(TEST_SECONDS)]

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
ODD_NAME = PREFIX + "Übergabe #1 100%? a b\n🎧.wav"


def test_an_uploaded_file_becomes_a_record_and_an_event(user: User) -> None:
    recording = user.drop(b"RIFF0", ODD_NAME, language="de", ref="Fall 7 – Ä")
    final = user.final(recording)
    assert (final.status, final.source.name, final.options.ref) == (Status.COMPLETED, ODD_NAME, "Fall 7 – Ä")
    assert final.result is not None
    assert final.result.text.strip() == "Grüße"
    assert final.result.summary.dominant_emotion == "Joy"
    (event, *repeats) = user.events_of(recording)
    assert event.id == f"{recording}.r1.completed"
    assert all(repeat == event for repeat in repeats)
    assert (event.data.uri, event.data.ref) == (f"gs://uploads/{ODD_NAME}", "Fall 7 – Ä")
    assert final.artifacts is not None
    assert b"Gr" in user.backend.results.read(final.artifacts.record)


def test_a_new_upload_supersedes_the_one_of_the_same_name(user: User) -> None:
    first = user.drop(b"RIFF0", PREFIX + "again.wav")
    user.final(first)
    second = user.drop(b"RIFF0 again", PREFIX + "again.wav")
    assert user.final(second).supersedes == first
    assert user.final(first).supersedes is None


def test_the_same_bytes_again_take_over_the_result(user: User) -> None:
    name, metadata = PREFIX + "same #1.wav", {"file-owner": "1000", "__class__": "call"}
    first = user.final(user.drop(b"RIFF0 same", name, **metadata))
    second = user.final(user.drop(b"RIFF0 same", name, **metadata))
    assert (second.status, second.same_content_as, second.supersedes) == (Status.COMPLETED, first.id, first.id)
    assert [half.attempts for half in second.halves.values()] == [0, 0]
    assert second.source.metadata == metadata
    assert "unknown_option" in {warning.code for warning in second.warnings}
    assert user.events_of(second.id)[0].type == "dev.speechpipe.recording.v1.completed"


def test_a_stage_that_always_fails_leaves_the_other_half_intact(user: User) -> None:
    dropped = {stage: user.drop(f"fail-{stage.value}".encode(), f"{PREFIX}fails-{stage.value}.wav") for stage in Stage}
    for stage, recording in dropped.items():
        final = user.final(recording)
        failed, good = final.halves[stage], next(half for s, half in final.halves.items() if s is not stage)
        assert final.status is Status.PARTIAL
        assert good.status is HalfStatus.COMPLETED
        assert failed.status is HalfStatus.FAILED
        assert failed.attempts >= 5  # the repeated event may have published a second task
        assert failed.error is not None
        assert failed.error.code is ErrorCode.OUT_OF_MEMORY
        assert "quotes" not in failed.error.message
        assert final.result is not None
        assert bool(final.result.text) is (stage is Stage.SER)
        event = user.events_of(recording)[0]
        assert event.type == "dev.speechpipe.recording.v1.partial"
        assert event.data.status is Status.PARTIAL


def test_unusable_input_is_rejected_with_the_reason_and_announced(user: User, tmp_path: Path) -> None:
    silent = write_video(tmp_path / "silent.mp4", None).read_bytes()
    playlist = b"ffconcat version 1.0\nfile '/etc/hostname'\n"
    bad: list[tuple[str, bytes, dict[str, str], ErrorCode]] = [
        ("nothing.wav", b"", {}, ErrorCode.EMPTY_OBJECT),
        ("text.wav", b"this is a shopping list\n" * 20, {}, ErrorCode.UNSUPPORTED_FORMAT),
        ("playlist.wav", playlist, {}, ErrorCode.UNSUPPORTED_FORMAT),
        ("silent.mp4", silent, {}, ErrorCode.NO_AUDIO_STREAM),
        ("options.wav", b"RIFF0", {"language": "klingon"}, ErrorCode.INVALID_OPTION),
    ]
    dropped = [user.drop(content, PREFIX + name, **metadata) for name, content, metadata, _ in bad]
    for recording, (name, *_, code) in zip(dropped, bad, strict=True):
        final = user.final(recording)
        assert final.status is Status.REJECTED, name
        assert final.error is not None
        assert final.error.code is code, name
        assert "hostname" not in final.error.message
        (event, *_) = user.events_of(recording)
        assert event.type == "dev.speechpipe.recording.v1.rejected"
        assert event.data.error == final.error


def test_every_way_of_creating_an_object_is_noticed(user: User) -> None:
    large = user.bucket.blob(PREFIX + "resumable.wav")
    large.upload_from_string(b"RIFF0" * (2 * 1024 * 1024))  # above 8 MiB the library sends a resumable upload
    composed = user.bucket.blob(PREFIX + "composed.wav")
    composed.compose([large, large])
    copied = user.bucket.copy_blob(large, user.bucket, PREFIX + "copied.wav")
    rewritten = user.bucket.blob(PREFIX + "rewritten.wav")
    rewritten.rewrite(large)
    for blob in (large, composed, copied, rewritten):
        blob.reload()
        assert user.final(user.id_of(blob)).status is Status.COMPLETED


def test_folders_parts_and_objects_outside_the_prefix_are_ignored(user: User) -> None:
    names = [PREFIX + "folder/", "elsewhere.wav", PREFIX + "calls/gcloud/tmp/parallel_composite_uploads/see/x_0"]
    others = [user.drop(b"RIFF0", name) for name in names]
    user.final(user.drop(b"RIFF0", PREFIX + "afterwards.wav"))
    assert [user.backend.store.recording(other) for other in others] == [None] * 3


def test_a_worker_killed_at_work_is_restarted_and_the_task_is_redelivered(user: User) -> None:
    recording = user.drop(b"hang", PREFIX + "killed.wav")
    wait_for(lambda: Path(user.cloud.settings["CANNED_HANGS"], "hung").exists())  # else the second attempt would hang
    user.cloud.send(resources.WORKERS[Stage.STT].value, signal.SIGKILL)
    final = user.final(recording)
    assert final.status is Status.COMPLETED
    lease = user.backend.store.lease(recording, Stage.STT, 1)
    assert lease is not None
    assert [attempt.outcome for attempt in lease.attempts] == ["expired", "done"]


def test_the_status_counts_recordings(user: User) -> None:
    user.final(user.drop(b"RIFF0", PREFIX + "counted.wav"))
    snapshot = user.cloud.status()
    assert snapshot.recordings[Status.COMPLETED] >= 1
    assert all(snapshot.processes.values())
    assert user.cloud.sweep()


def run_example(environment: dict[str, str], name: str, *arguments: str) -> tuple[int, str, str]:
    """Run an example; (exit status, stdout, stderr)."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False)
    return ran.returncode, ran.stdout, ran.stderr


def test_the_examples_work_with_nothing_but_the_environment(user: User, tmp_path: Path) -> None:
    (tmp_path / "a call.wav").write_bytes(b"RIFF0")
    environment = user.cloud.environment() | {
        "SPEECHPIPE_UPLOADS_PREFIX": PREFIX,
        "SPEECHPIPE_COMPLETIONS_SUBSCRIPTION": "completions-example",
    }
    project = f"projects/{user.cloud.ids.project}"
    with exported(**environment), SubscriberClient() as subscriber:
        subscriber.create_subscription(
            name=f"{project}/subscriptions/completions-example", topic=f"{project}/topics/completions"
        )

    def example(name: str, *arguments: str) -> str:
        status, out, err = run_example(environment, name, *arguments)
        assert (status, err) == (0, "")
        return out

    recording = example("drop_file.py", str(tmp_path / "a call.wav"), "language=de").strip()
    polled = example("poll_result.py", recording).splitlines()
    assert polled == ["status: completed", "text: Grüße", "emotion: Joy"]
    received = example("completions.py", recording)
    assert f"dev.speechpipe.recording.v1.completed gs://uploads/{PREFIX}a call.wav Joy" in received


def test_the_examples_say_in_a_sentence_what_does_not_exist(user: User) -> None:
    environment = user.cloud.environment() | {
        "SPEECHPIPE_UPLOADS_BUCKET": "no-such-bucket",
        "SPEECHPIPE_COMPLETIONS_SUBSCRIPTION": "no-such-subscription",
    }
    project = user.cloud.ids.project
    assert run_example(environment, "drop_file.py", __file__) == (1, "", "there is no bucket no-such-bucket\n")
    sentence = f"there is no subscription no-such-subscription in project {project}\n"
    assert run_example(environment, "completions.py", "rec_none") == (1, "", sentence)
    status, out, err = run_example(environment, "poll_result.py", "rec_none", "--timeout", "1")
    assert (status, out) == (1, "")
    assert err.startswith("there is no recording rec_none (waited ")
    assert len(err.splitlines()) == 1


def test_the_client_and_the_command_line_work_with_the_same_environment(user: User, tmp_path: Path) -> None:
    (tmp_path / "client #1?.wav").write_bytes(b"RIFF0")
    environment = user.cloud.environment()
    with exported(**environment), Client() as client:
        submission = client.submit(tmp_path / "client #1?.wav", name=PREFIX + "client #1?.wav", language="de")
        record = submission.result(timeout=WAIT_SECONDS)
        found = client.find(PREFIX + "client #1?.wav")
    assert (record.status, record.text.strip()) == (Status.COMPLETED, "Grüße")
    assert found is not None
    assert found.id == submission.id

    command = [sys.executable, "-m", "speechpipe.cli", "wait", submission.id]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "Grüße" in ran.stdout


def test_doctor_approves_the_cloud_and_finds_a_wrong_subscription(user: User) -> None:
    environment = user.cloud.environment()
    in_project = "answers in project"
    with exported(**environment):
        found = diagnose(cloud=True, environ=environment)
        assert len([finding for finding in found if finding.ok and in_project in finding.detail]) == 10
        other = environment | {"SPEECHPIPE_COMPLETIONS_SUBSCRIPTION": "stt-tasks"}
        missing = environment | {"SPEECHPIPE_COMPLETIONS_SUBSCRIPTION": "no-such"}
        (wrong,) = (f for f in diagnose(cloud=True, environ=other) if "expected False" in f.detail)
        (absent,) = (f for f in diagnose(cloud=True, environ=missing) if f.what == "subscription no-such")
    assert not wrong.ok
    assert "push delivery is True, expected False" in wrong.detail
    assert not absent.ok
    assert "NotFound" in absent.detail


def test_documents_are_plain_firestore(user: User) -> None:
    recording = user.drop(b"RIFF0", PREFIX + "plain.wav")
    user.final(recording)
    with exported(**user.cloud.environment()):
        client = firestore.Client()
    fields = client.document(f"recordings/{recording}").get().to_dict()
    client.close()  # type: ignore[no-untyped-call]
    assert fields is not None
    assert fields["queued_at"].tzinfo is not None
    assert fields["halves"]["stt"]["status"] == "completed"
    assert fields["result"]["segments"][0]["text"] == "Grüße"


def test_the_emulator_checks_generations(user: User) -> None:
    with exported(**user.cloud.environment()):
        bucket = storage.Client().bucket(user.cloud.ids.results)
    blob = bucket.blob("generations")
    blob.upload_from_string(b"1", if_generation_match=0)
    old = blob.generation
    blob.upload_from_string(b"2", if_generation_match=old)
    assert bucket.get_blob("generations", generation=old) is None
    assert bucket.blob("generations", generation=blob.generation).download_as_bytes() == b"2"


def test_over_a_cap_a_recording_is_held_until_it_is_released(user: User) -> None:
    # Ten hours at 64 bytes per second. Its size's lowest byte is "0": the file starts with RIFF0.
    size = 36010 * 64 // 256 * 256 + ord("0")
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", size + 256, b"WAVE", b"fmt ", 16, 1, 1, 64, 64, 1, 8, b"data", size
    )
    recording = user.drop(head.ljust(44 + size, b"\x80"), PREFIX + "long.wav")
    store = user.backend.store

    def state(status: Status) -> bool:
        found = store.recording(recording)
        return found is not None and found.status is status

    wait_for(lambda: state(Status.HELD))
    with exported(**user.cloud.environment()), Client() as client:
        with pytest.raises(Held, match=r"10:00:\d\d of audio; max_duration is 10:00:00"):
            client.wait(recording)
        assert recording in [held.id for held in client.recordings(status=Status.HELD)]
        assert not user.events.get(recording)
        assert client.release(recording).status is Status.QUEUED
    final = user.final(recording)
    assert final.status is Status.COMPLETED
    assert final.quote is not None
    assert final.quote.exact
    assert final.result is not None
    assert final.result.cost is not None
    assert user.events_of(recording)[0].data.cost == final.result.cost


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_listens_beyond_the_loopback_interface(user: User) -> None:
    children = user.cloud._processes._children
    ports = user.cloud.ports
    expected = {ports.pubsub, ports.firestore, ports.storage, ports.relay, *ports.services.values()}
    found: set[tuple[str, int]] = set()

    def all_listen() -> bool:
        """A service that was just killed may not be back yet."""
        pids = groups(child.popen.pid for child in children.values()) | {os.getpid()}  # this process has the relay
        now = listeners(pids)
        found.update(now)
        return expected <= {port for _, port in now}

    wait_for(all_listen)  # so that none is missed
    assert [(address, port) for address, port in found if not is_loopback(address)] == []
