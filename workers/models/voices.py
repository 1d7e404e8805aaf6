"""The emotion model for machines without the model hub: Whisper base's encoder, and a head of our own.

`training/train_voices.py` made the head. The encoder's weights are taken from the verified file of Whisper base, and
both are put together once, in the user's cache, as an ordinary transformers model. The same files give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from workers.models.assembly import damaged_files, models_folder
from workers.models.ctranslate2_file import UnreadableWeights
from workers.models.hub import ModelMissing
from workers.models.packages import PackagedModel
from workers.models.whisper_encoder import encoder_weights

NAME = "voices"
LICENCE = "Apache-2.0 and MIT"
LANGUAGES = "German"  #: of the voices that it learned from

#: The head, and the configuration of the whole model.
HEAD = Path(__file__).parents[1] / "demo" / "models" / "voices"
_WEIGHTS = "head.safetensors"
_SETTINGS = ("config.json", "preprocessor_config.json")


def revision_of(base: PackagedModel) -> str:
    """The hash of the head with that of the file of Whisper base. Raises ModelMissing if this installation lacks it."""
    if not (HEAD / _WEIGHTS).is_file():
        raise ModelMissing(f"this installation lacks the head of the emotion model: {HEAD / _WEIGHTS}")
    digest = hashlib.sha256()
    for name in (_WEIGHTS, *_SETTINGS):
        digest.update(hashlib.sha256((HEAD / name).read_bytes()).digest())
    return f"{digest.hexdigest()[:20]}-{base.revision[:12]}"


def folder_of(base: PackagedModel) -> Path:
    """Where the model is once it has been put together. Raises ModelMissing."""
    return models_folder() / NAME / revision_of(base)


def assembled(base: PackagedModel) -> Path | None:
    """The model's folder if it has been put together from this base; None if not, or if there is no head."""
    try:
        folder = folder_of(base)
    except ModelMissing:
        return None
    return folder if folder.is_dir() else None  # it appears by a rename, so it is whole


def assemble(base: PackagedModel, base_folder: Path) -> Path:
    """The model's folder, made from the files of Whisper base in `base_folder` unless it is there.

    Raises ModelMissing if a file is not the one that it should be or the disk refuses.
    """
    folder = folder_of(base)
    if folder.is_dir():
        return folder
    if "model.bin" in damaged_files(base, base_folder):
        raise ModelMissing(f"{base_folder / 'model.bin'} is not the file of {base.repository} at {base.revision[:12]}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".partial-", ignore_cleanup_errors=True) as work:
            made = Path(work) / "model"
            made.mkdir()
            _write(base_folder / "model.bin", made)
            try:
                os.rename(made, folder)
            except OSError:
                if not folder.is_dir():  # else another process was faster, with the same bytes
                    raise
    except (OSError, UnreadableWeights) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelMissing(f"the emotion model cannot be put together in {folder.parent} ({reason})") from error
    return folder


def _write(model_file: Path, folder: Path) -> None:
    """Write a folder that `AutoModelForAudioClassification` loads. The weights keep the precision of Whisper's file."""
    from safetensors.numpy import load_file, save_file  # an image for speech to text lacks it

    for name in (*_SETTINGS, "README.md"):
        shutil.copyfile(HEAD / name, folder / name)
    config = json.loads((HEAD / "config.json").read_bytes())
    encoder = encoder_weights(model_file, layers=config["encoder_layers"], positions=config["max_source_positions"])
    weights = {f"encoder.{name}": np.ascontiguousarray(array, np.float16) for name, array in encoder.items()}
    save_file({**weights, **load_file(HEAD / _WEIGHTS)}, folder / "model.safetensors", {"format": "pt"})
    with (folder / "model.safetensors").open("rb") as written:  # a power failure must not leave half of it
        os.fsync(written.fileno())
