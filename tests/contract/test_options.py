from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speechpipe.contract import Options, Stage
from speechpipe.contract.errors import ErrorCode, Rejected
from speechpipe.contract.options import parse_options, unknown_options


def test_no_metadata_means_the_defaults() -> None:
    options = parse_options({})
    assert options == Options()
    assert options.stages == (Stage.STT, Stage.SER)


def test_every_option_is_read() -> None:
    given_ = {
        "Language": "DE",
        "task": "translate",
        "hotwords": "Grüße, Köln",
        "initial-prompt": "A call.",
        "channels": "split",
        "emotion": "1, 0",
        "track": "2",
        "ref": "case-7",
    }
    assert parse_options(given_) == Options(
        language="de",
        task="translate",
        hotwords="Grüße, Köln",
        initial_prompt="A call.",
        channels="split",
        emotion=(0, 1),
        track=2,
        ref="case-7",
    )


def test_emotion_off_asks_for_the_transcript_alone() -> None:
    assert parse_options({"emotion": "off"}).stages == (Stage.STT,)


@pytest.mark.parametrize(
    ("metadata", "parts"),
    [
        ({"langage": "en"}, ["'langage'", "'en'", "language, task", "'language' was probably meant"]),
        ({"Langauge": "en"}, ["'Langauge'", "'language' was probably meant"]),
        ({"initial_prompt": "A call."}, ["'initial-prompt' was probably meant"]),
        ({"hot-words": "Köln"}, ["'hotwords' was probably meant"]),
        ({"channel": "split"}, ["'channels' was probably meant"]),
        ({"emotions": "off"}, ["'emotion' was probably meant"]),
        ({"tasks": "translate"}, ["'task' was probably meant"]),
        ({".meta.json": "not JSON\x1b"}, [".meta.json", "'not JSON\\x1b'"]),
        ({"language": "klingon"}, ["'language'", "'klingon'", "auto", " en "]),
        ({"task": "summarise"}, ["'task'", "'summarise'", "transcribe or translate"]),
        ({"channels": "stereo"}, ["'channels'", "mix or split"]),
        ({"emotion": "loud"}, ["'emotion'", "'loud'", "on, off"]),
        ({"emotion": "1"}, ["'emotion'", "channels=split"]),
        ({"emotion": "-1", "channels": "split"}, ["'emotion'", "'-1'"]),
        ({"track": "0"}, ["'track'", "'0'", "1 to 999"]),
        ({"track": "second"}, ["'track'", "'second'"]),
        ({"tracks": "2"}, ["'track' was probably meant"]),
        ({"hotwords": ""}, ["'hotwords'", "printable"]),
        ({"initial-prompt": "x" * 1001}, ["'initial-prompt'", "1000"]),
        ({"ref": "a\x1b[31m"}, ["'ref'", "printable"]),
    ],
)
def test_an_error_says_what_was_given_and_what_is_allowed(metadata: dict[str, str], parts: list[str]) -> None:
    with pytest.raises(Rejected) as caught:
        parse_options(metadata)
    assert caught.value.code == ErrorCode.INVALID_OPTION
    for part in parts:
        assert part in caught.value.message


@pytest.mark.parametrize("key", ["goog-reserved-file-mtime", "gcsfuse_mtime", "firebaseStorageDownloadTokens"])
def test_keys_that_upload_tools_add_are_ignored(key: str) -> None:
    assert parse_options({key: "1763800000"}) == Options()


#: Names that tools write on every file that they copy, with values of their form.
TOOLS = {
    "rclone": {"mtime": "2026-01-05T09:59:58.000000000Z"},
    "rclone -M": {"btime": "2026-01-05T09:59:58Z", "mode": "100644", "uid": "1000", "gid": "1000", "atime": "1.5"},
    "DataSync": {
        "file-mtime": "1763800000000000000ns",
        "file-atime": "1763800000000000000ns",
        "file-owner": "1000",
        "file-group": "1000",
        "file-permissions": "0644",
        "file-acl": "AAAA",
        "user-agent": "aws-datasync",
    },
    "s3fs": {
        "mtime": "1763800000.1",
        "ctime": "1",
        "atime": "1",
        "mode": "33188",
        "uid": "0",
        "gid": "0",
        "xattr": "%7B%7D",
    },
    "s3cmd": {"s3cmd-attrs": "atime:1/ctime:1/gid:0/md5:0/mode:33188/mtime:1/uname:root"},
    "S3 transfer": {"md5chksum": "1B2M2Y8AsgTpgAmY7PhCfg==", "src_last_modified_millis": "1", "hdi_isfolder": "false"},
    "an application": {
        "__class__": "call",
        "": "x",
        "customer": "7",
        "href": "https://example.com",
        "refs": "2",
        "mask": "1",
    },
}


@pytest.mark.parametrize("tool", TOOLS)
def test_metadata_that_tools_write_is_no_mistake_but_is_named(tool: str) -> None:
    metadata = TOOLS[tool]
    assert parse_options(metadata | {"language": "de"}) == Options(language="de")
    [caution] = unknown_options(metadata | {"language": "de"})
    assert caution.code == "unknown_option"
    assert repr(min(metadata)) in caution.message
    assert "language, task" in caution.message
    with pytest.raises(Rejected, match="unknown option"):  # but somebody who types it is told at once
        parse_options(metadata, strict=True)


def test_a_caution_stays_short_and_quotes_no_values() -> None:
    [caution] = unknown_options({f"secret{n:02}{'x' * 500}": "Geheimnis\x1b" for n in range(40)} | {"e\x1b[31m": ""})
    assert len(caution.message) < 700
    assert caution.message.isprintable()
    assert "and 36 more" in caution.message
    assert "Geheimnis" not in caution.message
    assert unknown_options({"Language": "de", "gcsfuse_mtime": "1", "langauge": "de"}) == ()


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.text(max_size=30), st.text(max_size=30), max_size=4))
def test_any_metadata_is_read_or_rejected(metadata: dict[str, str]) -> None:
    code = None
    assert all(caution.message.isprintable() for caution in unknown_options(metadata))
    try:
        parse_options(metadata)
    except Rejected as rejected:
        code = rejected.code
    assert code in (None, ErrorCode.INVALID_OPTION)
