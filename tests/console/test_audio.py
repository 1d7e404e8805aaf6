"""The console plays files of any size through Cloud Run, which passes on at most 32 MiB in one piece."""

from __future__ import annotations

import gzip
import random
import re

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient

from speechpipe.console import gunzip
from speechpipe.console.pieces import PIECE_BYTES, Pieces
from speechpipe.emulators.front import MAX_ANSWER_BYTES, CutAnswers
from tests.console.conftest import Visitor

MIB = 1024**2
SIZE = MAX_ANSWER_BYTES + 3 * MIB + 1
#: Half of it noise, which gzip leaves as it is, and half of it one tone.
CONTENT = random.Random(1).randbytes(SIZE // 2) + b"\x00\x7f" * ((SIZE - SIZE // 2) // 2)


def get(visitor: Visitor, recording_id: str, requested: str | None = None) -> httpx.Response:
    return visitor.http.get(f"/recordings/{recording_id}/audio", headers={"range": requested} if requested else {})


#: What a bucket may have of CONTENT.
STORED = {
    "as it is": CONTENT,
    "stored as gzip": gzip.compress(CONTENT, 1),
    "in three members": b"".join(
        gzip.compress(part, 1) for part in (CONTENT[:1], CONTENT[1 : SIZE // 3], CONTENT[SIZE // 3 :])
    ),
}


@pytest.fixture(params=STORED)
def stored(request: pytest.FixtureRequest) -> bytes:
    """CONTENT as a bucket has it."""
    return STORED[request.param]


def test_a_browser_gets_a_large_file_piece_by_piece(visitor: Visitor, stored: bytes) -> None:
    recording_id = visitor.finish(stored)
    heard = b""
    while len(heard) < len(CONTENT):
        answer = get(visitor, recording_id, f"bytes={len(heard)}-")
        last = min(len(heard) + PIECE_BYTES, len(CONTENT)) - 1
        assert answer.status_code == 206
        assert answer.headers["content-range"] == f"bytes {len(heard)}-{last}/{len(CONTENT)}"
        assert int(answer.headers["content-length"]) == len(answer.content) <= PIECE_BYTES
        heard += answer.content
    assert heard == CONTENT


def test_any_range_of_a_large_file_is_its_beginning(visitor: Visitor, stored: bytes) -> None:
    recording_id = visitor.finish(stored)
    rng = random.Random(2)
    starts = [0, PIECE_BYTES - 1, PIECE_BYTES, len(CONTENT) - 1, *(rng.randrange(len(CONTENT)) for _ in range(8))]
    for first in starts:
        answer = get(visitor, recording_id, f"bytes={first}-{first + 70_000}")
        assert answer.content == CONTENT[first : first + 70_001]
        last = min(first + 70_000, len(CONTENT) - 1)
        assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(CONTENT)}"
    end = get(visitor, recording_id, f"bytes=-{PIECE_BYTES + 5}")  # the beginning of the end, the rest on request
    assert end.content == CONTENT[-PIECE_BYTES - 5 :][:PIECE_BYTES]
    assert get(visitor, recording_id, f"bytes={len(CONTENT)}-").status_code == 416


def test_a_large_file_that_is_fetched_whole_comes_in_chunks(visitor: Visitor, stored: bytes) -> None:
    recording_id = visitor.finish(stored)
    whole = get(visitor, recording_id)
    assert (whole.status_code, whole.headers.get("content-length")) == (200, None)
    assert whole.headers["transfer-encoding"] == "chunked"
    assert whole.content == CONTENT
    head = visitor.http.head(f"/recordings/{recording_id}/audio")
    assert (head.status_code, head.content, head.headers.get("content-length")) == (200, b"", None)


@pytest.mark.parametrize(("size", "length"), [(PIECE_BYTES, str(PIECE_BYTES)), (PIECE_BYTES + 1, None)])
def test_every_other_answer_of_more_than_a_piece_comes_in_chunks_too(size: int, length: str | None) -> None:
    client = TestClient(Pieces(Response(b"x" * size)))
    answer = client.get("/")
    assert (len(answer.content), answer.headers.get("content-length")) == (size, length)


def test_cloud_run_would_cut_off_an_answer_of_more_than_32_mib_with_its_length() -> None:
    async def app(scope: dict[str, object], receive: object, send: object) -> None:
        await Response(b"x" * int(Request(scope).query_params["size"]))(scope, receive, send)  # type: ignore[arg-type]

    client = TestClient(CutAnswers(app))
    assert len(client.get("/", params={"size": MAX_ANSWER_BYTES}).content) == MAX_ANSWER_BYTES
    cut = client.get("/", params={"size": MAX_ANSWER_BYTES + 1})
    assert (cut.status_code, cut.text.partition(".")[0]) == (500, "Response size was too large")


def test_a_damaged_gzip_file_is_refused_with_a_sentence(visitor: Visitor) -> None:
    packed = bytearray(gzip.compress(CONTENT[:MIB]))
    packed[5_000:6_000] = bytes(1_000)
    answer = get(visitor, visitor.finish(bytes(packed)), "bytes=0-")
    assert answer.status_code == 422
    assert re.search("damaged gzip file", answer.json()["error"])


def test_what_is_there_of_a_truncated_gzip_file_is_played(visitor: Visitor) -> None:
    packed = gzip.compress(CONTENT[:MIB])
    answer = get(visitor, visitor.finish(packed[: len(packed) // 2]), "bytes=0-")
    assert answer.status_code == 206
    assert len(answer.content) > MIB // 4
    assert CONTENT.startswith(answer.content)


def test_a_gzip_bomb_is_refused_before_it_has_unpacked(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gunzip, "MAX_UNPACKED_BYTES", 64 * MIB)
    recording_id = visitor.finish(gzip.compress(bytes(65 * MIB)))
    answer = get(visitor, recording_id, "bytes=0-")
    assert (answer.status_code, answer.json()["error"]) == (422, "the file unpacks to more than can be played")


def test_more_gzip_files_than_are_remembered_are_all_played(visitor: Visitor) -> None:
    contents = [f"file {number} ".encode() * 1_000 for number in range(gunzip.FILES_KEPT + 2)]
    ids = [visitor.finish(gzip.compress(content), f"{number}.wav") for number, content in enumerate(contents)]
    for _ in range(2):
        assert [get(visitor, each, "bytes=0-").content for each in ids] == contents
