"""Uploads that are gzip files, of one member or several, declared so or not."""

from __future__ import annotations

import gzip
import io
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechpipe.backends.ports import Progress
from speechpipe.contract import Analysis, Options, Part, Stage
from speechpipe.contract.errors import ErrorCode, Rejected
from speechpipe.pipeline import gunzip
from speechpipe.pipeline.gunzip import Place, download, unpack
from tests.doubles import FixedEngine, source
from tests.simulation import MemoryUploads, Simulation

CONTENT = b"RIFF" + bytes(range(256)) * 4_000
HALF = len(CONTENT) // 2


def heard(stored: bytes, folder: Path, max_bytes: int = 10**7) -> bytes:
    """What a worker gets to hear of an object."""
    uploads = MemoryUploads()
    uploads.bodies["call.wav"] = stored
    download(source("call.wav", size=len(stored)), folder / "input", uploads, max_bytes=max_bytes)
    assert [path.name for path in folder.iterdir()] == ["input"]
    return (folder / "input").read_bytes()


@pytest.mark.parametrize(
    "stored",
    [
        CONTENT,
        gzip.compress(CONTENT),
        gzip.compress(CONTENT[:HALF]) + gzip.compress(CONTENT[HALF:]),
        gzip.compress(b"") + b"".join(gzip.compress(CONTENT[at : at + 999]) for at in range(0, len(CONTENT), 999)),
        gzip.compress(CONTENT) + bytes(4_000),
    ],
    ids=["plain", "one member", "two members", "many members", "padded"],
)
def test_all_of_a_packed_upload_is_heard(stored: bytes, tmp_path: Path) -> None:
    assert heard(stored, tmp_path) == CONTENT


@pytest.mark.parametrize(
    ("stored", "code", "words"),
    [
        (gzip.compress(CONTENT)[:-9], ErrorCode.DECODE_FAILED, "truncated gzip file"),
        (gzip.compress(CONTENT) + gzip.compress(CONTENT)[:-9], ErrorCode.DECODE_FAILED, "truncated gzip file"),
        (b"\x1f\x8bno gzip file", ErrorCode.DECODE_FAILED, "damaged"),
        (gzip.compress(b"\0" * 11_000_000), ErrorCode.TOO_LARGE, "unpacks to more than the allowed 10000000 bytes"),
        (gzip.compress(bytes(6_000_000)) * 2, ErrorCode.TOO_LARGE, "unpacks to more than the allowed 10000000 bytes"),
    ],
    ids=["cut off", "second member cut off", "damaged", "bomb", "bomb of two members"],
)
def test_what_cannot_be_unpacked_is_rejected_with_a_sentence(
    stored: bytes, code: ErrorCode, words: str, tmp_path: Path
) -> None:
    with pytest.raises(Rejected) as rejected:
        heard(stored, tmp_path)
    assert rejected.value.code is code
    assert words in rejected.value.message


def test_a_bomb_takes_no_memory() -> None:
    bomb = io.BytesIO(gzip.compress(bytes(100_000_000)))
    tracemalloc.start()
    try:
        assert sum(len(part) for part, _ in unpack(bomb, Place())) == 100_000_000
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_file_of_countless_members_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gunzip, "MAX_MEMBERS", 100)
    with pytest.raises(Rejected, match="more than 100 parts"):
        heard(gzip.compress(b"") * 101, tmp_path)


@given(st.lists(st.binary(max_size=40_000), min_size=1, max_size=5), st.data())
def test_unpacking_may_go_on_from_any_place(members: list[bytes], data: st.DataObject) -> None:
    file = io.BytesIO(b"".join(map(gzip.compress, members)))
    places, size = [(0, Place())], 0
    for part, place in unpack(file, Place()):
        size += len(part)
        places.append((size, place.copy()))
    before, place = data.draw(st.sampled_from(places))
    assert b"".join(part for part, _ in unpack(file, place.copy())) == b"".join(members)[before:]


@pytest.mark.parametrize(
    ("name", "given"), [("a/call.ULAW", "input.ulaw"), ("call.ulaw.gz", "input.ulaw"), ("a.mp3", "input")]
)
def test_an_engine_gets_nothing_of_the_name_but_an_ending_that_tells_the_format(name: str, given: str) -> None:
    sim = Simulation()
    got: list[str] = []

    def analyse(path: Path, options: Options, progress: Progress, part: Part | None = None) -> Analysis:
        got.append(path.name)
        return FixedEngine(Stage.STT)(path, options, progress)

    sim.engines[Stage.STT] = analyse
    sim.arrive(source(name, metadata={"emotion": "off"}))
    sim.settle()
    assert got == [given]
