"""What only Google Cloud has: lost replies, time-to-live, files stored with gzip encoding."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import ServiceUnavailable
from google.cloud import firestore, storage
from google.cloud.firestore import DocumentReference

from speechpipe.backends import gcp
from speechpipe.backends.gcp.documents import from_document, to_document
from speechpipe.backends.gcp.firestore import FirestoreStore
from speechpipe.backends.gcp.indexes import COMPOSITE_INDEXES, TIME_TO_LIVE, UNINDEXED
from speechpipe.backends.gcp.storage import GcsUploads
from speechpipe.cli.quote import Estimate, estimates
from speechpipe.console.gunzip import Gunzip
from speechpipe.contract import Plan, Requeued, Source, Stage
from speechpipe.contract.errors import Busy
from speechpipe.contract.prices import preset
from speechpipe.pipeline.gunzip import download
from speechpipe.settings import FunctionSettings, WorkerSettings, read
from tests.backends.examples import LATER, NOW, finished, partial, recording
from tests.pipeline.test_probe import wav

pytestmark = pytest.mark.emulators


@pytest.fixture
def client(emulators: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[firestore.Client]:
    for key, value in emulators.items():
        monkeypatch.setenv(key, value)
    made = firestore.Client(project="test-gcp")
    yield made
    made.close()  # type: ignore[no-untyped-call]


@pytest.fixture
def store(client: firestore.Client) -> FirestoreStore:
    return FirestoreStore(client)


@pytest.fixture
def twice(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Send each write of a kind twice, as the library does if the reply to the first is lost."""

    def patch(method: str) -> None:
        original: Any = getattr(DocumentReference, method)

        def sent_twice(self: DocumentReference, *arguments: Any, **options: Any) -> Any:
            original(self, *arguments, **options)
            return original(self, *arguments, **options)

        monkeypatch.setattr(DocumentReference, method, sent_twice)

    return patch


def test_a_partial_whose_reply_was_lost_counts_as_created(store: FirestoreStore, twice: Callable[[str], None]) -> None:
    made = recording(101)
    store.create_recording(made)
    twice("create")
    assert store.create_partial(partial(made))
    assert not store.create_partial(partial(made, attempt=9))


def test_a_claim_whose_reply_was_lost_succeeds(store: FirestoreStore, twice: Callable[[str], None]) -> None:
    made = recording(102)
    store.create_recording(made)
    twice("create")
    first = store.claim(made.id, Stage.STT, 1, holder="a", now=NOW, until=LATER)
    twice("update")
    again = store.claim(made.id, Stage.STT, 1, holder="b", now=LATER, until=LATER + timedelta(minutes=1))
    extended = store.extend(again, LATER + timedelta(minutes=2))
    assert [a.holder for a in extended.attempts] == ["a", "b"]
    with pytest.raises(Busy):
        store.extend(first, LATER)
    store.release(extended, now=LATER, outcome="done")
    free = store.lease(made.id, Stage.STT, 1)
    assert free is not None
    assert [a.outcome for a in free.attempts] == ["expired", "done"]


def test_status_and_result_survive_a_lost_reply(store: FirestoreStore, twice: Callable[[str], None]) -> None:
    made = recording(103)
    store.create_recording(made)
    twice("update")
    store.begin(made.id, Stage.STT, attempt=1, at=NOW)
    store.finish(finished(made))
    store.mark_announced(made.id, 1, LATER)
    assert store.recording(made.id) == finished(made).model_copy(update={"announced_at": LATER})


def test_partials_and_leases_expire_with_their_recording(store: FirestoreStore, client: firestore.Client) -> None:
    made = recording(104)
    store.create_recording(made)
    store.create_partial(partial(made))
    store.create_partial(partial(made).model_copy(update={"part": Plan(seconds=3000, count=5).parts[3]}))
    store.claim(made.id, Stage.STT, 1, holder="a", now=NOW, until=LATER)
    for path in ("", "/partials/stt.r1", "/parts/stt.r1.p3", "/leases/stt.r1"):
        fields = client.document(f"recordings/{made.id}{path}").get().to_dict()
        assert fields is not None
        assert fields["expires_at"] == made.expires_at
    assert {group for group, _ in TIME_TO_LIVE} == {"recordings", "partials", "parts", "leases"}


def test_progress_that_cannot_be_written_never_stops_the_work(
    store: FirestoreStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = recording(106)
    store.create_recording(made)

    def away(*_: Any, **__: Any) -> None:
        raise ServiceUnavailable("away")  # type: ignore[no-untyped-call]

    monkeypatch.setattr(DocumentReference, "update", away)
    store.begin(made.id, Stage.STT, attempt=1, at=NOW)
    store.progress(made.id, Stage.STT, 0.5)
    store.requeued(made.id, Stage.STT, at=LATER, known=Requeued())
    with pytest.raises(ServiceUnavailable):
        store.finish(finished(made))
    assert store.recording(made.id) == made


def test_documents_hold_firestores_own_types() -> None:
    document = to_document(finished(recording()))
    allowed = {dict, list, str, int, float, bool, type(None), type(NOW)}

    def types(value: Any) -> Iterator[type]:
        yield type(value)
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            assert not (isinstance(value, list) and isinstance(item, list)), "a list in a list"
            yield from types(item)

    assert set(types(document)) <= allowed
    assert from_document(type(recording()), document) == finished(recording())


def test_every_indexed_field_exists() -> None:
    fields = set(to_document(recording()))
    for index in COMPOSITE_INDEXES:
        assert {name.split(".")[0] for name, _ in index} <= fields
    unindexed = {field for group, field in UNINDEXED if group == "recordings"}
    assert unindexed <= fields
    assert not unindexed & {name.split(".")[0] for index in COMPOSITE_INDEXES for name, _ in index}


@pytest.mark.parametrize("kind", [FunctionSettings, WorkerSettings])
def test_every_service_can_connect(emulators: dict[str, str], monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
    for key, value in emulators.items():
        monkeypatch.setenv(key, value)
    backend = gcp.connect(read(kind, emulators | {"SPEECHPIPE_STAGE": "stt"}))
    assert backend.store.recording("rec_none") is None


# -------------------------------------------------------------------------------------------------- gzip files


@pytest.fixture
def gcs(emulators: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    for key, value in emulators.items():
        monkeypatch.setenv(key, value)
    return storage.Client()


def test_objects_of_a_bucket_are_quoted_by_their_headers(gcs: Any) -> None:
    bucket = gcs.bucket("uploads")
    for name, content, metadata in [
        ("quoted/a #?.wav", wav(3600), {"emotion": "off"}),
        ("quoted/b.wav", b"", {}),
        ("quoted/", b"", {}),
        ("quoted-not", wav(1), {}),
    ]:
        blob = bucket.blob(name)
        blob.metadata = metadata
        blob.upload_from_string(content)

    def quoted(*targets: str) -> list[Estimate]:
        return estimates(targets, options={}, prices=preset("l4"), max_bytes=10**9, project="p")

    hour, empty = quoted("gs://uploads/quoted/")
    assert (hour.name, empty.name) == ("gs://uploads/quoted/a #?.wav", "gs://uploads/quoted/b.wav")
    assert hour.quote is not None
    assert hour.quote.audio_seconds == 3600
    assert list(hour.quote.compute_seconds) == [Stage.STT]
    assert empty.problem == "the file is empty (0 bytes)"
    assert [row.name for row in quoted("gs://uploads/quoted-not")] == ["gs://uploads/quoted-not"]
    assert [row.problem is None for row in quoted("gs://uploads/none", "gs://nobody/x")] == [False, False]


def test_reading_a_whole_file_takes_one_request(gcs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytes(range(256)) * 4000
    (tmp_path / "in").write_bytes(content)
    uploads = GcsUploads(gcs, "uploads")
    source = uploads.upload(tmp_path / "in", "whole #?.wav", {})
    asked: list[tuple[int, int]] = []
    fetch = storage.Blob.download_as_bytes

    def counted(self: Any, *, start: int, end: int, **how: Any) -> bytes:
        asked.append((start, end))
        part: bytes = fetch(self, start=start, end=end, **how)
        return part

    monkeypatch.setattr(storage.Blob, "download_as_bytes", counted)
    with uploads.open(source) as file:
        assert file.read() == content
        assert file.read() == b""
        assert file.seek(-10, 2) == len(content) - 10
        assert file.read() == content[-10:]
    assert asked == [(0, len(content) - 1), (len(content) - 10, len(content) - 1)]


def stored_gzip(gcs: Any, content: bytes) -> Source:
    """As `gcloud storage cp --gzip-local` stores it."""
    blob = gcs.bucket("uploads").blob("packed #?.wav")
    blob.content_encoding = "gzip"
    blob.upload_from_string(content, content_type="audio/x-wav")
    found = GcsUploads(gcs, "uploads").find(blob.name)
    assert found is not None
    return found


def test_a_file_stored_with_gzip_encoding_is_downloaded_as_it_is_stored(gcs: Any, tmp_path: Path) -> None:
    """The worker unpacks it (`pipeline/gunzip.py`), by its bytes: some objects are declared as gzip and are not."""
    for stored in (gzip.compress(b"RIFF" * 1_000_000), b"RIFF" * 1_000):
        GcsUploads(gcs, "uploads").download(stored_gzip(gcs, stored), tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == stored


@pytest.mark.parametrize("packed", [True, False], ids=["gzip of two members", "plain"])
def test_what_is_declared_as_gzip_is_unpacked_by_its_bytes(gcs: Any, tmp_path: Path, packed: bool) -> None:
    content = bytes(range(256)) * 4_000
    stored = gzip.compress(content[:99_999]) + gzip.compress(content[99_999:]) if packed else content
    source = stored_gzip(gcs, stored)
    download(source, tmp_path / "out", GcsUploads(gcs, "uploads"), max_bytes=len(content))
    assert (tmp_path / "out").read_bytes() == content


def test_any_part_of_a_file_stored_with_gzip_encoding_can_be_played(gcs: Any) -> None:
    content = bytes(range(256)) * 80_000
    source = stored_gzip(gcs, gzip.compress(content))
    with GcsUploads(gcs, "uploads").open(source) as file:
        unpacked = Gunzip().look(source, file)
        assert unpacked is not None
        assert unpacked.size == len(content)
        for first in (0, 1, 9_000_000, len(content) - 3):
            assert b"".join(unpacked.read(file, first, 1_000_000)) == content[first : first + 1_000_000]
