"""Read the object's custom metadata (`x-goog-meta-*`) as `Options`. Every error says what is allowed.

Tools that copy files write metadata of their own: rclone and s3fs `mtime`, DataSync `file-owner`. So a name that is
none of ours is a caution in the record, unless it looks like a misspelt one of ours.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from speechpipe.contract import Caution, Options
from speechpipe.contract.errors import ErrorCode, Rejected

#: Whisper's languages (openai/whisper, tokenizer.py). Kept here so that functions need no engine to check an option.
LANGUAGES = (
    "af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he hi hr ht hu hy id is"
    " it ja jw ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn no oc pa pl ps pt ro ru sa sd si sk"
    " sl sn so sq sr su sv sw ta te tg th tk tl tr tt uk ur uz vi yi yo yue zh"
).split()

#: Names that upload tools add to every file themselves; they are not even worth a caution.
IGNORED_PREFIXES = ("goog-reserved-", "gcsfuse_", "goog-drive-", "firebasestoragedownloadtokens", "content-")

MAX_TEXT = 1000  #: characters of hotwords or prompt: Whisper keeps about 223 tokens of them
MAX_REF = 256
MAX_TRACK = 999

#: The name under which a backend reports metadata that it could not read; the value says why.
UNREADABLE = ".meta.json"
#: A name that tools write, and that is as like `track` as a misspelling.
_OWN_WORDS = ("trace",)
#: How alike a name must be to count as a misspelt option: `langauge` is, rclone's `mtime` is not.
_ALIKE = 0.8
_SHOWN = 5  #: unknown names in a caution


def parse_options(metadata: Mapping[str, str], *, strict: bool = False) -> Options:
    """Read options. Raises Rejected(invalid_option), which names the option, the value given and what is allowed.

    A misspelt option is rejected too. Any other unknown name is left alone, because a tool may have written it; with
    `strict`, for options that somebody has typed for us, it is rejected.
    """
    values: dict[str, Any] = {}
    for key, value in metadata.items():
        name = key.lower()
        if name == UNREADABLE:
            raise Rejected(ErrorCode.INVALID_OPTION, f"the options in {UNREADABLE} cannot be read: {_shown(value)}")
        if name not in _READERS:
            _check_unknown(key, value, strict=strict)
            continue
        values[name.replace("-", "_")] = _READERS[name](name, value.strip())
    options = Options(**values)
    if isinstance(options.emotion, tuple) and options.channels != "split":
        raise _invalid("emotion", metadata.get("emotion", ""), "a list of channels only with channels=split")
    return options


def unknown_options(metadata: Mapping[str, str]) -> tuple[Caution, ...]:
    """One caution that names the metadata which was not read as options; none if there is none."""
    names = sorted(
        key
        for key in metadata
        if (name := key.lower()) not in _READERS and not name.startswith(IGNORED_PREFIXES) and not _meant(name)
    )
    if not names:
        return ()
    shown = ", ".join(repr(name[:80]) for name in names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    message = f"custom metadata that is no option was left alone: {shown}{more}; options are {', '.join(_READERS)}"
    return (Caution(code="unknown_option", message=message),)


def _meant(name: str) -> str | None:
    """The option that a name is probably a misspelling of. Names of three letters are too like too many."""
    if name.startswith(IGNORED_PREFIXES) or name in _OWN_WORDS:
        return None
    candidates = [option for option in _READERS if len(option) > 3]
    return next(iter(difflib.get_close_matches(name[:80], candidates, n=1, cutoff=_ALIKE)), None)


def _check_unknown(key: str, given: str, *, strict: bool) -> None:
    """Raise Rejected for a name that is probably a misspelt option, and with `strict` for any but the ignored ones."""
    name = key.lower()
    meant = _meant(name)
    if meant or (strict and not name.startswith(IGNORED_PREFIXES)):
        guess = f"; {meant!r} was probably meant" if meant else ""
        raise _invalid(key, given, ", ".join(_READERS) + guess, known=False)


def _invalid(name: str, given: str, allowed: str, *, known: bool = True) -> Rejected:
    kind = "option" if known else "unknown option"
    return Rejected(ErrorCode.INVALID_OPTION, f"{kind} {name[:80]!r}: given {_shown(given)}; allowed: {allowed}")


def _shown(given: str) -> str:
    return repr(given if len(given) <= 80 else given[:77] + "...")


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


def _track(name: str, given: str) -> int:
    if not (given.isascii() and given.isdigit() and 0 < int(given[:4]) <= MAX_TRACK and len(given) < 4):
        raise _invalid(name, given, f"a sound track of the file, 1 to {MAX_TRACK}")
    return int(given)


_READERS: dict[str, Callable[[str, str], Any]] = {
    "language": _language,
    "task": _choice("transcribe", "translate"),
    "hotwords": _text(MAX_TEXT),
    "initial-prompt": _text(MAX_TEXT),
    "channels": _choice("mix", "split"),
    "emotion": _emotion,
    "track": _track,
    "ref": _text(MAX_REF),
}
