"""The documentation keeps up with the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from speechpipe import settings
from tests.test_layers import ROOT

OPERATE = (ROOT / "docs" / "operate.md").read_text()
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(ROOT.glob("docs/**/*.md"))


#: Actions that no line of code has in full.
CHOSEN_AT_RUN_TIME = {"queued", "rejected", "taken_over", "acted_emotions", "demo_models", "smaller_model"}


def test_every_log_action_is_explained_and_every_explained_one_exists() -> None:
    sources = [p for folder in ("speechpipe", "functions", "workers") for p in (ROOT / folder).glob("**/*.py")]
    code = "\n".join(path.read_text() for path in sources if "demo" not in path.parts)
    used = set(re.findall(r'"action": "([a-z_]+)"', code)) | CHOSEN_AT_RUN_TIME
    explained = set(re.findall(r"^\| `([a-z_]+)` \| (?:info|warning|error|critical)", OPERATE, re.M))
    assert explained == used


def test_every_setting_is_listed() -> None:
    kinds = (settings.FunctionSettings, settings.WorkerSettings, settings.ClientSettings, settings.ConsoleSettings)
    for kind in kinds:
        for field in kind.model_fields.values():
            assert f"`{field.alias}`" in OPERATE


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


#: Files that people or commands make, and the prefix of metrics in Cloud Monitoring.
ELSEWHERE = {
    "infra/terraform.tfvars",
    "infra/prod.auto.tfvars",
    "infra/.terraform.lock.hcl",
    "benchmarks/results/gpu.md",
    "speechpipe/NAME",
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_files_that_a_page_names_exist(page: Path) -> None:
    named = re.findall(
        r"`((?:speechpipe|functions|workers|training|tests|infra|docker|benchmarks|docs)/[\w./-]+)`", page.read_text()
    )
    assert not [name for name in named if not (ROOT / name).exists() and name not in ELSEWHERE]


def test_the_tests_of_the_guarantees_exist() -> None:
    named = re.findall(r"`(test_\w+?)(?:_?\.\.\.)?`", (ROOT / "docs" / "architecture.md").read_text())
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert named
    assert not [name for name in named if f"def {name}" not in tests]
