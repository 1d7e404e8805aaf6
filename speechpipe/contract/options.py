"""Read the object's custom metadata (`x-goog-meta-*`) as `Options`. Every error says what is allowed.

What is meant beyond doubt is taken (`language=Deutsch`, `channels=stereo`), and the record says how it was understood.

Tools that copy files write metadata of their own: rclone and s3fs `mtime`, DataSync `file-owner`. So a name that is
none of ours is a caution in the record, unless it looks like a misspelt one of ours.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from speechpipe.contract import Caution, Options
from speechpipe.contract.errors import ErrorCode, Rejected
from speechpipe.contract.hints import cleaned, loses_signs
from speechpipe.contract.languages import LANGUAGES, language_of

#: Names that upload tools add to every file themselves; they are not even worth a caution.
IGNORED_PREFIXES = ("goog-reserved-", "gcsfuse_", "goog-drive-", "firebasestoragedownloadtokens", "content-")

MAX_TEXT = 1000  #: characters of hotwords or prompt: Whisper keeps about 223 tokens of them
MAX_REF = 256
MAX_TRACK = 999

#: Characters that no terminal shows by themselves, but names have: blanks, joiners, soft hyphens.
_IN_NAMES = "\u00a0\u00ad\u200c\u200d\u2002\u2003\u2009\u202f\u3000"

_HINTS = ("hotwords", "initial-prompt")

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
        if value.strip():  # forms send the fields that nobody filled in
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


def understood(metadata: Mapping[str, str]) -> tuple[Caution, ...]:
    """One caution that says how values were read that are not written as in the list of options; none if all are."""
    read = []
    for key, value in metadata.items():
        name, given = key.lower(), value.strip()
        if name not in _READERS or not given:
            continue
        try:
            meaning = _READERS[name](name, given)
        except Rejected:
            return ()  # then the recording is rejected, which says more
        if name in _HINTS:
            if loses_signs(given):
                read.append(f"{name} without signs that are no words, such as emoji")
        elif name != "ref" and _written(meaning) != _written(_as_given(given)):
            read.append(f"{name} {_shown(given)} as {_written(meaning)}")
    if not read:
        return ()
    return (Caution(code="option_understood", message="options were understood so: " + "; ".join(sorted(read))),)


def _as_given(given: str) -> str | tuple[int, ...]:
    parts = [part.strip() for part in given.lower().split(",")]
    return tuple(sorted(map(int, parts))) if all(map(str.isdecimal, parts)) else given.lower()


def _written(meaning: str | tuple[int, ...] | None) -> str:
    """A value as the list of options has it."""
    return ",".join(map(str, meaning)) if isinstance(meaning, tuple) else meaning or "auto"


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


def _choice(**meanings: str) -> Callable[[str, str], str]:
    """Read one of the names in `meanings`, or one of the other words for it, which follow it there."""
    known = {word: name for name, others in meanings.items() for word in (name, *others.split())}

    def read(name: str, given: str) -> str:
        if (word := _word(given)) not in known:
            raise _invalid(name, given, " or ".join(meanings))
        return known[word]

    return read


def _word(given: str) -> str:
    """A value without what forms, keyboards and JSON add to it: case, full-width letters, quotes."""
    return unicodedata.normalize("NFKC", given).strip(" \t\n\"'").lower()


def _hint(name: str, given: str) -> str | None:
    text = cleaned(given)
    if len(text) > MAX_TEXT:
        raise _invalid(name, given, f"up to {MAX_TEXT} characters")
    return text or None


def _ref(name: str, given: str) -> str:
    if not given or len(given) > MAX_REF or not all(char.isprintable() or char in _IN_NAMES for char in given):
        raise _invalid(name, given, f"1 to {MAX_REF} printable characters")
    return given


def _language(name: str, given: str) -> str | None:
    try:
        return language_of(given)
    except ValueError:
        allowed = "auto, or a language by its code or name, such as en, en-US or English; codes are "
        raise _invalid(name, given, allowed + " ".join(LANGUAGES)) from None


_ON_OR_OFF = {"on": "on", "off": "off"}
_ON_OR_OFF |= dict.fromkeys("true yes enable enabled all".split(), "on")
_ON_OR_OFF |= dict.fromkeys("false no disable disabled none".split(), "off")


def _emotion(name: str, given: str) -> str | tuple[int, ...]:
    word = _word(given)
    if word in _ON_OR_OFF:
        return _ON_OR_OFF[word]
    channels = re.split(r"\s*[,;]\s*|\s+", word.strip("[]() "))
    if not all(part.isascii() and part.isdigit() and len(part) < 3 for part in channels):
        raise _invalid(name, given, "on, off, or channels counted from 0, for example 0 or 0,1")
    return tuple(sorted({int(part) for part in channels}))


def _track(name: str, given: str) -> int:
    if not (given.isascii() and given.isdigit() and 0 < int(given[:4]) <= MAX_TRACK and len(given) < 4):
        raise _invalid(name, given, f"a sound track of the file, 1 to {MAX_TRACK}")
    return int(given)


_READERS: dict[str, Callable[[str, str], Any]] = {
    "language": _language,
    "task": _choice(transcribe="transcription transcript", translate="translation"),
    "hotwords": _hint,
    "initial-prompt": _hint,
    "channels": _choice(
        mix="mono mixed mixdown merge merged single 1",
        split="stereo separate separated separately dual multi multichannel each 2",
    ),
    "emotion": _emotion,
    "track": _track,
    "ref": _ref,
}
