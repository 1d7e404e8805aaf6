"""Get a model's files from the local Hugging Face cache or from the hub, at one commit.

Before anything is downloaded the hub gets three seconds to answer, once per process. huggingface_hub by itself would
retry for minutes.
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

PROBE_SECONDS = 3.0  #: after this time without an answer the hub counts as unreachable

#: Files to fetch from a repository, and files that a model needs: at least one match for each group.
_FETCH = {
    Stage.STT: ("config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*"),
    Stage.SER: ("*.json", "*.safetensors", "pytorch_model*.bin"),
}
#: Fetched too, but not missed in a cache: it says which languages an emotion model learned from.
_CARD = "README.md"
_NEEDED: dict[Stage, tuple[tuple[str, ...], ...]] = {
    # Without tokenizer.json faster-whisper would fetch that of another model from the hub.
    Stage.STT: (("config.json",), ("model.bin",), ("tokenizer.json",), ("vocabulary.*",)),
    Stage.SER: (("config.json",), ("preprocessor_config.json",), ("*.safetensors", "pytorch_model*.bin")),
}


class ModelMissing(EngineUnavailable):
    """The model is not on this machine and cannot be downloaded. The message says what to do."""


def cached(stage: Stage, repository: str, revision: str | None) -> Path | None:
    """The folder of a repository at a commit in the local cache, or None if the cache lacks any file."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    fetched = list(_FETCH[stage])  # without patterns it would miss files that were never fetched
    try:
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=fetched, local_files_only=True))
    except (LocalEntryNotFoundError, OSError):
        return None
    return None if missing_file(stage, folder) else folder


def download(stage: Stage, repository: str, revision: str | None) -> Path:
    """Download a repository at a commit. Raises ModelMissing, within PROBE_SECONDS if the hub is unreachable."""
    from huggingface_hub import constants, snapshot_download

    what = f"{repository} at {revision[:12]}" if revision else repository
    if constants.HF_HUB_OFFLINE:
        raise ModelMissing(f"{what} is not in the local cache, and HF_HUB_OFFLINE is set")
    if not hub_answers(constants.ENDPOINT):
        raise ModelMissing(f"{what} is not in the local cache, and {constants.ENDPOINT} cannot be reached")
    log.info("downloading %s", what, extra={"action": "download"})
    try:
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=[*_FETCH[stage], _CARD]))
    except Exception as error:  # errors of the hub, of httpx and of the disk have no common base class
        raise ModelMissing(f"{what} could not be downloaded ({type(error).__name__})") from error
    missing = missing_file(stage, folder)
    if missing:
        raise ModelMissing(f"{what} is not a model for {stage.value}: {missing} is missing")
    return folder


@lru_cache(maxsize=4)
def hub_answers(endpoint: str) -> bool:
    """Whether the hub answers within PROBE_SECONDS, name lookup included. Asked once per process.

    Runs in a separate thread, because a name lookup cannot be interrupted.
    """
    answered = threading.Event()

    def ask() -> None:
        request = urllib.request.Request(endpoint, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=PROBE_SECONDS):
                answered.set()
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in (403, 407):  # with these a proxy refuses
                answered.set()
        except (OSError, ValueError):
            pass
        finally:
            finished.set()

    finished = threading.Event()
    threading.Thread(target=ask, name="hub-probe", daemon=True).start()
    finished.wait(PROBE_SECONDS)
    return answered.is_set()


def missing_file(stage: Stage, folder: Path) -> str | None:
    """The first file that a model's folder lacks; None if it is complete."""
    for group in _NEEDED[stage]:
        if not any(match for pattern in group for match in folder.glob(pattern)):
            return " or ".join(group)
    return None


def digest_of(folder: Path) -> str:
    """SHA-256 over the names and contents of a folder's files: the revision of a model that has no repository."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return f"sha256:{digest.hexdigest()[:40]}"
