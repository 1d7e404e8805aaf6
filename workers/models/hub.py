"""Where a model's files come from: a folder, the local Hugging Face cache, or the hub, at one commit.

The hub is asked once whether it answers, with a limit of three seconds: huggingface_hub alone would try for minutes.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import urllib.error
import urllib.request
from functools import lru_cache
from pathlib import Path

from speechpipe.contract import Stage
from speechpipe.contract.errors import EngineUnavailable

log = logging.getLogger(__name__)

PROBE_SECONDS = 3.0  #: how long the hub may take to answer before it counts as out of reach

#: What to fetch of a repository, and what must be there: each group needs one match.
_FETCH = {
    Stage.STT: ("config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*"),
    Stage.SER: ("*.json", "*.safetensors", "pytorch_model*.bin"),
}
_NEEDED: dict[Stage, tuple[tuple[str, ...], ...]] = {
    # Without tokenizer.json faster-whisper would fetch another model's from the hub.
    Stage.STT: (("config.json",), ("model.bin",), ("tokenizer.json",), ("vocabulary.*",)),
    Stage.SER: (("config.json",), ("preprocessor_config.json",), ("*.safetensors", "pytorch_model*.bin")),
}


class ModelMissing(EngineUnavailable):
    """The model that was asked for is neither on this machine nor to be had; the message says what to do."""


def cached(stage: Stage, repository: str, revision: str | None) -> Path | None:
    """The folder of that commit in the local cache, if it is whole."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    fetched = list(_FETCH[stage])  # without these it misses, offline, what was never asked for
    try:
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=fetched, local_files_only=True))
    except (LocalEntryNotFoundError, OSError):
        return None
    return None if lacking(stage, folder) else folder


def downloaded(stage: Stage, repository: str, revision: str | None) -> Path:
    """Download that commit. Raises ModelMissing, within PROBE_SECONDS where the hub is out of reach."""
    from huggingface_hub import constants, snapshot_download

    what = f"{repository} at {revision[:12]}" if revision else repository
    if constants.HF_HUB_OFFLINE:
        raise ModelMissing(f"{what} is not in the local cache, and HF_HUB_OFFLINE is set")
    if not hub_answers(constants.ENDPOINT):
        raise ModelMissing(f"{what} is not in the local cache, and {constants.ENDPOINT} cannot be reached")
    log.info("downloading %s", what, extra={"action": "download"})
    try:
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=list(_FETCH[stage])))
    except Exception as error:  # the hub's, httpx's and the disk's errors have no common base
        raise ModelMissing(f"{what} could not be downloaded ({type(error).__name__})") from error
    missing = lacking(stage, folder)
    if missing:
        raise ModelMissing(f"{what} is no model for {stage.value}: {missing} is missing")
    return folder


@lru_cache(maxsize=4)
def hub_answers(endpoint: str) -> bool:
    """Whether the hub answers within PROBE_SECONDS, a slow name lookup included. Asked once a process.

    In a thread of its own: nothing can end a name lookup, and huggingface_hub would try again for minutes.
    """
    answered = threading.Event()

    def ask() -> None:
        request = urllib.request.Request(endpoint, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=PROBE_SECONDS):
                answered.set()
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in (403, 407):  # those are a proxy's refusals
                answered.set()
        except (OSError, ValueError):
            pass
        finally:
            finished.set()

    finished = threading.Event()
    threading.Thread(target=ask, name="hub-probe", daemon=True).start()
    finished.wait(PROBE_SECONDS)
    return answered.is_set()


def lacking(stage: Stage, folder: Path) -> str | None:
    """The first thing that a model's folder wants; None if it is whole."""
    for group in _NEEDED[stage]:
        if not any(match for pattern in group for match in folder.glob(pattern)):
            return " or ".join(group)
    return None


def digest_of(folder: Path) -> str:
    """SHA-256 of a folder's files and their names: the revision of what comes from no repository."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return f"sha256:{digest.hexdigest()[:40]}"
