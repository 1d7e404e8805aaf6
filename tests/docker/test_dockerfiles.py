"""The contents of the Dockerfiles, their build context and cloudbuild.yaml; test_images tests the images themselves."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.target import IMAGES
from speechpipe.contract import Stage
from tests.docker.dockerfile import Instruction, context, parse
from tests.docker.rehearsal import PYTHON, ROOT
from workers.models.choice import DEFAULT_CLASSIFIER, DEFAULT_WHISPER, PINS
from workers.models.naming import repository_of

#: Images without weights.
LIGHT = ("functions", "console")


def steps(image: str) -> list[Instruction]:
    return parse(ROOT / f"docker/{image}.Dockerfile")


def argument(image: str, name: str) -> set[str]:
    return {value for step in steps(image) if step.name == "ARG" for key, value in step.pairs if key == name}


# ---------------------------------------------------------------------------------------------------------- Dockerfiles


@pytest.mark.parametrize("image", IMAGES)
def test_layers_that_change_often_come_last(image: str) -> None:
    said = [f"{step.name} {step.value}" for step in steps(image)]
    order = ["pip --python /opt/venv install", "COPY /weights", "COPY speechpipe speechpipe"]
    at = [next((n for n, line in enumerate(said) if part in line), None) for part in order]
    found = [n for n in at if n is not None]
    assert found == sorted(found)
    assert len(found) == (2 if image in LIGHT else 3)


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_runs_python_directly_as_an_unprivileged_user(image: str) -> None:
    last = {step.name: step for step in steps(image)}
    assert last["USER"].value == "65532:65532"
    assert last["ENTRYPOINT"].value.startswith("[")  # a shell would not pass on SIGTERM
    assert "CMD" not in last


def test_all_images_share_a_pinned_base_with_the_python_of_the_tests() -> None:
    bases = {base for image in IMAGES for base in argument(image, "BASE")}
    assert bases == {f"python:{PYTHON[0]}.{PYTHON[1]}.15-slim-bookworm"}
    for image in IMAGES:
        stages = {step.value.partition(" AS ")[2] for step in steps(image) if step.name == "FROM"}
        bases = {step.value.partition(" AS ")[0] for step in steps(image) if step.name == "FROM"}
        assert bases - stages == {"${BASE}"}


@pytest.mark.parametrize(
    ("image", "repository"), [("stt", repository_of(Stage.STT, DEFAULT_WHISPER["cuda"])), ("ser", DEFAULT_CLASSIFIER)]
)
def test_the_weights_are_the_default_models_at_their_pinned_revisions(image: str, repository: str) -> None:
    assert argument(image, f"{image.upper()}_MODEL") == {repository}
    assert argument(image, f"{image.upper()}_REVISION") == {PINS[repository]}
    substitutions = cloudbuild()["substitutions"]
    assert substitutions[f"_{image.upper()}_MODEL"] == repository
    assert substitutions[f"_{image.upper()}_REVISION"] == PINS[repository]


@pytest.mark.parametrize("image", IMAGES)
def test_a_build_downloads_only_packages_and_weights(image: str) -> None:
    for step in steps(image):
        if step.name == "RUN":
            assert re.search(r"-m venv|-m pip --python|weights\.py|compileall", step.value), step.value
    environment = dict(pair for step in steps(image) if step.name == "ENV" for pair in step.pairs)
    assert image in LIGHT or environment["HF_HUB_OFFLINE"] == "1"


def test_the_build_context_contains_only_code_and_lock_files() -> None:
    files = {path.relative_to(ROOT).as_posix() for path in context(ROOT)}
    assert {name.partition("/")[0] for name in files} == {"docker", "speechpipe", "functions", "workers"}
    assert {"docker/requirements/stt.txt", "docker/weights.py", "workers/demo/models/whisper/model.bin"} <= files
    assert not {name for name in files if "__pycache__" in name}
    samples = {name for name in files if name.startswith("workers/demo/samples/")}
    assert samples == {"workers/demo/samples/kennedy_1961.flac"}  # for the smoke test
    assert not {name for name in files if name.startswith("training/")}
    assert {name for name in files if re.fullmatch(r"workers/demo/.*\.py", name)} == {"workers/demo/__init__.py"}


def test_the_last_matching_pattern_decides_what_is_ignored(tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").write_text("*\n!kept\n**/*.pyc\nkept/inner/*.py\n!kept/inner/one.py\n")
    for name in ("outside", "kept/a.py", "kept/deep/b.pyc", "kept/inner/one.py", "kept/inner/two.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    kept = {path.relative_to(tmp_path).as_posix() for path in context(tmp_path)}
    assert kept == {"kept/a.py", "kept/inner/one.py"}


# ------------------------------------------------------------------------------------------------------ cloudbuild.yaml


def cloudbuild() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "cloudbuild.yaml").read_text())
    return loaded


def test_every_substitution_is_defined_and_used() -> None:
    text = re.sub(r"^\s*#.*$", "", (ROOT / "cloudbuild.yaml").read_text(), flags=re.M)
    used = set(re.findall(r"(?<!\$)\$\{?(_[A-Z_]+)\}?", text))
    assert used == set(cloudbuild()["substitutions"])


def test_shell_variables_are_not_taken_for_substitutions() -> None:
    """Cloud Build rejects an unknown `$name`; it passes `$$name` to the shell."""
    built_in = {"PROJECT_ID", "BUILD_ID"}
    for step in cloudbuild()["steps"]:
        for text in step["args"]:
            names = set(re.findall(r"(?<!\$)\$\{?([A-Za-z_]+)\}?", text))
            assert {name for name in names if not name.startswith("_")} <= built_in, step["id"]


def test_the_builder_takes_base_images_from_the_mirror_first() -> None:
    (builder,) = [step for step in cloudbuild()["steps"] if step["id"] == "builder"]
    (config,) = [each.partition("=")[2] for each in builder["args"] if each.startswith("--buildkitd-config=")]
    loaded = tomllib.loads((ROOT / config).read_text())
    assert loaded == {"registry": {"docker.io": {"mirrors": ["mirror.gcr.io"]}}}


def test_the_test_step_downloads_no_cuda() -> None:
    (test,) = [step for step in cloudbuild()["steps"] if step["id"] == "test"]
    made = subprocess.run(
        [test["entrypoint"], "--dry-run", "--always-make", *test["args"]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = [each for each in made.stdout.splitlines() if each.endswith("constraint constraints.txt torch")]
    assert "--torch-backend=cpu" in line


def test_steps_wait_only_for_earlier_steps() -> None:
    before: set[str] = set()
    for step in cloudbuild()["steps"]:
        assert set(step["waitFor"]) <= before | {"-"}, step["id"]
        before.add(step["id"])


def test_an_image_is_built_then_smoke_tested_then_pushed_and_gets_provenance() -> None:
    build = cloudbuild()
    steps = {step["id"]: step for step in build["steps"]}
    assert build["images"] == [f"${{_REGISTRY}}/{image}:${{_TAG}}" for image in IMAGES]
    for image in IMAGES:
        assert f"--file=docker/{image}.Dockerfile" in steps[f"build-{image}"]["args"]
        assert "--load" in steps[f"build-{image}"]["args"]
        smoke = steps[f"smoke-{image}"]
        assert f"${{_REGISTRY}}/{image}:${{_TAG}} -s {image} < docker/smoke.sh" in smoke["args"][-1]
        assert "--network=none --read-only --tmpfs=/tmp" in smoke["args"][-1]
        assert smoke["waitFor"] == [f"build-{image}"]
    assert set(steps["push"]["waitFor"]) == {"test", *(f"smoke-{image}" for image in IMAGES)}
    assert f"for image in {' '.join(IMAGES)}; do" in steps["push"]["args"][-1]
    assert build["options"]["requestedVerifyOption"] == "VERIFIED"


def test_a_build_gets_exactly_the_arguments_of_its_dockerfile() -> None:
    steps_ = {step["id"]: step for step in cloudbuild()["steps"]}
    for image in IMAGES:
        given = {arg.split("=")[1] for arg in steps_[f"build-{image}"]["args"] if arg.startswith("--build-arg=")}
        taken = {key for step in steps(image) if step.name == "ARG" for key, _ in step.pairs}
        assert given == taken


def test_every_builder_is_pinned() -> None:
    for step in cloudbuild()["steps"]:
        assert re.search(r":[\w.-]*\d+\.\d+\.\d+[\w.-]*$", step["name"]), step["name"]


@pytest.fixture
def deployed(tmp_path: Path) -> Callable[..., list[str]]:
    """Runs the last step with these substitutions and a stand-in for terraform; returns what that was called with."""
    calls, terraform = tmp_path / "calls", tmp_path / "terraform"
    terraform.write_text('#!/bin/sh\necho "$*" >> "$CALLS"\n')
    terraform.chmod(0o755)

    def run(**given: str) -> list[str]:
        values = {"PROJECT_ID": "example-project", **cloudbuild()["substitutions"], **given}
        step = cloudbuild()["steps"][-1]
        script = re.sub(r"\$\$|\$\{?(\w+)\}?", lambda found: values[found[1]] if found[1] else "$", step["args"][-1])
        calls.write_text("")
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(calls)}
        subprocess.run([step["entrypoint"], *step["args"][:-1], script], cwd=ROOT, env=environment, check=True)
        return calls.read_text().splitlines()

    return run


def test_a_build_deploys_only_on_request(deployed: Callable[..., list[str]]) -> None:
    assert deployed() == []


@pytest.mark.parametrize(("model", "models"), [({}, "default"), ({"_STT_MODEL": "demo", "_SER_MODEL": "demo"}, "demo")])
def test_a_build_that_deploys_leaves_its_choices_for_the_next_make_deploy(
    deployed: Callable[..., list[str]], model: dict[str, str], models: str
) -> None:
    init, apply = deployed(_DEPLOY="true", _REGION="europe-west4", _ACCELERATOR="none", **model)
    assert "-backend-config=bucket=example-project-speechpipe-tfstate" in init
    for choice in ("project_id=example-project", "region=europe-west4", "accelerator=none", f"models={models}"):
        assert f"-var={choice}" in apply.split()
