"""What the outputs of a chosen emotion model mean, from its files and the settings, without loading it."""

from __future__ import annotations

from pathlib import Path

from speechpipe.contract import Caution, Stage, Vocabulary
from speechpipe.settings import EngineSettings
from workers.emotion.head import read_head
from workers.emotion.labels import recognised, vocabulary_of
from workers.models import notices
from workers.models.naming import requested


def vocabulary(name: str, folder: Path, settings: EngineSettings) -> Vocabulary:
    """The vocabulary of the emotion model in a folder. Raises UnreadableModel."""
    found = vocabulary_of(name, read_head(folder), _given(settings))
    return found if settings.sure_from is None else found.model_copy(update={"sure_from": settings.sure_from})


def cautions(name: str, folder: Path, settings: EngineSettings) -> tuple[Caution, ...]:
    """A caution if the labels are taken from the default model. Raises UnreadableModel."""
    known = _given(settings) is not None or not recognised(name, read_head(folder))
    return () if known else (notices.assumed_labels(name),)


def _given(settings: EngineSettings) -> tuple[str, ...] | None:
    """The labels that the settings give for the model that they name; a model in its place has its own."""
    return None if requested(Stage.SER, settings) in (None, "demo", "toy") else settings.ser_labels
