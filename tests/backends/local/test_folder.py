from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from speechpipe.backends.local import connect
from speechpipe.backends.local.folder import METADATA_SUFFIX
from speechpipe.contract.errors import ErrorCode, NotFound, Rejected

ODD_NAMES = [
    "a b.wav",
    "a#b?c%20.wav",
    "line\nbreak.wav",
    "🎙 Grüße.wav",
    "a\u202egnp.wav",
    "deep/er/call.wav",
    "-rf.wav",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_survive_unchanged(folder: Path, audio: Path, name: str) -> None:
    uploads = connect(folder).uploads
    source = uploads.upload(audio, name, {"ref": "ü"})
    assert source.name == name
    assert uploads.find(name) == source
    into = folder.parent / "copy"
    uploads.download(source, into)
    assert into.read_bytes() == b"audio"
    assert source.metadata == {"ref": "ü"}


@pytest.mark.parametrize("name", ["../outside.wav", "/etc/passwd", "", ".", "x/../../outside"])
def test_a_name_outside_the_folder_is_refused(folder: Path, audio: Path, name: str) -> None:
    with pytest.raises(NotFound):
        connect(folder).uploads.upload(audio, name, {})


def test_an_overwritten_or_deleted_generation_is_gone(folder: Path, audio: Path) -> None:
    uploads = connect(folder).uploads
    first = uploads.upload(audio, "call.wav", {})
    os.utime(folder / "call.wav", ns=(1, 1))
    for deleted in (False, True):
        if deleted:
            (folder / "call.wav").unlink()
        with pytest.raises(Rejected) as caught:
            uploads.download(first, folder.parent / "copy")
        assert caught.value.code == ErrorCode.OBJECT_GONE


def test_uploading_again_without_options_forgets_the_old_ones(folder: Path, audio: Path) -> None:
    uploads = connect(folder).uploads
    uploads.upload(audio, "call.wav", {"language": "de"})
    assert uploads.upload(audio, "call.wav", {}).metadata == {}


@pytest.mark.parametrize(
    "content", [b"{", b"[1]", b"\xff\xfe", b"[" * 60_000, b'{"ref": "\\ud800"}', b'{"\\ud800": "a"}', b" " * 70_000]
)
def test_unreadable_metadata_is_not_ignored(folder: Path, audio: Path, content: bytes) -> None:
    uploads = connect(folder).uploads
    uploads.upload(audio, "call.wav", {})
    (folder / f"call.wav{METADATA_SUFFIX}").write_bytes(content)
    source = uploads.find("call.wav")
    assert source is not None
    assert list(source.metadata) == [METADATA_SUFFIX]  # no known option: ingest rejects it with these words


def test_a_folder_in_place_of_metadata_is_reported_too(folder: Path, audio: Path) -> None:
    uploads = connect(folder).uploads
    uploads.upload(audio, "call.wav", {})
    (folder / f"call.wav{METADATA_SUFFIX}").mkdir()
    assert [list(source.metadata) for source in uploads.objects()] == [[METADATA_SUFFIX]]


def test_metadata_of_any_json_becomes_text(folder: Path, audio: Path) -> None:
    uploads = connect(folder).uploads
    uploads.upload(audio, "call.wav", {})
    written = json.dumps({"emotion": [0, 1], "priority": 1, "hotwords": ["Köln", "Bonn"], "urgent": True, "ref": None})
    (folder / f"call.wav{METADATA_SUFFIX}").write_text("\ufeff" + written, encoding="utf-8")
    source = uploads.find("call.wav")
    assert source is not None
    assert source.metadata == {"emotion": "0, 1", "priority": "1", "hotwords": "Köln, Bonn", "urgent": "true"}


def test_results_are_read_from_their_folder_only(folder: Path) -> None:
    results = connect(folder).results
    uri = results.create("a/r1/record.json", b"{}", "application/json")
    assert results.read(uri) == b"{}"
    for other in ("file:///etc/passwd", uri + ".not", uri.replace("record.json", "../../../../state.sqlite3")):
        with pytest.raises(NotFound):
            results.read(other)
