"""Fetch a stage's weights into HF_HUB_CACHE while an image is built: `weights.py STAGE MODEL REVISION`.

At run time the image is offline, and `workers.models.choice` finds them there by the same two names.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from huggingface_hub import constants

from speechpipe.contract import Stage
from workers.models.hub import ModelMissing, downloaded


def main(stage: str, model: str, revision: str) -> str | None:
    """Fetch them, or nothing for the demo models; what is wrong, in words."""
    Path(constants.HF_HUB_CACHE).mkdir(parents=True, exist_ok=True)
    if model == "demo":
        return None
    if not re.fullmatch("[0-9a-f]{40}", revision):
        return f"{model} wants a whole commit as its revision, not {revision!r}: a branch moves"
    try:
        downloaded(Stage(stage), model, revision)
    except ModelMissing as missing:
        return str(missing)
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
