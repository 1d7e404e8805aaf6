"""Run the real Terraform on a folder of .tf files without a network, with a stand-in for Google's providers.

    .venv/bin/python -m tests.infra.terraform validate|plan|test|apply infra [-var NAME=VALUE ...]

`validate` finds unknown and missing arguments, wrong types and broken references. `plan` shows every resource with all
references resolved, for the values in variables.py. `test` runs the folder's .tftest.hcl files. `apply` creates a state
that is then thrown away. The folder is copied first, so nothing is written to it. If a resource type is missing, add it
to provider_schema.json.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.infra.variables import REQUIRED

PROVIDER = Path(__file__).with_name("standin_provider.py")
VERSION = "7.45.0"
CONFIGURATION = """
disable_checkpoint = true
provider_installation {
  filesystem_mirror {
    path = "%s"
  }
}
"""
NOT_COPIED = (".terraform*", "*.tfstate*", "terraform.tfvars*", "*.auto.tfvars*")
INFRA = Path(__file__).parents[2] / "infra"


class TerraformMissing(RuntimeError):
    """`terraform` is not on the path."""


class TerraformFailed(RuntimeError):
    """Terraform failed; the message is its output."""


@dataclass(frozen=True)
class Resource:
    """A planned resource, or a data source, whose address starts with `data.`."""

    address: str
    type: str
    name: str
    values: dict[str, Any]
    unknown: dict[str, Any] = field(default_factory=dict)  #: `true` where a value is known only after apply


@dataclass(frozen=True)
class Plan:
    """The resources and outputs that Terraform would create."""

    resources: dict[str, Resource]
    outputs: dict[str, Any]

    def of(self, type_: str) -> list[Resource]:
        """Return the resources of a type."""
        return [resource for resource in self.resources.values() if resource.type == type_]


def executable() -> str:
    """Return the path of terraform. Raises TerraformMissing if it is not installed."""
    found = shutil.which("terraform")
    if not found:
        raise TerraformMissing("terraform is missing: https://developer.hashicorp.com/terraform/install")
    return found


class Workspace:
    """A copy of a folder of .tf files in `home`, initialised with the stand-in providers."""

    def __init__(self, source: Path, home: Path) -> None:
        self.folder = home / "copy"
        self._home = home
        self._terraform = executable()
        leave = shutil.ignore_patterns(
            ".terraform*", "*.tfstate*", "terraform.tfvars*", "*.auto.tfvars*", "__pycache__"
        )
        shutil.copytree(source, self.folder, ignore=leave)
        (self.folder / "local_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
        (home / "terraform.rc").write_text(CONFIGURATION % _mirror(home / "mirror"))
        self.run("init", "-input=false")

    def run(self, *arguments: str) -> str:
        """Run a command and return its output. Raises TerraformFailed if it fails."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._home),
            "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
            "TF_CLI_CONFIG_FILE": str(self._home / "terraform.rc"),
            "TF_DISABLE_PLUGIN_TLS": "1",  # the socket is in a private folder
            "TF_IN_AUTOMATION": "1",
            "TF_CLI_ARGS": "-no-color",
        }
        done = subprocess.run(
            [self._terraform, *arguments],
            cwd=self.folder,
            env=environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if done.returncode:
            raise TerraformFailed(done.stdout)
        return done.stdout

    def validate(self) -> str:
        """Check the configuration."""
        return self.run("validate")

    def test(self) -> str:
        """Run the .tftest.hcl files."""
        return self.run("test")

    def plan(self, variables: Mapping[str, Any]) -> Plan:
        """Plan with these variables."""
        self.run("plan", "-input=false", "-out=plan", _variables(self._home, variables))
        return _read_plan(json.loads(self.run("show", "-json", "plan")))


def _variables(home: Path, variables: Mapping[str, Any]) -> str:
    path = home / "variables.tfvars.json"
    path.write_text(json.dumps(variables))
    return f"-var-file={path}"


def _mirror(path: Path) -> Path:
    """Write a mirror of the stand-in providers (https://developer.hashicorp.com/terraform/cli/config/config-file#filesystem_mirror)."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    for name in ("google", "google-beta"):
        folder = path / "registry.terraform.io/hashicorp" / name / VERSION / f"{sys.platform}_{machine}"
        folder.mkdir(parents=True)
        script = folder / f"terraform-provider-{name}_v{VERSION}"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{PROVIDER}" {name}\n')
        script.chmod(0o755)
    return path


def _read_plan(shown: dict[str, Any]) -> Plan:
    unknown = {
        change["address"]: change["change"].get("after_unknown") or {} for change in shown.get("resource_changes", [])
    }
    roots = [shown["planned_values"]["root_module"]]
    if "prior_state" in shown:
        roots.append(shown["prior_state"]["values"]["root_module"])
    resources = {
        each["address"]: Resource(
            each["address"], each["type"], each["name"], each["values"], unknown.get(each["address"], {})
        )
        for root in roots
        for each in _resources(root)
    }
    outputs = {name: output.get("value") for name, output in shown["planned_values"].get("outputs", {}).items()}
    return Plan(resources, outputs)


def _resources(module: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from module.get("resources", [])
    for child in module.get("child_modules", []):
        yield from _resources(child)


def main(arguments: list[str]) -> int:
    """Run the command line."""
    command, folder, *rest = arguments
    rest += ["-auto-approve"] if command == "apply" else []
    with tempfile.TemporaryDirectory() as home:
        try:
            workspace = Workspace(Path(folder), Path(home))
            if command in ("plan", "apply"):
                rest.insert(0, _variables(Path(home), REQUIRED))
            print(workspace.run(command, *rest))
        except (TerraformFailed, TerraformMissing) as failed:
            print(failed, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
