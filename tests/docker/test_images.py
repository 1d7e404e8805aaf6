"""Each image built from its Dockerfile, and smoke-tested offline, read-only and as the image's user.

The workers' GPU libraries, which are gigabytes of wheels, are left out here, and torch is this environment's CPU build.
The complete lock files were installed once by hand (`benchmarks/images.md`).
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.docker.rehearsal import PYTHON, ROOT, Image, StepFailed, build, copy_tree, unable

pytestmark = [pytest.mark.images, pytest.mark.slow, pytest.mark.timeout(600)]

#: Libraries that the base image, python:3.11-slim-bookworm, provides: Debian's packages libc6, libgcc-s1, libstdc++6
#: and zlib1g, which apt and dpkg need, and Python's own library.
OF_THE_BASE = re.compile(
    r"(ld-linux-x86-64|lib(c|m|mvec|dl|rt|util|pthread|resolv|gcc_s|stdc\+\+|z|python3\.11))\.so.*"
)
#: Libraries of the driver, which Cloud Run mounts.
OF_THE_DRIVER = re.compile(r"lib(cuda|nvidia-.*)\.so.*")
_GPU_ONLY = re.compile(r"(nvidia-|cuda-|triton|torch=)")


@pytest.fixture(scope="module", autouse=True)
def _can_rehearse() -> None:
    reason = unable()
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


def without_gpu(path: Path) -> None:
    """Remove the GPU wheels from a requirement file, or add the CPU build of torch to an environment that lacks it."""
    if path.is_file():
        blocks = re.split(r"\n(?=\S)", path.read_text())
        path.write_text("\n".join(block for block in blocks if not _GPU_ONLY.match(block)))
        return
    packages = path / f"lib/python{PYTHON[0]}.{PYTHON[1]}/site-packages"
    if (packages / "transformers").is_dir():
        ours = Path(sys.prefix) / packages.relative_to(path)
        for found in [*ours.glob("torch*"), *ours.glob("setuptools*"), *ours.glob("functorch")]:
            if not (packages / found.name).exists():
                copy_tree(found, packages / found.name)


@pytest.fixture(scope="module")
def functions(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return build(ROOT / "docker/functions.Dockerfile", tmp_path_factory.mktemp("functions"))


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return build(ROOT / "docker/console.Dockerfile", tmp_path_factory.mktemp("console"))


@pytest.fixture(scope="module", params=["stt", "ser"])
def worker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Image]:
    stage = request.param
    demo = {f"{stage.upper()}_MODEL": "demo"}
    return stage, build(ROOT / f"docker/{stage}.Dockerfile", tmp_path_factory.mktemp(stage), demo, without_gpu)


def test_the_functions_image_starts_every_function_offline(functions: Image) -> None:
    said = functions.smoke("functions")
    assert said.count("/ answers 405") == 1  # join; the others are plain HTTP
    assert said.endswith("smoke functions: passed\n")


def test_a_worker_image_is_ready_offline_and_its_model_hears_a_recording(
    worker: tuple[str, Image],
) -> None:
    stage, image = worker
    said = image.smoke(stage, "cpu")
    if stage == "stt":
        assert "smoke stt: Systran/faster-whisper-base at ebe41f70d5b6" in said
        assert "it heard 'and so my fellow americans ask not what your country can do for you" in said
    else:
        assert "smoke ser: voices at " in said
    assert "/readyz answers 200" in said
    assert f'"stage":"{stage}","device":"cpu"' in said
    assert said.endswith(f"smoke {stage}: passed\n")


def test_the_console_image_starts_offline_and_refuses_requests_that_bypass_the_proxy(console: Image) -> None:
    said = console.smoke("console")
    assert "/ answers 401" in said
    assert said.endswith("smoke console: passed\n")


def test_the_smoke_test_fails_for_a_wrong_image(functions: Image) -> None:
    with pytest.raises(StepFailed, match=r"(?m)the image contains functions$"):
        functions.smoke("stt")
    with pytest.raises(StepFailed, match=r"(?m)the image contains functions$"):
        functions.smoke("console")


def test_the_smoke_test_fails_if_the_process_cannot_start(functions: Image) -> None:
    broken = Image(**vars(functions) | {"environment": functions.environment | {"PYTHONPATH": "/nowhere"}})
    with pytest.raises(StepFailed, match=r"the process ended before /robots\.txt answered 404"):
        broken.smoke("functions")


def test_the_smoke_test_fails_if_the_console_lacks_a_package(console: Image, tmp_path: Path) -> None:
    """The package is one of Google's clients, which the tested process does not create."""
    copy_tree(console.folder, tmp_path / "final")
    (package,) = (tmp_path / "final/opt/venv").glob("lib/*/site-packages/google/cloud/firestore")
    shutil.rmtree(package)
    broken = Image(**vars(console) | {"folder": tmp_path / "final"})
    with pytest.raises(StepFailed, match="cannot import name 'firestore'"):
        broken.smoke("console")


def test_the_entry_point_needs_only_the_environment_of_the_image(functions: Image) -> None:
    with pytest.raises(StepFailed, match="nothing_of_that_name"):  # it got as far as looking for the function
        functions.run(
            *functions.entrypoint, FUNCTION_SOURCE="functions/ingest.py", FUNCTION_TARGET="nothing_of_that_name"
        )


def test_an_image_contains_only_the_code_that_it_runs(
    functions: Image, console: Image, worker: tuple[str, Image]
) -> None:
    assert {path.name for path in (functions.folder / "app").iterdir()} == {"speechpipe", "functions"}
    assert {path.name for path in (console.folder / "app").iterdir()} == {"speechpipe"}
    app = worker[1].folder / "app"
    assert {path.name for path in app.iterdir()} == {"speechpipe", "workers"}
    assert [path.name for path in (app / "workers/demo/samples").iterdir()] == ["kennedy_1961.flac"]
    assert (app / "workers/demo/models").is_dir()


def test_every_shared_library_is_in_the_image_or_its_base(
    functions: Image, console: Image, worker: tuple[str, Image]
) -> None:
    for image in (functions, console, worker[1]):
        found = image.run("/bin/sh", "-c", "find /opt/venv -name '*.so*' -type f -exec ldd {} + 2>/dev/null || true")
        needed = [line.split() for line in found.splitlines() if "=>" in line]
        assert len(needed) > 20
        outside = {
            words[0]
            for words in needed
            if not words[2].startswith("/opt/venv/")
            and not OF_THE_BASE.fullmatch(words[0])
            and not OF_THE_DRIVER.fullmatch(words[0])
        }
        assert not outside


def test_the_lock_file_is_complete(functions: Image, console: Image) -> None:
    """`--no-deps` installs the lock file without checking dependencies, so check them here."""
    check = ("/usr/local/bin/python3", "-m", "pip", "--python", "/opt/venv", "check")
    for image in (functions, console):
        assert "No broken requirements found" in image.run(*check)
