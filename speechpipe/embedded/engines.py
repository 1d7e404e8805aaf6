"""The engines of this machine: the one place where the package imports `workers`, which need torch and the like.

Only code that analyses on this machine needs them: the embedded mode, and `speechpipe up` before it starts its workers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from speechpipe.backends.ports import Analyse
from speechpipe.contract import Stage
from speechpipe.contract.errors import EngineUnavailable
from speechpipe.settings import EngineSettings

if TYPE_CHECKING:
    from workers.models.choice import Choice

T = TypeVar("T")


def load_engines(settings: EngineSettings) -> Mapping[Stage, Analyse]:
    """Both engines, loaded into this process and warmed up. Raises EngineUnavailable."""

    def load(stage: Stage) -> Analyse:
        from workers.models import choice

        return choice.load(stage, settings)

    return {stage: _installed(load, stage) for stage in Stage}


def find_models(settings: EngineSettings) -> list[str]:
    """Make sure that the models are on this machine, downloading them if necessary; the notices about them, each once.

    Raises EngineUnavailable.
    """

    def choose(stage: Stage) -> Choice:
        from workers.models import choice

        return choice.choose(stage, settings)

    notices = (_installed(choose, stage).notice for stage in Stage)
    return list(dict.fromkeys(notice for notice in notices if notice))


def _installed(work: Callable[[Stage], T], stage: Stage) -> T:
    try:
        return work(stage)
    except ImportError as error:
        raise EngineUnavailable(
            f"this machine has no engines ({error.name} is missing); install them: pip install 'speechpipe[stt,ser]'"
        ) from error
