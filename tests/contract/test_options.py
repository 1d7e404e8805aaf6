from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speechpipe.contract import Options, Stage, languages
from speechpipe.contract.errors import ErrorCode, Rejected
from speechpipe.contract.languages import LANGUAGES, language_of
from speechpipe.contract.options import parse_options, understood, unknown_options


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
        ({"channels": "left"}, ["'channels'", "mix or split"]),
        ({"emotion": "loud"}, ["'emotion'", "'loud'", "on, off"]),
        ({"emotion": "1"}, ["'emotion'", "channels=split"]),
        ({"emotion": "-1", "channels": "split"}, ["'emotion'", "'-1'"]),
        ({"track": "0"}, ["'track'", "'0'", "1 to 999"]),
        ({"track": "second"}, ["'track'", "'second'"]),
        ({"tracks": "2"}, ["'track' was probably meant"]),
        ({"language": "English and German"}, ["'language'", "'English and German'", "English"]),
        ({"language": "en,de"}, ["'language'", "'en,de'"]),
        ({"initial-prompt": "x" * 1001}, ["'initial-prompt'", "1000"]),
        ({"ref": "\u202egnp"}, ["'ref'", "printable"]),
        ({"ref": "a\x1b[31m"}, ["'ref'", "printable"]),
    ],
)
def test_an_error_says_what_was_given_and_what_is_allowed(metadata: dict[str, str], parts: list[str]) -> None:
    with pytest.raises(Rejected) as caught:
        parse_options(metadata)
    assert caught.value.code == ErrorCode.INVALID_OPTION
    for part in parts:
        assert part in caught.value.message


@pytest.mark.parametrize(
    ("given", "code"),
    [
        *(("en-US", "en"), ("pt_BR", "pt"), ("zh-Hans-CN", "zh"), ("EN", "en"), ("sr-Latn-RS", "sr"), ("eng", "en")),
        *(("de_DE.UTF-8", "de"), ("de_DE@euro", "de"), ("ger", "de"), ("nb-NO", "no"), ("fil-PH", "tl"), ("iw", "he")),
        *(("zh-yue-HK", "yue"), ("yue-Hant-HK", "yue"), ("cmn-Hans-CN", "zh"), ("jv", "jw"), ("en\u2011GB", "en")),
        *(("English", "en"), ("GERMAN", "de"), ("Deutsch", "de"), ("français", "fr"), ("Francais", "fr")),
        *(("Español (México)", "es"), ("English (US)", "en"), ("English - United States", "en"), ("日本語", "ja")),
        *(("中文（简体）", "zh"), ("Brazilian Portuguese", "pt"), ("Norwegian Bokmål", "no"), ("हिन्दी", "hi")),
        *(("العربية", "ar"), ("ＥＮ", "en"), ('"de"', "de"), ("jp", "ja"), ("cn", "zh"), ("kr", "ko"), ("ua", "uk")),
        *(("und", None), ("mul", None), ("Auto", None), ("", None)),
    ],
)
def test_a_language_is_taken_as_people_and_tools_write_it(given: str, code: str | None) -> None:
    assert parse_options({"language": given}).language == code


def test_every_language_is_found_by_its_code_and_its_names() -> None:
    """Also: no code and no name stands for two languages."""
    assert len(set(LANGUAGES)) == len(LANGUAGES) == 100
    codes = [(code, row[0]) for row in languages._ROWS for code in (row[0], *row[1].split())]
    names = {(name, row[0]) for row in languages._ROWS for name in row[2].split(",")}
    assert [(given, code) for given, code in [*codes, *names] if language_of(given) != code] == []


@pytest.mark.parametrize(
    ("metadata", "options"),
    [
        ({"channels": "stereo"}, Options(channels="split")),
        ({"channels": "Mono"}, Options()),
        ({"emotion": "true"}, Options()),
        ({"emotion": "No"}, Options(emotion="off")),
        ({"emotion": "false"}, Options(emotion="off")),
        ({"emotion": "[0, 1]", "channels": "split"}, Options(emotion=(0, 1), channels="split")),
        ({"task": "Translation"}, Options(task="translate")),
        ({"hotwords": "", "language": " ", "channels": "", "emotion": "", "task": "", "ref": ""}, Options()),
        ({"ref": "山田　太郎"}, Options(ref="山田　太郎")),
    ],
)
def test_options_are_taken_as_people_write_them(metadata: dict[str, str], options: Options) -> None:
    assert parse_options(metadata) == options


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("Köln,\r\nBonn\tund\u2028Aachen", "Köln, Bonn und Aachen"),
        ("山田　太郎, 東京　駅", "山田 太郎, 東京 駅"),
        ("Donau\u00addampf\u00adschiff", "Donaudampfschiff"),
        ("\ufeffKöln\u200b, \u202aBonn\u202c\u200f", "Köln, Bonn"),
        ("Team 👩\u200d💻 Köln🎉Bonn ❤\ufe0f 1\ufe0f\u20e3", "Team Köln Bonn 1"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # a joiner that is spelling stays
        ("क्\u200dष", "क्\u200dष"),
        ("Ko\u200cl\u200dn", "Koln"),
        ("Ko\u0308ln", "Köln"),
        ("a\x1b[31m\x00b", "a [31m b"),
        ("🎉", None),
        ("25 °C, № 5, ♪", "25 °C, № 5, ♪"),
    ],
)
@pytest.mark.parametrize("name", ["hotwords", "initial-prompt"])
def test_hints_are_cleaned(name: str, given: str, text: str | None) -> None:
    assert parse_options({name: given}) == Options(**{name.replace("-", "_"): text})


def test_a_hint_is_counted_after_it_was_cleaned() -> None:
    assert parse_options({"hotwords": "x \n" * 500 + "🎉" * 500}).hotwords == " ".join("x" * 500)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"language": "en-US"}, "language 'en-US' as en"),
        ({"Language": "Deutsch"}, "language 'Deutsch' as de"),
        ({"language": "und"}, "language 'und' as auto"),
        ({"channels": "stereo", "emotion": "true"}, "channels 'stereo' as split; emotion 'true' as on"),
        ({"hotwords": "Köln 🎉"}, "hotwords without signs that are no words, such as emoji"),
    ],
)
def test_the_record_says_how_an_option_was_understood(metadata: dict[str, str], message: str) -> None:
    [caution] = understood(metadata)
    assert (caution.code, caution.message) == ("option_understood", f"options were understood so: {message}")


@pytest.mark.parametrize(
    "metadata",
    [
        {"language": "DE", "task": "Translate", "channels": "split", "emotion": " 1, 0"},
        {"language": "auto", "emotion": "off", "hotwords": "Köln,\nBonn", "ref": "Ärger", "mtime": "1"},
        {"language": "", "emotion": "on"},
        {"language": "klingon", "channels": "stereo"},  # rejected, which says more
    ],
)
def test_what_is_written_as_in_the_list_needs_no_remark(metadata: dict[str, str]) -> None:
    assert understood(metadata) == ()


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
    assert all(caution.message.isprintable() for caution in [*unknown_options(metadata), *understood(metadata)])
    try:
        parse_options(metadata)
    except Rejected as rejected:
        code = rejected.code
    assert code in (None, ErrorCode.INVALID_OPTION)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(["language", "task", "hotwords", "initial-prompt", "channels", "emotion", "ref"]),
    st.text() | st.sampled_from(["en-US", "stereo", "0,1", "true"]),
)
def test_any_value_is_read_or_rejected(name: str, value: str) -> None:
    refusal = None
    try:
        options = parse_options({"channels": "split", name: value})
    except Rejected as rejected:
        options, refusal = Options(), rejected
    assert refusal is None or (refusal.code == ErrorCode.INVALID_OPTION and refusal.message.isprintable())
    assert Options.model_validate_json(options.model_dump_json()) == options
    assert all(caution.message.isprintable() for caution in understood({name: value}))
    hints = (options.hotwords or "") + (options.initial_prompt or "")
    assert all(char.isprintable() or char in "\u200c\u200d" for char in hints)
