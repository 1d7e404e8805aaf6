"""What every pair of buckets guarantees (`ports.Uploads`, `ports.Results`)."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path

import httpx
import pytest
from google.cloud import storage

from speechpipe.backends.local.folder import FolderUploads
from speechpipe.backends.ports import Backend
from speechpipe.contract.errors import ErrorCode, NotFound, Rejected
from tests.backends.examples import ODD_NAME
from tests.names import FILE_NAMES, PARTED_NAME

NAMES = [
    "plain.wav",
    "a folder/with space.mp3",
    "100%25 #1?x=1&y=2.flac",
    "trailing newline\n.ogg",
    "émoji 🎧 東京.m4a",
    ODD_NAME,
    PARTED_NAME,
    *FILE_NAMES,
]
METADATA = {"language": "de", "ref": "Fall 7 – Ä"}


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("elsewhere")


def tick() -> None:
    """Let the file system's clock move on: a folder's generation is a modification time."""
    time.sleep(0.02)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_any_name_is_downloaded_unchanged(backend: Backend, elsewhere: Path, name: str) -> None:
    content = name.encode() * 3
    (elsewhere / "in").write_bytes(content)
    source = backend.uploads.upload(elsewhere / "in", name, METADATA)
    assert (source.name, source.size, source.metadata) == (name, len(content), METADATA)
    assert backend.uploads.find(name) == source
    backend.uploads.download(source, elsewhere / "out")
    assert (elsewhere / "out").read_bytes() == content


@pytest.mark.parametrize("name", NAMES)
def test_an_upload_session_takes_a_file_from_a_page(backend: Backend, elsewhere: Path, name: str) -> None:
    content, page = b"audio" * 1000, "http://127.0.0.1:8090"
    address = backend.uploads.session(name, METADATA, size=len(content), content_type="audio/flac", origin=page)
    if address is None:
        assert backend.uploads.sessions_at is None
        pytest.skip("a folder has no sessions")
    assert address.startswith(f"{backend.uploads.sessions_at}/")
    asked = httpx.options(address, headers={"Origin": page, "Access-Control-Request-Method": "PUT"})
    assert asked.headers["access-control-allow-origin"] == page
    assert "PUT" in asked.headers["access-control-allow-methods"]
    how_much = httpx.put(address, headers={"Origin": page, "Content-Range": f"bytes */{len(content)}"})
    assert (how_much.status_code, how_much.headers.get("range")) == (308, None)  # nothing yet
    answer = httpx.put(address, content=content, headers={"Origin": page, "Content-Type": "audio/flac"})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == page
    source = backend.uploads.find(name)
    assert source is not None
    assert (source.size, source.content_type, source.metadata) == (len(content), "audio/flac", METADATA)
    assert source.generation == answer.json()["generation"]
    backend.uploads.download(source, elsewhere / "out")
    assert (elsewhere / "out").read_bytes() == content


@pytest.mark.parametrize("size", [0, 1, 9 * 1024 * 1024 + 1])
def test_a_file_of_any_size_is_downloaded_unchanged(backend: Backend, elsewhere: Path, size: int) -> None:
    content = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    (elsewhere / "in").write_bytes(content)
    source = backend.uploads.upload(elsewhere / "in", f"{size}.wav", {})
    backend.uploads.download(source, elsewhere / "out")
    assert (elsewhere / "out").read_bytes() == content
    assert source.metadata == {}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_can_be_read_at_any_position(backend: Backend, elsewhere: Path, name: str) -> None:
    content = bytes(range(256)) * 4000  # four chunks
    (elsewhere / "in").write_bytes(content)
    source = backend.uploads.upload(elsewhere / "in", name, {})
    with backend.uploads.open(source) as file:
        assert file.read(10) == content[:10]
        assert file.seek(-5, 2) == len(content) - 5
        assert file.read(100) == content[-5:]
        assert file.read(1) == b""
        file.seek(300_000)
        assert file.read(600_000) == content[300_000:900_000]
        assert file.tell() == 900_000


def test_an_empty_file_can_be_opened(backend: Backend, elsewhere: Path) -> None:
    (elsewhere / "in").touch()
    with backend.uploads.open(backend.uploads.upload(elsewhere / "in", "0.wav", {})) as file:
        assert file.read() == b""


def test_an_upload_under_the_same_name_is_another_recording(backend: Backend, elsewhere: Path) -> None:
    (elsewhere / "in").write_bytes(b"one")
    first = backend.uploads.upload(elsewhere / "in", "same.wav", {})
    tick()
    second = backend.uploads.upload(elsewhere / "in", "same.wav", {})
    assert int(second.generation) > int(first.generation)
    assert first.recording_id != second.recording_id
    assert first.uri == second.uri


def test_an_overwritten_generation_is_gone(backend: Backend, elsewhere: Path) -> None:
    (elsewhere / "in").write_bytes(b"one")
    first = backend.uploads.upload(elsewhere / "in", "over #?.wav", {})
    tick()
    (elsewhere / "in").write_bytes(b"two")
    backend.uploads.upload(elsewhere / "in", "over #?.wav", {})
    with pytest.raises(Rejected) as rejected:
        backend.uploads.download(first, elsewhere / "out")
    assert rejected.value.code is ErrorCode.OBJECT_GONE
    with pytest.raises(Rejected) as rejected, backend.uploads.open(first) as file:
        file.read(1)
    assert rejected.value.code is ErrorCode.OBJECT_GONE


def test_an_object_that_never_existed_is_gone(backend: Backend, elsewhere: Path) -> None:
    (elsewhere / "in").write_bytes(b"one")
    source = backend.uploads.upload(elsewhere / "in", "was.wav", {})
    other = source.model_copy(update={"name": "was-not.wav"})
    assert backend.uploads.find("was-not.wav") is None
    with pytest.raises(Rejected) as rejected:
        backend.uploads.download(other, elsewhere / "out")
    assert rejected.value.code is ErrorCode.OBJECT_GONE
    with pytest.raises(Rejected) as rejected, backend.uploads.open(other) as file:
        file.read(1)
    assert rejected.value.code is ErrorCode.OBJECT_GONE


def test_a_result_is_created_once(backend: Backend, elsewhere: Path) -> None:
    results, path = backend.results, f"{elsewhere.name}/r1/record.json"
    uri = results.create(path, "{«1»}".encode(), "application/json")
    assert uri == results.uri(path)
    assert results.create(path, b"{2}", "application/json") == uri
    assert results.read(uri) == "{«1»}".encode()


def test_a_result_that_was_never_created_is_not_found(backend: Backend) -> None:
    with pytest.raises(NotFound):
        backend.results.read(backend.results.uri("none/r1/record.json"))
    with pytest.raises(NotFound):
        backend.results.read("s3://another/address")


def test_delete_removes_exactly_one_generation_and_may_be_repeated(backend: Backend, elsewhere: Path) -> None:
    (elsewhere / "in").write_bytes(b"first")
    first = backend.uploads.upload(elsewhere / "in", ODD_NAME, METADATA)
    tick()
    (elsewhere / "in").write_bytes(b"second")
    second = backend.uploads.upload(elsewhere / "in", ODD_NAME, {})
    backend.uploads.delete(first)
    assert backend.uploads.find(ODD_NAME) == second
    backend.uploads.delete(second)
    backend.uploads.delete(second)
    assert backend.uploads.find(ODD_NAME) is None


def test_the_objects_of_a_prefix_are_listed(backend: Backend, elsewhere: Path) -> None:
    (elsewhere / "in").write_bytes(b"content")
    folder = f"listed-{uuid.uuid4().hex}"
    made = [backend.uploads.upload(elsewhere / "in", f"{folder}/{name}", {}) for name in ("b #1.wav", "a.wav", "c/d")]
    backend.uploads.upload(elsewhere / "in", f"x{folder}", {})
    assert {source.name for source in backend.uploads.objects(folder)} == {source.name for source in made}


def test_a_folder_of_results_is_deleted_and_its_neighbours_are_not(backend: Backend) -> None:
    kept = backend.results.create("rec_12/r1/record.json", b"kept", "application/json")
    gone = [backend.results.create(f"rec_1/r{n}/record.json", b"gone", "application/json") for n in (1, 2)]
    for _ in range(2):
        backend.results.delete("rec_1")
    for uri in gone:
        with pytest.raises(NotFound):
            backend.results.read(uri)
    assert backend.results.read(kept) == b"kept"
    backend.results.create("rec_1/r1/record.json", b"again", "application/json")
    backend.results.delete("rec_1")
    backend.results.delete("rec_12")


def test_metadata_that_was_changed_after_the_upload_is_read(backend: Backend, elsewhere: Path) -> None:
    (elsewhere / "in").write_bytes(b"audio")
    name = f"{uuid.uuid4().hex} #1.wav"
    source = backend.uploads.upload(elsewhere / "in", name, METADATA)
    assert backend.uploads.current(source) == source
    changed = {"language": "fr"}
    if isinstance(backend.uploads, FolderUploads):
        (backend.uploads.root / f"{name}.meta.json").write_text(json.dumps(changed))
    else:
        blob = storage.Client().bucket(source.bucket).get_blob(name)
        blob.metadata = {key: changed.get(key) for key in {**METADATA, **changed}}
        blob.patch()
    assert backend.uploads.current(source) == source.model_copy(update={"metadata": changed})
    tick()
    backend.uploads.upload(elsewhere / "in", name, METADATA)  # another generation
    with pytest.raises(Rejected) as caught:
        backend.uploads.current(source)
    assert caught.value.code is ErrorCode.OBJECT_GONE
