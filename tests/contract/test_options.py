from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speechpipe.contract import Options, Stage
from speechpipe.contract.errors import ErrorCode, Rejected
from speechpipe.contract.options import parse_options


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
        "ref": "case-7",
    }
    assert parse_options(given_) == Options(
        language="de",
        task="translate",
        hotwords="Grüße, Köln",
        initial_prompt="A call.",
        channels="split",
        emotion=(0, 1),
        ref="case-7",
    )


def test_emotion_off_asks_for_the_transcript_alone() -> None:
    assert parse_options({"emotion": "off"}).stages == (Stage.STT,)


@pytest.mark.parametrize(
    ("metadata", "parts"),
    [
        ({"langage": "en"}, ["'langage'", "'en'", "language, task"]),
        ({"language": "klingon"}, ["'language'", "'klingon'", "auto", " en "]),
        ({"task": "summarise"}, ["'task'", "'summarise'", "transcribe or translate"]),
        ({"channels": "stereo"}, ["'channels'", "mix or split"]),
        ({"emotion": "loud"}, ["'emotion'", "'loud'", "on, off"]),
        ({"emotion": "1"}, ["'emotion'", "channels=split"]),
        ({"emotion": "-1", "channels": "split"}, ["'emotion'", "'-1'"]),
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


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.text(max_size=30), st.text(max_size=30), max_size=4))
def test_any_metadata_is_read_or_rejected(metadata: dict[str, str]) -> None:
    code = None
    try:
        parse_options(metadata)
    except Rejected as rejected:
        code = rejected.code
    assert code in (None, ErrorCode.INVALID_OPTION)
