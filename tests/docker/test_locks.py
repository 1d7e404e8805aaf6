"""The images' lock files against pyproject.toml and constraints.txt, and every pin against itself."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.docker.rehearsal import ROOT

LOCKS = ROOT / "docker/requirements"
IMAGES = ("functions", "stt", "ser", "console")
#: Every file of pins: what the images, the tests and the linters install.
PINNED = (*(f"docker/requirements/{image}.txt" for image in IMAGES), "constraints.txt", "infra/tools.txt")
#: Packages whose version in an image differs from the tested one; `ser.in` explains why.
OTHER_THAN_TESTED = {"torch"}
#: Packages that would slow a function's start, or pull in such packages.
NEVER_IN_FUNCTIONS = {"torch", "numpy", "av", "ctranslate2", "faster-whisper", "transformers", "onnxruntime"}


def pins(name: str) -> dict[str, str]:
    """Map packages to versions, from a file of `NAME==VERSION` lines."""
    path = ROOT / name
    found = re.findall(r"^([A-Za-z0-9][\w.-]*)==([^\s\\;]+)", path.read_text(), re.M)
    return {canonicalize_name(package): version for package, version in found}


def wanted(project: dict[str, Any], extra: str | None = None) -> dict[str, Requirement]:
    """Return the direct dependencies, or those of an extra, with our own extras resolved."""
    lines = project["optional-dependencies"][extra] if extra else project["dependencies"]
    found: dict[str, Requirement] = {}
    for requirement in map(Requirement, lines):
        if requirement.name == project["name"]:
            for each in requirement.extras:
                found |= wanted(project, each)
        else:
            found[canonicalize_name(requirement.name)] = requirement
    return found


@pytest.mark.parametrize("image", IMAGES)
def test_every_direct_dependency_is_locked_in_an_allowed_version(image: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = pins(f"docker/requirements/{image}.txt")
    for name, requirement in (wanted(project) | wanted(project, image)).items():
        assert name in locked, f"make locks: {name} is new"
        assert requirement.specifier.contains(locked[name]), f"make locks: {requirement}"


@pytest.mark.parametrize("image", IMAGES)
def test_images_have_the_tested_versions(image: str) -> None:
    tested = pins("constraints.txt")
    locked = pins(f"docker/requirements/{image}.txt")
    other = {name for name in locked.keys() & tested.keys() if locked[name] != tested[name]}
    assert other <= OTHER_THAN_TESTED


@pytest.mark.parametrize("image", IMAGES)
def test_every_package_has_hashes_and_no_index_is_named(image: str) -> None:
    text = (LOCKS / f"{image}.txt").read_text()
    blocks = [block for block in re.split(r"\n(?=\S)", text) if "==" in block]
    assert len(blocks) == len(pins(f"docker/requirements/{image}.txt"))
    assert all("--hash=sha256:" in block for block in blocks)
    assert not re.search(r"://|--\w*index|--find-links", text)


@pytest.mark.parametrize("name", PINNED)
def test_every_package_is_pinned_exactly_and_once(name: str) -> None:
    lines = (ROOT / name).read_text().splitlines()
    packages = [line.split(" \\")[0] for line in lines if line and line[0] not in "# "]
    found = [Requirement(package) for package in packages]
    assert [str(each) for each in found if [s.operator for s in each.specifier] != ["=="] or "*" in str(each)] == []
    assert len({canonicalize_name(each.name) for each in found}) == len(found) > 0


@pytest.mark.parametrize("image", ["functions", "console"])
def test_functions_and_the_console_have_no_heavy_packages(image: str) -> None:
    locked = pins(f"docker/requirements/{image}.txt").keys()
    assert not locked & NEVER_IN_FUNCTIONS
    assert not {name for name in locked if name.startswith("nvidia-")}


def test_the_gpu_images_have_cuda_12_and_the_same_cublas() -> None:
    stt, ser = pins("docker/requirements/stt.txt"), pins("docker/requirements/ser.txt")
    assert stt["nvidia-cublas-cu12"] == ser["nvidia-cublas-cu12"]
    assert ser["nvidia-cuda-runtime-cu12"].startswith("12.8.")
    assert not {name for name in stt | ser if name.startswith("nvidia-") and name.endswith("-cu13")}
    assert "torch" not in stt
