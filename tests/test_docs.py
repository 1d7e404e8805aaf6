"""The documentation keeps up with the code."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
from typer.main import get_command

from speechpipe import settings
from speechpipe.cli.app import app
from speechpipe.emulators.cloud import LocalCloud
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


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings (https://docs.github.com/en/get-started/writing-on-github)."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", text, re.M)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_a_heading_find_it(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?://)([^)#\s]*)#([^)\s]+)\)", page.read_text()):
        if target.endswith(".md") or not target:
            assert anchor in headings(page.parent / target if target else page), (target, anchor)


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


def commands(page: str, of: str) -> set[str]:
    """The first words after a command's name, in code: `of WORD`, or a line of a block that begins so."""
    flags = r"(?: -\w+| [A-Z_]+=\S+)*"
    inline = re.findall(rf"`(?:[A-Z_]+=\S+ )*{of}{flags} ([a-z][\w-]*)", page)
    blocks = "\n".join(re.findall(r"^ *```sh\n(.*?)```", page, re.DOTALL | re.MULTILINE))
    return {*inline, *re.findall(rf"(?:^|[(/|&;]) *{of}{flags} ([a-z][\w-]*)", blocks, re.MULTILINE)}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "infra" / "README.md"], ids=lambda page: page.name)
def test_the_commands_that_a_page_names_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert commands(page.read_text(), "make") <= targets
    ours = getattr(get_command(app), "commands")  # noqa: B009  # of a group, which this is
    assert commands(page.read_text(), "speechpipe") <= set(ours)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_says_where_the_variables_of_its_commands_come_from(page: Path) -> None:
    text = page.read_text()
    for name in ("PROJECT", "REGION"):
        assert f"${name}" not in text or re.search(rf"export\b.*\b{name}=", text), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_table_begins_with_its_headings(page: Path) -> None:
    """Rows after an empty line are shown as one paragraph."""
    tables = re.findall(r"(?:^ *\|.*\n)+", page.read_text() + "\n", re.MULTILINE)
    assert [table for table in tables if not re.match(r".*\n *\|[-| :]+\|\n", table)] == []


#: What a LocalCloud is made of, rather than how it behaves.
PARTS = {"ids", "state", "workers", "functions", "settings", "serve", "report"}


def test_every_switch_of_the_local_cloud_is_explained() -> None:
    section = (ROOT / "docs" / "surprises.md").read_text().partition("\n## The local cloud\n")[2].partition("\n## ")[0]
    explained = set(re.findall(r"`(\w+)(?:\(\w+\))?`", "".join(re.findall(r"^\| (`.*?) \|", section, re.MULTILINE))))
    assert explained == {field.name for field in fields(LocalCloud)} - PARTS | {"losing"}


def test_the_tests_of_the_guarantees_exist() -> None:
    named = re.findall(r"`(test_\w+?)(?:_?\.\.\.)?`", (ROOT / "docs" / "architecture.md").read_text())
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert named
    assert not [name for name in named if f"def {name}" not in tests]
