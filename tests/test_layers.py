"""Which module may import which: the table of docs/architecture.md, enforced."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: module -> what it may import of the project; packages stand for everything in them.
MAY_IMPORT = {
    "errors": set(),
    "contract": {"errors"},
    "align": {"contract"},
    "options": {"contract", "errors"},
    "combine": {"contract", "align"},
    "report": {"contract", "exports", "prices", "subtitles", "tracks"},
    "artifacts": {"contract", "report", "subtitles", "tracks"},
    "subtitles": {"contract"},
    "tracks": {"contract", "subtitles"},
    "explain": {"contract", "prices"},
    "interruptible": {"contract", "errors", "ports"},
    "leases": {"contract", "errors"},
    "ports": {"contract"},
    "settings": {"contract", "errors", "prices", "resources"},
    "metrics": set(),
    "prices": {"contract", "errors"},
    "probe": set(),
    "progress": {"contract"},
    "admission": {"contract", "errors", "ports", "prices", "probe", "report", "settings"},
    "oidc": {"errors", "settings"},
    "wire": {"contract", "errors"},
    "figures": {"contract"},
    "tally": {"metrics"},
    "telemetry": {"contract", "errors", "log"},
    "traced": {"contract", "ports", "telemetry"},
    "exporters": {"__version__", "telemetry"},
    "outcomes": {"contract", "ports"},
    "exports": {"contract"},
    "tables": {"contract"},
    "heartbeat": {"contract", "errors", "ports"},
    "backfill": {"admission", "contract", "errors", "options", "ports", "settings", "steps"},
    "operations": {"combine", "contract", "errors", "outcomes", "ports", "steps"},
    "steps": {
        "contract",
        "admission",
        "combine",
        "figures",
        "heartbeat",
        "outcomes",
        "options",
        "artifacts",
        "ports",
        "errors",
        "prices",
        "progress",
        "settings",
    },
    "log": set(),
    "resources": {"contract"},
}


def imports(path: Path) -> set[str]:
    """Modules of the project that a file imports at any depth, as `contract` or `workers`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = (
                [f"{node.module}.{alias.name}" for alias in node.names]
                if node.module == "speechpipe"
                else [node.module]
            )
        for name in names:
            parts = name.split(".")
            if parts[0] == "speechpipe":
                found.add(parts[1] if len(parts) > 1 else "")
            elif parts[0] in ("workers", "functions"):
                found.add(parts[0])
    return found


@pytest.mark.parametrize("module", MAY_IMPORT)
def test_a_module_imports_only_what_the_table_allows(module: str) -> None:
    package = ROOT / "speechpipe" / module
    files = sorted(package.glob("*.py")) if package.is_dir() else [package.with_suffix(".py")]
    assert set().union(*map(imports, files)) - {module} <= MAY_IMPORT[module]


def test_functions_import_neither_workers_nor_a_client() -> None:
    for path in (ROOT / "functions").glob("*.py"):
        assert not imports(path) & {"workers", "client", "cli", "local", "emulators", "console"}, path


def test_the_package_reaches_for_workers_in_two_places_only() -> None:
    users = {
        path.relative_to(ROOT / "speechpipe").as_posix()
        for path in (ROOT / "speechpipe").rglob("*.py")
        if "workers" in imports(path)
    }
    assert users <= {"engines.py", "doctor.py"}


def test_nothing_but_its_command_imports_the_console() -> None:
    users = {
        path.relative_to(ROOT / "speechpipe").as_posix()
        for path in (ROOT / "speechpipe").rglob("*.py")
        if "console" in imports(path) and path.parent.name != "console"
    }
    assert users == {"cli_console.py"}
    console = (ROOT / "speechpipe" / "console").glob("*.py")
    assert not any({"functions", "workers", "emulators"} & imports(path) for path in console)


@pytest.mark.parametrize("function", ["ingest", "join", "give_up", "sweep"])
def test_a_function_loads_neither_torch_nor_numpy(function: str) -> None:
    code = f"import sys, functions.{function}; print(*sorted({{'torch', 'numpy', 'workers', 'av'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == ""


def test_no_module_is_called_utils() -> None:
    names = {path.stem for path in ROOT.rglob("*.py") if ".venv" not in str(path.relative_to(ROOT))}
    assert not names & {"utils", "util", "common", "helpers", "misc"}
