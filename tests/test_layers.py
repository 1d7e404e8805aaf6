"""Which room may import which: the table of docs/architecture.md, enforced."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
#: Folders whose rooms are the table's rows; `functions/` and `workers/` are rooms themselves.
HOUSE, ANNEXES = "speechpipe", ("functions", "workers")
#: Files beside the rooms. `settings` belongs to the contract; `schemas` writes files for others, on top of everything.
BESIDE = {"__init__", "settings", "schemas"}


def rooms() -> list[str]:
    """The first column of the table, from the ground up."""
    table = ARCHITECTURE.partition("\n## Rooms\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([a-z]+)/`", table, re.M)


ROOMS = rooms()


def modules() -> dict[str, Path]:
    """Every module of the house by its dotted name."""
    files = [path for top in (HOUSE, *ANNEXES) for path in sorted((ROOT / top).rglob("*.py"))]
    names = (".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files)
    return dict(zip(names, files, strict=True))


MODULES = modules()


def imports(module: str) -> set[str]:
    """Modules of the house that a module imports, at any depth of its code."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & MODULES.keys()
            if names - MODULES.keys():
                found.add(node.module)
    return (found & MODULES.keys()) - {module}


def room_of(module: str) -> str | None:
    """The room that a module is in; None for one that is on top of all."""
    top, *rest = module.split(".")
    if top in ANNEXES:
        return top
    if rest[:1] == ["settings"]:
        return "contract"
    return rest[0] if rest and rest[0] not in BESIDE else None


def test_the_table_names_every_room_and_nothing_else() -> None:
    folders = {path.parent.name for path in (ROOT / HOUSE).glob("*/__init__.py")}
    assert len(ROOMS) == len(set(ROOMS)) == 12
    assert set(ROOMS) == folders | set(ANNEXES)
    assert {path.stem for path in (ROOT / HOUSE).glob("*.py")} == BESIDE


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_above_it(room: str) -> None:
    allowed = {*ROOMS[: ROOMS.index(room) + 1]}
    down = {
        f"{module} -> {imported}"
        for module in MODULES
        if room_of(module) == room
        for imported in imports(module)
        if imported != HOUSE and room_of(imported) not in allowed
    }
    assert not down


@pytest.mark.parametrize("room", ROOMS)
def test_the_files_of_a_room_have_no_circle(room: str) -> None:
    inside = {module for module in MODULES if room_of(module) == room}
    try:
        TopologicalSorter({module: imports(module) & inside for module in inside}).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_it_is(room: str) -> None:
    text = ast.get_docstring(ast.parse(MODULES[room if room in ANNEXES else f"{HOUSE}.{room}"].read_text())) or ""
    assert len(text.splitlines()) >= 3


def test_functions_import_neither_workers_nor_what_is_for_people() -> None:
    allowed = {"contract", "record", "backends", "observe", "pipeline", "functions", None}
    used = {imported for module in MODULES if room_of(module) == "functions" for imported in imports(module)}
    assert {room_of(module) for module in used} <= allowed


def test_the_package_reaches_for_workers_in_two_places_only() -> None:
    users = {module for module in MODULES if any(room_of(imported) == "workers" for imported in imports(module))}
    assert {module for module in users if room_of(module) != "workers"} == {
        "speechpipe.embedded.engines",
        "speechpipe.cli.doctor",
    }


def test_nothing_but_its_command_imports_the_console() -> None:
    users = {module for module in MODULES if any(room_of(imported) == "console" for imported in imports(module))}
    assert {module for module in users if room_of(module) != "console"} == {"speechpipe.cli.console"}


def test_the_console_knows_no_local_cloud() -> None:
    used = {imported for module in MODULES if room_of(module) == "console" for imported in imports(module)}
    assert not {room_of(module) for module in used} & {"functions", "workers", "emulators"}


@pytest.mark.parametrize("function", ["ingest", "join", "give_up", "sweep", "reconcile"])
def test_a_function_loads_neither_torch_nor_numpy(function: str) -> None:
    code = f"import sys, functions.{function}; print(*sorted({{'torch', 'numpy', 'workers', 'av'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == ""


def test_nothing_that_ships_contains_or_imports_the_training() -> None:
    find = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    assert find["include"] == [f"{top}*" for top in (HOUSE, *ANNEXES)]
    importing = re.compile(r"^\s*(?:from|import) training\b", re.M)
    assert not [module for module, path in MODULES.items() if importing.search(path.read_text())]


def test_no_module_is_called_utils() -> None:
    names = {path.stem for path in ROOT.rglob("*.py") if ".venv" not in str(path.relative_to(ROOT))}
    assert not names & {"utils", "util", "common", "helpers", "misc"}
