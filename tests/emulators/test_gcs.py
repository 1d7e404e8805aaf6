"""The storage emulator, by HTTP and by Google's library; what other tools make of it is in `test_clients`."""

from __future__ import annotations

import gzip
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote as quoted

import httpx
import pytest
from google.api_core.exceptions import BadRequest, Forbidden, NotFound, PreconditionFailed
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage import transfer_manager
from hypothesis import given
from hypothesis import strategies as st

from speechpipe.emulators.gcs.formats import byte_range
from speechpipe.emulators.gcs.listing import Wanted, page
from speechpipe.emulators.gcs.server import Server
from tests.names import LONGEST_NAME, ODD_NAMES

CHUNK = 256 * 1024
NOISE = bytes(range(256)) * 4 * 1024  # 1 MiB


@dataclass
class Cloud:
    """Cloud Storage with a bucket `uploads`, and the objects that it announced."""

    server: Server
    http: httpx.Client
    bucket: Any
    announced: list[dict[str, Any]] = field(default_factory=list)

    def session(self, name: str, **headers: str) -> str:
        """Begin a resumable upload. Returns its address."""
        begun = self.http.post(f"/upload/storage/v1/b/uploads/o?uploadType=resumable&name={name}", headers=headers)
        assert begun.status_code == 200
        return str(begun.headers["location"])

    def send(self, session: str, content: bytes, range_: str, **headers: str) -> tuple[int, str | None]:
        """Send a part of a resumable upload. Returns the status and what the emulator has of it."""
        answer = self.http.put(session, content=content, headers={"content-range": range_, **headers})
        return answer.status_code, answer.headers.get("range")


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    announced: list[dict[str, Any]] = []
    with Server(0, announced.append) as server:
        server.store.create_bucket("uploads")
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        at = f"http://127.0.0.1:{server.server_port}"
        credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
        client = storage.Client(project="any", credentials=credentials, client_options={"api_endpoint": at})
        with httpx.Client(base_url=at) as http:
            yield Cloud(server, http, client.bucket("uploads"), announced)
        client.close()
        server.shutdown()


def test_a_resumable_upload_goes_on_where_the_emulator_says(cloud: Cloud) -> None:
    content, session = NOISE[: 2 * CHUNK + 100], cloud.session("a.wav")
    size = len(content)
    assert cloud.send(session, b"", f"bytes */{size}") == (308, None)
    assert cloud.send(session, content[: CHUNK + 100], f"bytes 0-{CHUNK + 99}/{size}") == (308, f"bytes=0-{CHUNK - 1}")
    assert cloud.send(session, b"", "bytes */*") == (308, f"bytes=0-{CHUNK - 1}")
    assert cloud.send(session, content[CHUNK + 1 :], f"bytes {CHUNK + 1}-{size - 1}/{size}")[0] == 503  # a gap
    assert cloud.announced == []
    assert cloud.send(session, content[1:], f"bytes 1-{size - 1}/{size}")[0] == 200  # some of it again
    assert cloud.send(session, b"", f"bytes */{size}")[0] == 200  # the answer was lost
    assert [(obj["name"], obj["size"]) for obj in cloud.announced] == [("a.wav", str(size))]
    assert cloud.bucket.blob("a.wav").download_as_bytes() == content


def test_a_resumable_upload_may_be_of_unknown_size_empty_or_given_up(cloud: Cloud) -> None:
    session = cloud.session("unknown.wav")
    assert cloud.send(session, NOISE[:CHUNK], f"bytes 0-{CHUNK - 1}/*") == (308, f"bytes=0-{CHUNK - 1}")
    assert cloud.send(session, b"end", f"bytes {CHUNK}-{CHUNK + 2}/{CHUNK + 3}")[0] == 200
    assert cloud.send(cloud.session("empty.wav"), b"", "bytes */0")[0] == 200
    given_up = cloud.session("given-up.wav")
    assert cloud.http.delete(given_up).status_code == 499
    assert cloud.send(given_up, b"", "bytes */*")[0] == 404
    assert [obj["size"] for obj in cloud.announced] == [str(CHUNK + 3), "0"]


def test_go_s_library_gets_its_308_as_a_200(cloud: Cloud) -> None:
    asked = {"content-range": f"bytes 0-{CHUNK - 1}/*", "x-guploader-no-308": "yes"}
    answer = cloud.http.post(cloud.session("go.wav"), content=NOISE[:CHUNK], headers=asked)
    assert (answer.status_code, answer.headers["x-http-status-code-override"]) == (200, "308")
    assert answer.headers["range"] == f"bytes=0-{CHUNK - 1}"


@pytest.mark.parametrize("quote", ["'", '"', ""])
def test_a_multipart_upload_keeps_every_byte(cloud: Cloud, quote: str) -> None:
    content = b"\r\n--b=\r\n\n--\r\n--b==x\r\n" + NOISE[:1000] + b"\r\n"
    head = b'--b==\r\nContent-Type: application/json\r\n\r\n{"name": "m.wav", "metadata": {"language": "de"}}\r\n'
    head += b"--b==\r\nContent-Type: audio/wav\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    answer = cloud.http.post(
        "/upload/storage/v1/b/uploads/o?uploadType=multipart",
        content=head + content + b"\r\n--b==--",
        headers={"content-type": f"multipart/related; boundary={quote}b=={quote}"},
    )
    assert answer.status_code == 200
    blob = cloud.bucket.get_blob("m.wav")
    assert (blob.content_type, blob.metadata) == ("audio/wav", {"language": "de"})
    assert blob.download_as_bytes() == content


def test_content_that_is_not_what_its_hash_says_is_not_stored(cloud: Cloud) -> None:
    wrong = "crc32c=AAAAAA==,md5=AAAAAAAAAAAAAAAAAAAAAA=="
    at = "/upload/storage/v1/b/uploads/o?uploadType=media&name=h.wav"
    answer = cloud.http.post(at, content=b"RIFF", headers={"x-goog-hash": wrong})
    assert answer.status_code == 400
    assert "doesn't match" in answer.json()["error"]["message"]
    assert cloud.send(cloud.session("h.wav"), b"RIFF", "bytes 0-3/4", **{"x-goog-hash": wrong})[0] == 400
    assert cloud.http.put("/uploads/h.wav", content=b"RIFF", headers={"content-md5": "AAAA"}).status_code == 400
    assert (cloud.announced, cloud.bucket.blob("h.wav").exists()) == ([], False)


def test_preconditions_hold_for_every_method(cloud: Cloud) -> None:
    blob = cloud.bucket.blob("p.wav")
    blob.upload_from_string(b"1", if_generation_match=0)
    old = blob.generation
    blob.upload_from_string(b"2", if_generation_match=old)
    assert blob.generation > old
    other = cloud.bucket.blob("q.wav")
    refused: list[Callable[[], object]] = [
        lambda: blob.upload_from_string(b"3", if_generation_match=0),
        lambda: blob.upload_from_string(b"3", if_generation_match=old),
        lambda: blob.upload_from_string(b"3", if_metageneration_match=2),
        lambda: other.upload_from_string(b"3", if_generation_match=old),
        lambda: blob.patch(if_metageneration_match=2),
        lambda: blob.delete(if_generation_match=old),
        lambda: blob.reload(if_generation_match=old),
        lambda: blob.download_as_bytes(if_generation_match=old),
        lambda: blob.compose([blob], if_generation_match=0),
        lambda: other.compose([blob], if_source_generation_match=[old]),
        lambda: other.rewrite(blob, if_source_generation_match=old),
        lambda: blob.rewrite(blob, if_generation_match=0),
        lambda: blob.create_resumable_upload_session(if_generation_match=0),
    ]
    for attempt in refused:
        with pytest.raises(PreconditionFailed):
            attempt()
    assert blob.download_as_bytes() == b"2"
    assert cloud.http.get(f"/storage/v1/b/uploads/o/p.wav?ifGenerationNotMatch={blob.generation}").status_code == 304
    for gone in (cloud.bucket.blob("p.wav", generation=old), other):
        with pytest.raises(NotFound):
            gone.download_as_bytes()
    assert [obj["name"] for obj in cloud.announced] == ["p.wav", "p.wav"]


def test_a_composed_object_has_no_md5_and_counts_its_components(cloud: Cloud) -> None:
    one, two, both = (cloud.bucket.blob(name) for name in ("one", "two", "both.wav"))
    one.upload_from_string(b"RI")
    two.upload_from_string(b"FF")
    both.content_type = "audio/wav"
    both.compose([one, two, one])
    whole = cloud.bucket.blob("whole")
    whole.upload_from_string(b"RIFFRI")
    both.reload()
    assert (both.md5_hash, both.component_count, both.crc32c) == (None, 3, whole.crc32c)
    assert both.download_as_bytes() == b"RIFFRI"
    with pytest.raises(BadRequest, match="33"):
        both.compose([one] * 33)
    with pytest.raises(NotFound):
        both.compose([one, cloud.bucket.blob("missing")])


def test_a_copy_has_the_fields_and_a_generation_of_its_own(cloud: Cloud) -> None:
    blob = cloud.bucket.blob("a.wav")
    blob.metadata = {"language": "de"}
    blob.upload_from_string(b"RIFF", content_type="audio/wav")
    first = blob.generation
    copied = cloud.bucket.copy_blob(blob, cloud.bucket, "folder/b.wav")
    assert (copied.metadata, copied.content_type, copied.crc32c) == ({"language": "de"}, "audio/wav", blob.crc32c)
    blob.update_storage_class("NEARLINE")
    assert (blob.storage_class, blob.metadata) == ("NEARLINE", {"language": "de"})
    assert blob.generation > copied.generation > first
    blob.metadata = {"language": None, "ref": "7"}
    blob.patch()
    assert (blob.metadata, blob.metageneration) == ({"ref": "7"}, 2)
    assert [obj["name"] for obj in cloud.announced] == ["a.wav", "folder/b.wav", "a.wav"]  # a patch is no new object


def test_an_object_on_hold_stays(cloud: Cloud) -> None:
    blob = cloud.bucket.blob("held.wav")
    blob.upload_from_string(b"RIFF")
    blob.temporary_hold = True
    blob.patch()
    for attempt in (blob.delete, lambda: blob.upload_from_string(b"other")):
        with pytest.raises(Forbidden, match="hold"):
            attempt()
    blob.temporary_hold = False
    blob.patch()
    blob.delete()


def test_gzip_is_unpacked_for_those_who_do_not_take_it(cloud: Cloud) -> None:
    packed = gzip.compress(b"RIFF" * 100)
    blob = cloud.bucket.blob("z.wav")
    blob.content_encoding = "gzip"
    blob.upload_from_string(packed)
    at = "/storage/v1/b/uploads/o/z.wav?alt=media"
    plain = cloud.http.get(at, headers={"accept-encoding": "identity", "range": "bytes=0-3"})
    assert (plain.status_code, plain.content, "content-encoding" in plain.headers) == (200, b"RIFF" * 100, False)
    assert blob.download_as_bytes(raw_download=True) == packed
    assert blob.download_as_bytes() == b"RIFF" * 100
    assert blob.download_as_bytes(start=0, end=1, raw_download=True, checksum=None) == packed[:2]
    sent = cloud.http.post(
        "/upload/storage/v1/b/uploads/o?uploadType=media&name=t.wav",
        content=packed,
        headers={"content-encoding": "gzip"},
    )
    assert sent.json()["size"] == "400"  # packed only for the way


@given(size=st.integers(0, 9), first=st.integers(0, 12) | st.none(), last=st.integers(0, 12) | st.none())
def test_ranges(size: int, first: int | None, last: int | None) -> None:
    content = range(size)
    asked = byte_range(f"bytes={'' if first is None else first}-{'' if last is None else last}", size)
    if first is None and last is None:
        expected = None
    elif first is None:
        expected = content[max(0, size - (last or 0)) :]
    elif last is not None and last < first:
        expected = None
    else:
        expected = content[first : None if last is None else last + 1]
    assert (None if asked is None else list(asked)) == (None if expected is None else list(expected))


def test_a_range_beyond_the_end_cannot_be_satisfied(cloud: Cloud) -> None:
    cloud.bucket.blob("r.wav").upload_from_string(b"0123456789")
    for asked, status, told, content in [
        ("bytes=2-4", 206, "bytes 2-4/10", b"234"),
        ("bytes=-3", 206, "bytes 7-9/10", b"789"),
        ("bytes=8-99", 206, "bytes 8-9/10", b"89"),
        ("bytes=10-", 416, "bytes */10", None),
        ("lines=1-2", 200, None, b"0123456789"),
    ]:
        answer = cloud.http.get("/download/storage/v1/b/uploads/o/r.wav?alt=media", headers={"range": asked})
        assert (answer.status_code, answer.headers.get("content-range")) == (status, told)
        assert content is None or answer.content == content


NAME = st.text("ab/", min_size=1, max_size=5)


@given(
    names=st.sets(NAME), prefix=st.text("ab/", max_size=2), delimiter=st.sampled_from(["", "/"]), trailing=st.booleans()
)
def test_the_pages_of_a_listing_are_the_whole(names: set[str], prefix: str, delimiter: str, trailing: bool) -> None:
    found = sorted(name for name in names if name.startswith(prefix))
    folded = {name: delimiter and name[len(prefix) :].partition(delimiter) for name in found}
    prefixes = sorted({prefix + head + sep for head, sep, _ in (cut for cut in folded.values() if cut) if sep})
    items = [name for name in found if not (folded[name] and folded[name][1]) or (trailing and name in prefixes)]
    listed: tuple[list[str], list[str]] = ([], [])
    after: str | None = ""
    while after is not None:
        wanted = Wanted(prefix=prefix, delimiter=delimiter, trailing=trailing, after=after, size=2)
        part = page({name: {"name": name} for name in names}, wanted)
        assert 0 < len(part.items) + len(part.prefixes) <= 3 or part.following is None  # a folder and its own object
        listed[0].extend(item["name"] for item in part.items)
        listed[1].extend(part.prefixes)
        after = part.following
    assert listed == (items, prefixes)


def test_google_s_library_turns_the_pages(cloud: Cloud) -> None:
    for name in ("a/1", "a/2", "b", "c/", "c/1"):
        cloud.bucket.blob(name).upload_from_string(b"")
    listing = cloud.bucket.list_blobs(delimiter="/", page_size=1)
    assert ([blob.name for blob in listing], listing.prefixes) == (["b"], {"a/", "c/"})
    assert [blob.name for blob in cloud.bucket.list_blobs(start_offset="a/2", end_offset="c/", page_size=1)] == [
        "a/2",
        "b",
    ]
    with pytest.raises(NotFound, match="bucket does not exist"):
        list(cloud.bucket.client.list_blobs("elsewhere"))


def test_a_batch_carries_out_what_it_can(cloud: Cloud) -> None:
    for name in ("one #1.wav", "two.wav"):
        cloud.bucket.blob(name).upload_from_string(b"RIFF")
    batch = cloud.bucket.client.batch(raise_exception=False)
    with batch:
        for name in ("one #1.wav", "missing.wav", "two.wav"):
            cloud.bucket.blob(name).delete()
    assert list(cloud.bucket.list_blobs()) == []
    assert [answer.status_code for answer in batch._responses] == [204, 404, 204]


def test_an_upload_in_parts_is_one_object(cloud: Cloud, tmp_path: Path) -> None:
    file = tmp_path / "large.wav"
    file.write_bytes(NOISE * 12)
    blob = cloud.bucket.blob("large.wav")
    blob.metadata = {"ref": "Fall 7, Ä"}
    options = {"chunk_size": 5 * len(NOISE), "worker_type": transfer_manager.THREAD}
    transfer_manager.upload_chunks_concurrently(str(file), blob, **options)
    blob.reload()
    assert (blob.size, blob.metadata, blob.md5_hash) == (12 * len(NOISE), {"ref": "Fall 7, Ä"}, None)
    assert [obj["name"] for obj in cloud.announced] == ["large.wav"]
    again = tmp_path / "again.wav"
    transfer_manager.download_chunks_concurrently(blob, str(again), **options)
    assert again.read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    "name", [*ODD_NAMES, LONGEST_NAME, "a//b", "a/../b", "/a", "a/", "...", "x/compose", "b/c/o/d"]
)
def test_a_name_is_one_object_by_every_way(cloud: Cloud, name: str) -> None:
    blob = cloud.bucket.blob(name)
    blob.upload_from_string(name)
    assert [found.name for found in cloud.bucket.list_blobs()] == [name]
    assert cloud.bucket.get_blob(name).download_as_text() == name  # by its mediaLink
    assert cloud.http.get(f"/uploads/{quoted(name, safe='')}").text == name
    blob.delete()
    assert list(cloud.bucket.list_blobs()) == []


UPLOAD = "/upload/storage/v1/b/uploads/o?uploadType="


@pytest.mark.parametrize(
    ("method", "path", "headers", "body"),
    [
        ("POST", UPLOAD + "media", {}, b"no name"),
        ("POST", UPLOAD + "media&name=", {}, b""),
        ("POST", UPLOAD + "media&name=" + "x" * 1025, {}, b""),
        ("POST", UPLOAD + "other&name=a", {}, b""),
        ("POST", UPLOAD + "media&name=a&ifGenerationMatch=x", {}, b""),
        ("POST", UPLOAD + "media&name=a", {"content-encoding": "gzip"}, b"not gzip"),
        ("POST", UPLOAD + "multipart", {"content-type": "multipart/related"}, b"--x--"),
        ("POST", UPLOAD + "multipart", {"content-type": "multipart/related; boundary=x"}, b"--x\r\n\r\n{}\r\n--x\r\n"),
        ("POST", UPLOAD + "multipart", {"content-type": "multipart/related; boundary=x"}, b"--x\r\n\r\n{}\r\n--x--"),
        ("POST", UPLOAD + "resumable", {}, b"[1]"),
        ("POST", UPLOAD + "resumable", {}, b'{"name": 1}'),
        ("POST", UPLOAD + "resumable", {}, b'{"name": "a", "metadata": "b"}'),
        ("PUT", "/upload/storage/v1/b/uploads/o?upload_id=none", {}, b""),
        ("POST", "/storage/v1/b/uploads/o/a/compose", {}, b'{"sourceObjects": [1]}'),
        ("POST", "/storage/v1/b/uploads/o/a/compose", {}, b'{"sourceObjects": []}'),
        ("POST", "/storage/v1/b/uploads/o/a/compose", {}, b"{"),
        ("PATCH", "/storage/v1/b/uploads/o/a", {}, b"\xff"),
        ("POST", "/storage/v1/b", {}, b"{}"),
        ("GET", "/storage/v1/b/uploads/o?maxResults=many", {}, b""),
        ("GET", "/storage/v1/b/uploads/o/a?generation=1e3", {}, b""),
        ("POST", "/batch/storage/v1", {"content-type": "multipart/mixed; boundary=x"}, b""),
        ("PUT", "/uploads/a?partNumber=0&uploadId=none", {}, b""),
        ("POST", "/uploads/a?uploadId=none", {}, b""),
        ("GET", "/uploads/a", {"x-goog-if-generation-match": "x"}, b""),
    ],
)
def test_a_request_that_makes_no_sense_is_told_so_and_nothing_is_stored(
    cloud: Cloud, method: str, path: str, headers: dict[str, str], body: bytes
) -> None:
    answer = cloud.http.request(method, path, headers=headers, content=body)
    assert answer.status_code in (400, 404)
    message = (
        re.search("<Message>(.+)</Message>", answer.text) if path.startswith("/uploads/") else answer.json()["error"]
    )
    assert message
    assert cloud.http.get("/storage/v1/b/uploads/o").json() == {"kind": "storage#objects"}


def test_a_session_refuses_a_range_that_it_cannot_read_and_more_than_was_announced(cloud: Cloud) -> None:
    session = cloud.session("a.wav")
    assert cloud.send(session, b"RIFF", "bytes 0-3")[0] == 400
    assert cloud.send(session, b"RIFF", "bytes 0-3/2")[0] == 400
    assert cloud.announced == []


def test_what_the_emulator_cannot_do_it_says(cloud: Cloud) -> None:
    for path in ("/storage/v1/b/uploads/notificationConfigs", "/storage/v1/b/uploads/o?matchGlob=*", "/upload"):
        answer = cloud.http.get(path)
        assert (answer.status_code, "emulator" in answer.json()["error"]["message"]) == (501, True)


def test_a_request_cut_off_stores_nothing(cloud: Cloud) -> None:
    at = f"POST {UPLOAD}media&name=cut.wav HTTP/1.1\r\nHost: x\r\n"
    for head, body in [("Content-Length: 10", b"RIFF"), ("Transfer-Encoding: chunked", b"4\r\nRIFF\r\nx\r\n")]:
        with socket.create_connection(("127.0.0.1", cloud.server.server_port)) as connection:
            connection.sendall(f"{at}{head}\r\n\r\n".encode() + body)
            connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as reader:
                assert reader.readline().startswith(b"HTTP/1.1 400")
    assert cloud.announced == []


def test_a_body_in_chunks_is_read_whole(cloud: Cloud) -> None:
    answer = cloud.http.post(UPLOAD + "media&name=c.wav", content=iter([b"RI", b"FF"]))
    assert answer.json()["size"] == "4"


def test_a_page_of_this_machine_may_upload_and_no_other(cloud: Cloud) -> None:
    for origin, allowed in [("http://localhost:8090", "http://localhost:8090"), ("https://example.com", None)]:
        answer = cloud.http.options("/upload", headers={"origin": origin})
        assert (answer.status_code, answer.headers.get("access-control-allow-origin")) == (204, allowed)
