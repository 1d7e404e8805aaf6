"""Uploads and downloads with tools that others wrote, against the running system: gcloud, rclone, curl, Python.

Each of them must end with one recording for each file, whatever it does on the way there.
"""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.cloud.storage import transfer_manager

from speechpipe.contract import Recording, Status
from speechpipe.contract.errors import ErrorCode
from tests.emulators.conftest import PREFIX, TEST_SECONDS, WAIT_SECONDS, User

pytestmark = [pytest.mark.emulators, pytest.mark.timeout(TEST_SECONDS)]

MIB = 1024 * 1024
LARGE = 200 * MIB + 8 + ord("0")  #: bytes
#: By default gcloud puts the parts of a composite upload below the bucket's root, where our prefix alone would hide
#: them. Without the leading slash they go below the object's folder, so that each of them is announced to `ingest`.
PARTS = "gcloud/tmp/parallel_composite_uploads/see_gcloud_storage_cp_help_for_details/"


def program(name: str) -> str:
    """A tool's path. Where it is not installed, skip on a laptop and fail in CI."""
    found = shutil.which(name)
    if found is None and not os.environ.get("CI"):
        pytest.skip(f"{name} is not installed")
    assert found, f"{name} is not installed: see .ci/install"
    return found


class Tool:
    """A tool with an environment in which it knows the emulator and nothing of this machine's user."""

    def __init__(self, name: str, environment: dict[str, str], *options: str) -> None:
        self.command = [program(name), *options]
        self.environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **environment}

    def __call__(self, *arguments: str | Path) -> str:
        """Run it to the end. Returns what it printed; fails unless it exits with 0."""
        ran = self.run(*arguments)
        assert ran.returncode == 0, ran.stderr + ran.stdout
        return ran.stdout

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run it to whatever end."""
        command = [*self.command, *map(str, arguments)]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False
        )


@pytest.fixture
def gcloud(user: User, tmp_path: Path) -> Tool:
    at = user.cloud.environment()["STORAGE_EMULATOR_HOST"]
    environment = {
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{at}/storage/v1/",
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "true",
        "CLOUDSDK_CORE_PROJECT": user.cloud.ids.project,
        "CLOUDSDK_STORAGE_PARALLEL_COMPOSITE_UPLOAD_ENABLED": "true",
        "CLOUDSDK_STORAGE_PARALLEL_COMPOSITE_UPLOAD_COMPONENT_PREFIX": PARTS,
    }
    return Tool("gcloud", environment, "storage")


@pytest.fixture
def rclone(user: User, tmp_path: Path) -> Tool:
    at = user.cloud.environment()["STORAGE_EMULATOR_HOST"]
    options = ["--gcs-endpoint", f"{at}/storage/v1/", "--gcs-anonymous", "--gcs-bucket-policy-only", "--retries=1"]
    return Tool("rclone", {"RCLONE_CONFIG": str(tmp_path / "rclone.conf")}, *options)


@pytest.fixture
def curl(user: User) -> Tool:
    return Tool("curl", {}, "--silent", "--show-error", "--fail")


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Path]:
    """A recording of 200 MiB and 20 minutes, each of whose parts differs from the others."""
    # The last byte of the RIFF header's size is "0": the file begins with RIFF0, which the canned worker knows.
    rate, frame = 44100, 4
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", LARGE - 8, b"WAVE", b"fmt ", 16, 1, 2, rate, rate * frame, frame, 16)
    file = tmp_path / "large.wav"
    with file.open("wb") as writer:
        writer.write((head + struct.pack("<4sI", b"data", LARGE - 44)).ljust(MIB, b"\0"))
        for number in range(1, 200):
            writer.write((b"%06d" % number).ljust(MIB, b"\0"))
        writer.write(bytes(LARGE - 200 * MIB))
    yield file
    file.unlink()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of three recordings."""
    root = tmp_path / "calls of today"
    for name in ("one.wav", "Fall 7/zwei, Ü.mp3", "Fall 7/#3 100%.ogg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(f"RIFF0 {name}".encode())
    return root


def below(user: User, prefix: str) -> list[Recording]:
    """The recordings of the objects below a prefix, by name; final, with whatever else was announced before them.

    Events may arrive in any order, so one more upload says when those before it were seen.
    """
    user.final(user.drop(b"RIFF0", f"{prefix}afterwards.wav"))
    user.bucket.blob(f"{prefix}afterwards.wav").delete()
    found = [one for one in user.backend.store.recordings(limit=1000) if one.source.name.startswith(prefix)]
    finals = [user.final(one.id) for one in found if one.source.name != f"{prefix}afterwards.wav"]
    return sorted(finals, key=lambda one: one.source.name)


def names(user: User, prefix: str) -> list[str]:
    """The objects below a prefix."""
    return [blob.name for blob in user.bucket.list_blobs(prefix=prefix)]


def test_a_large_file_that_gcloud_uploads_in_parts_is_one_recording(user: User, gcloud: Tool, large: Path) -> None:
    gcloud("cp", large, f"gs://uploads/{PREFIX}gcloud/large.wav")
    blob = user.bucket.get_blob(f"{PREFIX}gcloud/large.wav")
    assert blob.component_count > 1  # it was composed
    (recording,) = below(user, f"{PREFIX}gcloud/")
    assert (recording.status, recording.id) == (Status.COMPLETED, user.id_of(blob))
    assert recording.source.size == LARGE
    assert names(user, f"{PREFIX}gcloud/") == [f"{PREFIX}gcloud/large.wav"]

    again = large.with_name("again.wav")
    gcloud("cp", f"gs://uploads/{PREFIX}gcloud/large.wav", again)
    assert filecmp.cmp(large, again, shallow=False)
    again.unlink()


def test_gcloud_uploads_a_large_file_with_options_in_one_piece(user: User, gcloud: Tool, large: Path) -> None:
    # In parts it cannot: docs/surprises.md.
    gcloud.environment["CLOUDSDK_STORAGE_PARALLEL_COMPOSITE_UPLOAD_ENABLED"] = "false"
    gcloud("cp", "--custom-metadata=language=de", large, f"gs://uploads/{PREFIX}whole/large.wav")
    (recording,) = below(user, f"{PREFIX}whole/")
    assert (recording.status, recording.source.size) == (Status.COMPLETED, LARGE)
    assert recording.options.language == "de"


def test_gcloud_uploads_a_file_with_options_once(user: User, gcloud: Tool, folder: Path) -> None:
    target = f"gs://uploads/{PREFIX}small/"
    gcloud("cp", "--custom-metadata=language=de,ref=Fall 7 – Ä", folder / "one.wav", target)
    gcloud("cp", "--no-clobber", folder / "one.wav", target)
    refused = gcloud.run("cp", "--if-generation-match=0", folder / "one.wav", target)
    assert (refused.returncode, "412" in refused.stderr) == (1, True)
    (recording,) = below(user, f"{PREFIX}small/")
    assert (recording.status, recording.source.name) == (Status.COMPLETED, f"{PREFIX}small/one.wav")
    assert (recording.options.language, recording.options.ref) == ("de", "Fall 7 – Ä")


@pytest.mark.parametrize("option", ["--gzip-local-all", "--gzip-in-flight-all"])
def test_gcloud_may_compress(user: User, gcloud: Tool, folder: Path, option: str) -> None:
    name = f"{PREFIX}{option}/one.wav"
    gcloud("cp", option, folder / "one.wav", f"gs://uploads/{name}")
    (recording,) = below(user, f"{PREFIX}{option}/")
    assert recording.status is Status.COMPLETED
    gcloud("cp", f"gs://uploads/{name}", folder / "again.wav")
    assert filecmp.cmp(folder / "one.wav", folder / "again.wav", shallow=False)


def test_gcloud_keeps_a_bucket_like_a_folder(user: User, gcloud: Tool, folder: Path) -> None:
    target = f"gs://uploads/{PREFIX}rsync"
    gcloud("rsync", "--recursive", folder, target)
    recordings = below(user, f"{PREFIX}rsync/")
    files = sorted(f"{PREFIX}rsync/{path.relative_to(folder)}" for path in folder.rglob("*.*"))
    assert [recording.source.name for recording in recordings] == files
    assert {recording.status for recording in recordings} == {Status.COMPLETED}

    (folder / "one.wav").unlink()
    gcloud("rsync", "--recursive", "--delete-unmatched-destination-objects", folder, target)
    assert len(below(user, f"{PREFIX}rsync/")) == len(files)  # nothing was uploaded again
    assert names(user, f"{PREFIX}rsync/") == [name for name in files if not name.endswith("one.wav")]
    assert sorted(gcloud("ls", f"{target}/**").splitlines()) == [f"gs://uploads/{name}" for name in files[:2]]


def test_gcloud_downloads_the_results(user: User, gcloud: Tool, tmp_path: Path) -> None:
    recording = user.final(user.drop(b"RIFF0", f"{PREFIX}results.wav"))
    assert recording.artifacts is not None
    results = recording.artifacts.record.removesuffix("/record.json")
    gcloud("cp", "--recursive", results, tmp_path)
    record = next(tmp_path.rglob("record.json"))
    assert record.read_bytes() == user.backend.results.read(recording.artifacts.record)
    assert gcloud("cat", recording.artifacts.record).encode() == record.read_bytes()


def test_an_object_under_a_customer_s_key_is_rejected(user: User, gcloud: Tool, folder: Path) -> None:
    key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
    gcloud("cp", f"--encryption-key={key}", folder / "one.wav", f"gs://uploads/{PREFIX}secret/one.wav")
    (recording,) = below(user, f"{PREFIX}secret/")
    assert recording.status is Status.REJECTED
    assert recording.error is not None
    assert recording.error.code is ErrorCode.CUSTOMER_KEY
    gcloud("cp", f"--decryption-keys={key}", f"gs://uploads/{PREFIX}secret/one.wav", folder / "again.wav")
    assert filecmp.cmp(folder / "one.wav", folder / "again.wav", shallow=False)


def test_rclone_copies_a_folder(user: User, rclone: Tool, folder: Path, tmp_path: Path) -> None:
    target = f":gcs:uploads/{PREFIX}rclone"
    for _ in range(2):  # the second time it finds everything there
        rclone("copy", "--header-upload", "x-goog-meta-language: de", folder, target)
    recordings = below(user, f"{PREFIX}rclone/")
    files = sorted(f"{PREFIX}rclone/{path.relative_to(folder)}" for path in folder.rglob("*.*"))
    assert [recording.source.name for recording in recordings] == files
    assert {recording.status for recording in recordings} == {
        Status.COMPLETED
    }  # `mtime`, which rclone adds, is ignored
    assert {recording.options.language for recording in recordings} == {"de"}
    rclone("check", folder, target)
    listed = [line.split(maxsplit=1)[1] for line in rclone("ls", target).splitlines()]
    assert sorted(listed) == [name.removeprefix(f"{PREFIX}rclone/") for name in files]
    rclone("copy", target, tmp_path / "again")
    rclone("check", folder, tmp_path / "again")


def test_rclone_uploads_a_large_file_by_chunks_and_moves_it(user: User, rclone: Tool, large: Path) -> None:
    first, second = f"{PREFIX}chunks/large.wav", f"{PREFIX}chunks/moved.wav"
    rclone("copyto", large, f":gcs:uploads/{first}")
    (recording,) = below(user, f"{PREFIX}chunks/")
    assert (recording.status, recording.source.size) == (Status.COMPLETED, LARGE)
    rclone("moveto", f":gcs:uploads/{first}", f":gcs:uploads/{second}")
    assert names(user, f"{PREFIX}chunks/") == [second]
    assert [final.source.name for final in below(user, f"{PREFIX}chunks/")] == [first, second]


def test_rclone_downloads_the_results(user: User, rclone: Tool, tmp_path: Path) -> None:
    recording = user.final(user.drop(b"RIFF0", f"{PREFIX}results of rclone.wav"))
    assert recording.artifacts is not None
    results = recording.artifacts.record.removesuffix("/record.json").removeprefix("gs://")
    rclone("copy", f":gcs:{results}", tmp_path / "results")
    record = tmp_path / "results" / "record.json"
    assert record.read_bytes() == user.backend.results.read(recording.artifacts.record)
    assert "record.json" in rclone("ls", f":gcs:{results}")


def test_curl_goes_on_with_an_upload_that_broke_off(user: User, curl: Tool, tmp_path: Path) -> None:
    file = tmp_path / "call.wav"
    file.write_bytes(b"RIFF0".ljust(MIB, b"\1"))
    at = user.cloud.environment()["STORAGE_EMULATOR_HOST"]
    begin = ["--header", "content-type: application/json", "--output", "/dev/null"]
    begin += ["--data", json.dumps({"metadata": {"language": "de"}}), "--write-out", "%header{location}"]
    session = curl(*begin, f"{at}/upload/storage/v1/b/uploads/o?uploadType=resumable&name={PREFIX}curl/call.wav")
    (tmp_path / "beginning").write_bytes(file.read_bytes()[:300_000])
    put = ["--output", "/dev/null", "--write-out", "%{http_code} %header{range}", "--upload-file"]
    sent = curl(*put, tmp_path / "beginning", "--header", f"content-range: bytes 0-299999/{MIB}", session)
    assert sent == "308 bytes=0-262143"
    (tmp_path / "rest").write_bytes(file.read_bytes()[262_144:])
    sent = curl(*put, tmp_path / "rest", "--header", f"content-range: bytes 262144-{MIB - 1}/{MIB}", session)
    assert sent.startswith("200")
    (recording,) = below(user, f"{PREFIX}curl/")
    assert (recording.status, recording.source.size, recording.options.language) == (Status.COMPLETED, MIB, "de")


def test_google_s_library_uploads_in_parts(user: User, large: Path) -> None:
    blob = user.bucket.blob(f"{PREFIX}parts/large.wav")
    options = {"chunk_size": 32 * MIB, "worker_type": transfer_manager.THREAD}
    transfer_manager.upload_chunks_concurrently(str(large), blob, **options)
    (recording,) = below(user, f"{PREFIX}parts/")
    assert (recording.status, recording.source.size) == (Status.COMPLETED, LARGE)
