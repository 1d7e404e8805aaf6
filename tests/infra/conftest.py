"""Terraform workspaces, each initialised once. Without terraform the tests are skipped, or fail in CI."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deployment import Machine, machine
from tests.infra.terraform import INFRA, Plan, TerraformMissing, Workspace, executable
from tests.infra.variables import REQUIRED, VARIANTS

Initialised = Callable[[str], Workspace]


@pytest.fixture(scope="session")
def _terraform() -> None:
    try:
        executable()
    except TerraformMissing as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))


@pytest.fixture
def laptop(_terraform: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine to deploy from, and an empty project."""
    return machine(tmp_path, monkeypatch)


@pytest.fixture
def initialised(_terraform: None, tmp_path: Path) -> Initialised:
    """Factory of workspaces from the text of a single .tf file."""

    def make(text: str) -> Workspace:
        source = tmp_path / "source"
        source.mkdir()
        (source / "main.tf").write_text(text)
        home = tmp_path / "home"
        home.mkdir()
        return Workspace(source, home)

    return make


@pytest.fixture(scope="session")
def infra(_terraform: None, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with a copy of infra/."""
    return Workspace(INFRA, tmp_path_factory.mktemp("infra"))


@pytest.fixture(scope="session")
def plans(infra: Workspace) -> dict[str, Plan]:
    """The plan for infra/ with each variant of the options."""
    return {name: infra.plan(REQUIRED | options) for name, options in VARIANTS.items()}


@pytest.fixture(params=VARIANTS)
def plan(plans: dict[str, Plan], request: pytest.FixtureRequest) -> Plan:
    """Each of these plans."""
    return plans[request.param]
