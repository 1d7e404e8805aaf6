"""Build an image from a Dockerfile without a container engine, step by step, in a separate root folder.

The base image is this machine's Debian, read-only, with its Python 3.11 at /usr/local and nothing else from the
machine: no home, no checkout. Each stage is a folder. Its steps run in a mount namespace with that folder as root, with
the paths, environment and user that the Dockerfile sets. The result runs as it would with `docker run --network=none
--read-only --tmpfs=/tmp`. Needs root, as an engine does.

    python -m tests.docker.rehearsal functions FOLDER [NAME=VALUE ...]     build, smoke-test and measure
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.docker.dockerfile import Instruction, context, expand, parse

ROOT = Path(__file__).parents[2]
PYTHON = (3, 11)  #: the images' version; a test compares them
#: Prefixes of the build machine's variables that downloads need.
_PASSED_ON = ("PIP_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")

Edit = Callable[[Path], None]


class StepFailed(Exception):
    """A build step or command failed; the message has its output."""


def unable() -> str | None:
    """Return why this machine cannot build images this way, or None if it can."""
    if sys.version_info[:2] != PYTHON:
        return f"the images have Python {PYTHON[0]}.{PYTHON[1]}, this is {sys.version.split()[0]}"
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return "needs root and unshare, to change the root folder"
    tried = subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True, text=True)
    return tried.stderr.strip() or "no namespaces here" if tried.returncode else None


@dataclass
class Image:
    """A stage: its files and its state so far."""

    folder: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": "/usr/local/bin:/usr/bin:/bin"})
    arguments: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = "0:0"
    entrypoint: tuple[str, ...] = ()

    def run(self, *command: str, stdin: str = "", building: bool = False, **environment: str) -> str:
        """Run a command in the image and return its output. Raises StepFailed if it fails."""
        script = _BUILDING if building else _RUNNING
        variables = self.environment | environment
        inside = ["/usr/bin/env", "-i", "-C", self.workdir, *(f"{k}={v}" for k, v in variables.items()), *command]
        values = {"NEW": str(self.folder), "PYTHON": sys.base_prefix, "USERSPEC": self.user}
        namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child"] + ([] if building else ["--net"])
        done = subprocess.run(
            [*namespaces, "/bin/sh", "-euc", script + 'exec chroot --userspec="$USERSPEC" "$NEW" "$@"', "sh", *inside],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **values},
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            raise StepFailed(f"{shlex.join(command)}: status {done.returncode}\n{done.stdout}")
        return done.stdout

    def smoke(self, *arguments: str) -> str:
        """Run docker/smoke.sh in the image, as cloudbuild.yaml does, and return its output. Raises StepFailed."""
        return self.run("sh", "-s", *arguments, stdin=(ROOT / "docker/smoke.sh").read_text())


_BUILDING = """
mount --bind "$NEW" "$NEW"
for folder in usr etc dev; do mount --rbind --make-rslave "/$folder" "$NEW/$folder"; done
for folder in usr etc; do mount -o remount,bind,ro "$NEW/$folder"; done
mkdir -p "$NEW$PYTHON"
for folder in /usr/local "$PYTHON"; do  # also at its own path, where it looks for libpython
    mount --bind "$PYTHON" "$NEW$folder"
    mount -o remount,bind,ro "$NEW$folder"
done
mount -t proc proc "$NEW/proc"
mount -t tmpfs -o mode=1777 tmpfs "$NEW/tmp"
"""
_RUNNING = _BUILDING + 'ip link set lo up\nmount -o remount,bind,ro "$NEW"\n'


def build(dockerfile: Path, work: Path, arguments: Mapping[str, str] | None = None, edit: Edit | None = None) -> Image:
    """Build a Dockerfile and return its last stage.

    `work` is an empty folder. `edit` may change the requirement file before it is installed (to leave out the GPU's
    libraries), and is called again with the environment after the installation.
    """
    arguments = dict(arguments or {})
    files = list(context(ROOT))
    stages: dict[str, Image] = {}
    globals_: dict[str, str] = {}
    image: Image | None = None
    for step in parse(dockerfile):
        if step.name == "FROM":
            image = _from(step, stages, work)
        elif image is None:  # only arguments can come before the first stage
            globals_ |= {key: arguments.get(key, value) for key, value in step.pairs}
        else:
            _execute(step, image, stages, files, globals_ | arguments, edit)
    assert image is not None
    return image


def _from(step: Instruction, stages: dict[str, Image], work: Path) -> Image:
    base, _, name = step.value.partition(" AS ")
    folder = work / (name or "final")
    if base in stages:
        parent = stages[base]
        copy_tree(parent.folder, folder)
        image = Image(folder, dict(parent.environment), workdir=parent.workdir, user=parent.user)
    else:
        _make_base(folder)
        image = Image(folder)
    stages[name or "final"] = image
    return image


def _make_base(folder: Path) -> None:
    for name in ("usr", "etc", "dev", "proc", "tmp", "opt", "root"):
        (folder / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64", "sbin"):  # as in Debian since 12
        (folder / name).symlink_to(f"usr/{name}")


def _execute(
    step: Instruction,
    image: Image,
    stages: Mapping[str, Image],
    files: list[Path],
    arguments: Mapping[str, str],
    edit: Edit | None,
) -> None:
    variables = image.arguments | image.environment
    match step.name:
        case "ARG":
            image.arguments |= {key: arguments.get(key, value) for key, value in step.pairs}
        case "ENV":
            image.environment |= {key: expand(value, variables) for key, value in step.pairs}
        case "WORKDIR":
            image.workdir = expand(step.value, variables)
            _inside(image, image.workdir).mkdir(parents=True, exist_ok=True)
        case "USER":
            image.user = step.value
        case "ENTRYPOINT":
            image.entrypoint = tuple(step.command)
        case "COPY":
            _copy(step, image, stages, files, edit)
        case "RUN":
            passed_on = {key: value for key, value in os.environ.items() if key.startswith(_PASSED_ON)}
            image.run(*step.command, building=True, **passed_on, **image.arguments)
            if edit and "install" in step.value:
                edit(_inside(image, "/opt/venv"))


def _inside(image: Image, path: str) -> Path:
    return image.folder / os.path.join(image.workdir, path).lstrip("/")


def _copy(step: Instruction, image: Image, stages: Mapping[str, Image], files: list[Path], edit: Edit | None) -> None:
    *sources, target = step.value.split()
    if "from" in step.flags:
        copy_tree(stages[step.flags["from"]].folder / sources[0].lstrip("/"), _inside(image, target))
        return
    for source in sources:
        found = [path for path in files if path == ROOT / source or (ROOT / source) in path.parents]
        if not found:
            raise StepFailed(f"COPY {source}: not in the build context")
        for path in found:
            if path == ROOT / source:
                copy = _inside(image, target) / path.name if target.endswith("/") else _inside(image, target)
            else:
                copy = _inside(image, target) / path.relative_to(ROOT / source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
            if edit and copy.suffix == ".txt" and "requirements" in copy.name:
                edit(copy)


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder with hard links, as layers share their files; copy the contents where links are impossible."""
    linked = subprocess.run(["cp", "-al", str(source), str(target)], capture_output=True)
    if linked.returncode:
        subprocess.run(["cp", "-a", str(source), str(target)], check=True)


#: Modules that a process of each image imports before it can answer.
STARTUP_MODULES = {
    "functions": ("functions.ingest", "functions.join", "functions.give_up", "functions.sweep", "functions.reconcile"),
    "stt": ("workers.__main__", "workers.whisper.engine"),
    "ser": ("workers.__main__", "workers.emotion.classifier"),
    "console": ("speechpipe.console.__main__",),
}


def main(kind: str, work: str, *arguments: str) -> None:
    """Build, smoke-test and measure an image: MB on disk, CPU seconds per import in a new process (median of five)."""
    image = build(ROOT / f"docker/{kind}.Dockerfile", Path(work), dict(each.split("=", 1) for each in arguments))
    print(image.smoke(kind), end="")
    packages = image.folder / f"opt/venv/lib/python{PYTHON[0]}.{PYTHON[1]}/site-packages"
    whole = [image.folder / name for name in ("opt/venv", "app", "weights") if (image.folder / name).is_dir()]
    for path in (*whole, *packages.iterdir()):
        size = int(subprocess.run(["du", "-sm", str(path)], capture_output=True, text=True).stdout.split()[0])
        if size >= 20 or path.parent != packages:
            print(f"{size:6} MB  {path.relative_to(image.folder)}")
    for module in STARTUP_MODULES[kind]:
        code = f"import time, {module}; print(time.process_time())"
        seconds = sorted(float(image.run("python", "-c", code)) for _ in range(5))
        print(f"{seconds[2]:6.2f} s   import {module}")


if __name__ == "__main__":
    main(*sys.argv[1:])
