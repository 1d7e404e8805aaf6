"""Download a stage's weights into HF_HUB_CACHE during an image build: `weights.py STAGE MODEL REVISION`.

At run time the image is offline, and `workers.models.choice` finds the weights there by the same model and revision.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from huggingface_hub import constants

from speechpipe.contract import Stage
from workers.models.hub import ModelMissing, download


def main(stage: str, model: str, revision: str) -> str | None:
    """Download the weights, or nothing for the demo models; return an error message, or None on success."""
    Path(constants.HF_HUB_CACHE).mkdir(parents=True, exist_ok=True)
    if model == "demo":
        return None
    if not re.fullmatch("[0-9a-f]{40}", revision):
        return f"{model} needs a full commit hash as its revision, not {revision!r}: a branch moves"
    try:
        download(Stage(stage), model, revision)
    except ModelMissing as missing:
        return str(missing)
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
