"""Terraform on copies of folders, each initialised once; without it skip on a laptop and fail in CI."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.infra.terraform import TerraformMissing, Workspace, executable

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
def initialised(_terraform: None, tmp_path: Path) -> Initialised:
    """Makes a workspace of one .tf file's text."""

    def make(text: str) -> Workspace:
        source = tmp_path / "source"
        source.mkdir()
        (source / "main.tf").write_text(text)
        home = tmp_path / "home"
        home.mkdir()
        return Workspace(source, home)

    return make
