"""Finds Google's emulators and Java on this machine, or says how to install them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from speechpipe.contract.errors import SpeechpipeError

#: Less memory and a faster start than with the JVM's defaults: one compiler tier, the simplest collector.
JVM_FLAGS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Djava.net.preferIPv4Stack=true")
#: Google's image with all emulators: the last resort, and the only way without Java on this machine.
DOCKER_IMAGE = "gcr.io/google.com/cloudsdktool/google-cloud-cli:emulators"

FIRESTORE_MAIN = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"

HOW_TO_INSTALL = f"""\
Install them in one of these ways:
  Debian, Ubuntu (Google's apt repository):
    sudo apt-get install -y google-cloud-cli-pubsub-emulator google-cloud-cli-firestore-emulator default-jre-headless
  any gcloud that was not installed by a package manager (needs Java 17 or later as well):
    gcloud components install beta pubsub-emulator cloud-firestore-emulator
  Docker, which needs no Java on this machine:
    docker pull {DOCKER_IMAGE}"""


class EmulatorsMissing(SpeechpipeError):
    """An emulator, Java or the package of the Cloud Storage emulator is missing; the message says how to install it."""


@dataclass(frozen=True)
class Emulators:
    """The commands that start the emulators on ports of the loopback interface."""

    pubsub_jar: Path | None  #: None: run in Docker
    firestore_jar: Path | None
    java: str | None

    def pubsub(self, port: int) -> Sequence[str]:
        """The command of the Pub/Sub emulator."""
        if self.java and self.pubsub_jar:
            return (self.java, *JVM_FLAGS, "-jar", str(self.pubsub_jar), "--host=127.0.0.1", f"--port={port}")
        return _in_docker("cloud-pubsub-emulator-*-all.jar", "-jar $JAR", f"--host=127.0.0.1 --port={port}")

    def firestore(self, port: int, functions_port: int) -> Sequence[str]:
        """The command of the Firestore emulator, which posts trigger events to `functions_port`."""
        where = ("--host=127.0.0.1", f"--port={port}", f"--functions_emulator=127.0.0.1:{functions_port}")
        if self.java and self.firestore_jar:
            # What the launcher script next to the jar does; its `$*` breaks on paths with spaces.
            main = ("-cp", str(self.firestore_jar), FIRESTORE_MAIN)
            return (self.java, *JVM_FLAGS, "-Duser.language=en", *main, *where)
        return _in_docker("cloud-firestore-emulator.jar", f"-cp $JAR {FIRESTORE_MAIN}", " ".join(where))


def find() -> Emulators:
    """Look next to gcloud, then ask gcloud, then fall back to Docker. Raises EmulatorsMissing."""
    _check_packages()
    java = _java()
    missing = [] if java else ["Java"]
    for root in _sdk_roots():
        pubsub = _newest(root, "pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar")
        firestore = _newest(root, "cloud-firestore-emulator/cloud-firestore-emulator.jar")
        if java and pubsub and firestore:
            return Emulators(pubsub, firestore, java)
        missing += [] if pubsub else ["the Pub/Sub emulator"]
        missing += [] if firestore else ["the Firestore emulator"]
    if _docker_has_image():
        return Emulators(None, None, None)
    names = ", ".join(dict.fromkeys(missing)) or "gcloud with its Pub/Sub and Firestore emulators"
    raise EmulatorsMissing(f"Not found: {names}.\n{HOW_TO_INSTALL}")


def _check_packages() -> None:
    try:
        import functions_framework
    except ModuleNotFoundError as error:
        raise EmulatorsMissing(f"Not found: {error.name}.\n  pip install 'speechpipe[emulators]'") from error
    del functions_framework


def _java() -> str | None:
    home = os.environ.get("JAVA_HOME")
    inside = Path(home, "bin", "java") if home else None
    return str(inside) if inside and inside.is_file() else shutil.which("java")


def _sdk_roots() -> list[Path]:
    """The SDK's `platform` folder: next to the gcloud binary, or where gcloud says it is, which takes seconds."""
    binary = shutil.which("gcloud")
    if binary is None:
        return []
    beside = Path(binary).resolve().parent.parent / "platform"
    if beside.is_dir():
        return [beside]
    command = [binary, "info", "--format=value(installation.sdk_root)"]
    sdk_root = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout.strip()
    return [Path(sdk_root) / "platform"] if sdk_root else []


def _newest(root: Path, pattern: str) -> Path | None:
    return max(root.glob(pattern), default=None, key=lambda path: path.stat().st_mtime)


def _docker_has_image() -> bool:
    """Whether Docker is running and has the image. We never pull it without being asked."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    command = [docker, "image", "inspect", DOCKER_IMAGE]
    try:
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _in_docker(jar: str, java: str, arguments: str) -> Sequence[str]:
    """Run a jar from the image on the host's network, so that it reaches our functions and workers. Not tested yet.

    We do not use `gcloud beta emulators`, because it does not pass on `--functions_emulator`.
    """
    script = f'JAR=$(find / -xdev -name "{jar}" -print -quit 2>/dev/null); exec java {java} {arguments}'
    return ("docker", "run", "--rm", "--init", "--network=host", "--entrypoint=sh", DOCKER_IMAGE, "-c", script)
