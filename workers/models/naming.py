"""Which model the settings name for a stage, and the hub's id for a name."""

from __future__ import annotations

import re
from pathlib import Path

from speechpipe.contract import Stage
from speechpipe.settings import EngineSettings
from workers.models.hub import ModelMissing, missing_file


def requested(stage: Stage, settings: EngineSettings) -> str | None:
    """The model that the settings name for a stage, `demo` or `toy` among them, or None for the default.

    The stage's own setting comes first. `SPEECHPIPE_MODELS` counts for both stages, except that a Whisper model leaves
    emotion at its default.
    """
    own = settings.stt_model if stage is Stage.STT else settings.ser_model
    if own is not None:
        return own
    if settings.models == "auto" or (stage is Stage.SER and _is_whisper(settings.models)):
        return None
    return settings.models


def repository_of(stage: Stage, name: str) -> str:
    """The hub id for a name. Raises ModelMissing if it is neither a hub id nor a short name known to faster-whisper."""
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        return name
    known = _short_names() if stage is Stage.STT else {}
    if name not in known:
        names = f", or one of {', '.join(known)}" if known else ""
        raise ModelMissing(
            f"there is no model {name!r} for {stage.value}: give a folder, the owner/name of a hub model{names}"
        )
    return known[name]


def _is_whisper(name: str) -> bool:
    folder = Path(name).expanduser()
    if folder.is_dir():
        return missing_file(Stage.STT, folder) is None and missing_file(Stage.SER, folder) is not None
    return "whisper" in name.lower() or name in _short_names()


def _short_names() -> dict[str, str]:
    """faster-whisper's short names and their repositories; none in an image that lacks it."""
    try:
        from faster_whisper.utils import _MODELS  # type: ignore[import-untyped]
    except ImportError:
        return {}
    return dict(_MODELS)
