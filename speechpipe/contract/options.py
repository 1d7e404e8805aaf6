"""Read the object's custom metadata (`x-goog-meta-*`) as `Options`. Every error says what is allowed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from speechpipe.contract import Options
from speechpipe.contract.errors import ErrorCode, Rejected

#: Whisper's languages (openai/whisper, tokenizer.py). Kept here so that functions need no engine to check an option.
LANGUAGES = (
    "af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he hi hr ht hu hy id is"
    " it ja jw ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn no oc pa pl ps pt ro ru sa sd si sk"
    " sl sn so sq sr su sv sw ta te tg th tk tl tr tt uk ur uz vi yi yo yue zh"
).split()

#: Keys that upload tools add themselves; they are not options.
IGNORED_PREFIXES = ("goog-reserved-", "gcsfuse_", "goog-drive-", "firebasestoragedownloadtokens", "content-")

MAX_TEXT = 1000  #: characters of hotwords or prompt: Whisper keeps about 223 tokens of them
MAX_REF = 256


def parse_options(metadata: Mapping[str, str]) -> Options:
    """Read options. Raises Rejected(invalid_option), which names the option, the value given and what is allowed."""
    values: dict[str, Any] = {}
    for key, value in metadata.items():
        name = key.lower()
        if name.startswith(IGNORED_PREFIXES):
            continue
        if name not in _READERS:
            raise _invalid(key, value, ", ".join(_READERS), known=False)
        values[name.replace("-", "_")] = _READERS[name](name, value.strip())
    options = Options(**values)
    if isinstance(options.emotion, tuple) and options.channels != "split":
        raise _invalid("emotion", metadata.get("emotion", ""), "a list of channels only with channels=split")
    return options


def _invalid(name: str, given: str, allowed: str, *, known: bool = True) -> Rejected:
    shown = given if len(given) <= 80 else given[:77] + "..."
    kind = "option" if known else "unknown option"
    return Rejected(ErrorCode.INVALID_OPTION, f"{kind} {name[:80]!r}: given {shown!r}; allowed: {allowed}")


def _choice(*allowed: str) -> Callable[[str, str], str]:
    def read(name: str, given: str) -> str:
        if given.lower() not in allowed:
            raise _invalid(name, given, " or ".join(allowed))
        return given.lower()

    return read


def _text(limit: int) -> Callable[[str, str], str]:
    def read(name: str, given: str) -> str:
        if not given or len(given) > limit or not given.isprintable():
            raise _invalid(name, given, f"1 to {limit} printable characters")
        return given

    return read


def _language(name: str, given: str) -> str | None:
    if given.lower() == "auto":
        return None
    if given.lower() not in LANGUAGES:
        raise _invalid(name, given, "auto, or one of " + " ".join(LANGUAGES))
    return given.lower()


def _emotion(name: str, given: str) -> str | tuple[int, ...]:
    if given.lower() in ("on", "off"):
        return given.lower()
    channels = [part.strip() for part in given.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 3 for part in channels):
        raise _invalid(name, given, "on, off, or channels counted from 0, for example 0 or 0,1")
    return tuple(sorted({int(part) for part in channels}))


_READERS: dict[str, Callable[[str, str], Any]] = {
    "language": _language,
    "task": _choice("transcribe", "translate"),
    "hotwords": _text(MAX_TEXT),
    "initial-prompt": _text(MAX_TEXT),
    "channels": _choice("mix", "split"),
    "emotion": _emotion,
    "ref": _text(MAX_REF),
}
