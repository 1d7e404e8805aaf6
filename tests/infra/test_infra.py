"""infra/ is well formed, valid, passes its own tests, and plans with every option."""

from __future__ import annotations

import re

import pytest

from tests.infra.terraform import INFRA, Plan, Workspace

pytestmark = pytest.mark.infra


def test_it_is_formatted(infra: Workspace) -> None:
    assert infra.run("fmt", "-check", "-diff", "-recursive") == ""


def test_it_is_valid(infra: Workspace) -> None:
    assert "The configuration is valid" in infra.validate()


def test_its_own_tests_pass(infra: Workspace) -> None:
    assert re.search(r"Success! [1-9]\d* passed, 0 failed", infra.test())


def test_nothing_is_left_for_google_to_say(plan: Plan) -> None:
    """Every value that another resource or an output takes is known, so that the comparisons see all of them."""
    assert {
        address: resource.unknown for address, resource in plan.resources.items() if known_later(resource.unknown)
    } == {}


def known_later(unknown: object) -> bool:
    """Whether there is a `true` anywhere."""
    if isinstance(unknown, dict):
        return any(map(known_later, unknown.values()))
    if isinstance(unknown, list):
        return any(map(known_later, unknown))
    return bool(unknown)


def test_every_check_that_is_skipped_has_its_reason() -> None:
    skips = [skip for path in INFRA.rglob("*.tf") for skip in re.findall(r"checkov:skip=.*", path.read_text())]
    assert [skip for skip in skips if not re.fullmatch(r"checkov:skip=CKV\w+: ?\w.{15,}", skip)] == []
    assert "skip-check" not in (INFRA / ".checkov.yaml").read_text()
