"""What a model's card says: the README.md in its folder, with YAML in front.

https://huggingface.co/docs/hub/model-cards#model-card-metadata
"""

from __future__ import annotations

import re
from pathlib import Path

#: ISO 639-1, and the two codes of Whisper that have three letters. A region may follow: `pt-BR`.
_CODE = re.compile(r"([a-z]{2}|yue|haw)([-_][a-z0-9]+)*", re.IGNORECASE)
#: Codes that Whisper writes otherwise.
_WHISPERS = {"jv": "jw", "nb": "no", "iw": "he", "in": "id"}


def languages_of(folder: Path) -> tuple[str, ...]:
    """The codes of the languages on the card in a model's folder, as Whisper writes them.

    Empty if that is unknown: without a card, or if it names a language otherwise (`multilingual`, `eng`), as it could
    then be any.
    """
    from huggingface_hub import metadata_load

    try:
        given = (metadata_load(folder / "README.md") or {}).get("language")
    except Exception:  # errors of the disk, of UTF-8 and of YAML have no common base class; the model works without
        return ()
    names = given if isinstance(given, list) else [given]
    # YAML 1.1 reads Norwegian's code, `no`, as false.
    matches = [_CODE.fullmatch("no" if name is False else str(name).strip()) for name in names]
    if not all(matches):
        return ()
    codes = [match[1].lower() for match in matches if match]
    return tuple(dict.fromkeys(_WHISPERS.get(code, code) for code in codes))
