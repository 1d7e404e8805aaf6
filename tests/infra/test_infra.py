"""infra/ is formatted, valid, passes its own tests, and can be planned with every option."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.infra.terraform import INFRA, Plan, Workspace

pytestmark = pytest.mark.infra


def test_it_is_formatted(infra: Workspace) -> None:
    assert infra.run("fmt", "-check", "-diff", "-recursive") == ""


def test_it_is_valid(infra: Workspace) -> None:
    assert "The configuration is valid" in infra.validate()


def test_its_own_tests_pass(infra: Workspace) -> None:
    assert re.search(r"Success! [1-9]\d* passed, 0 failed", infra.test())


def test_every_planned_value_is_known(plan: Plan) -> None:
    """So that the comparisons with the code see every value."""
    assert {
        address: resource.unknown for address, resource in plan.resources.items() if has_unknown(resource.unknown)
    } == {}


def has_unknown(unknown: object) -> bool:
    """Whether any value in a plan's `after_unknown` is true."""
    if isinstance(unknown, dict):
        return any(map(has_unknown, unknown.values()))
    if isinstance(unknown, list):
        return any(map(has_unknown, unknown))
    return bool(unknown)


def test_every_skipped_check_has_a_reason() -> None:
    skips = [skip for path in INFRA.rglob("*.tf") for skip in re.findall(r"checkov:skip=.*", path.read_text())]
    assert [skip for skip in skips if not re.fullmatch(r"checkov:skip=CKV\w+: ?\w.{15,}", skip)] == []
    assert "skip-check" not in (INFRA / ".checkov.yaml").read_text()


#: Files with Terraform variables -> whether they may be committed, and are part of what a build gets.
VARIABLE_FILES = {
    "infra/prod.auto.tfvars": True,
    "infra/terraform.tfvars": False,
    "infra/images.auto.tfvars": False,
    "other/prod.auto.tfvars": False,
}


def test_a_build_gets_the_variables_that_may_be_committed(tmp_path: Path) -> None:
    for name in (".gitignore", ".gcloudignore"):
        shutil.copy(INFRA.parent / name, tmp_path)
    for name in VARIABLE_FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    listing = ["git", "ls-files", "--others", "--exclude-standard"]
    listed = [subprocess.run(listing, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.splitlines()]
    if shutil.which("gcloud"):
        listing = ["gcloud", "meta", "list-files-for-upload", "."]
        uploaded = subprocess.run(listing, cwd=tmp_path, capture_output=True, text=True, check=True)
        listed.append(uploaded.stdout.splitlines())
    for names in listed:
        assert {name: name in names for name in VARIABLE_FILES} == VARIABLE_FILES
