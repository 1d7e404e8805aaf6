"""`make deploy` where Google refuses: it says so before it builds, waits where waiting helps, and forgets no choice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from infra.apply import PAUSE_SECONDS, patiently
from infra.commands import CommandFailed
from infra.estimate import describe_build
from infra.project import FIRST_APIS
from infra.quotas import CPU, GPUS, MEMORY, compare, read_limits
from tests.deployment import NEW_PROJECT, PROJECT, REGION, Machine, answering
from tests.infra.terraform import INFRA

EVENTARC = (
    'Error: Error creating Trigger: googleapi: Error 400: Invalid resource state for "": Permission denied while using'
    " the Eventarc Service Agent. If you recently started to use Eventarc, it may take a few minutes before all"
    " necessary permissions are propagated to the Service Agent."
)
DISABLED = (
    "Error: Error creating Database: googleapi: Error 403: Cloud Firestore API has not been used in project"
    ' 123456789012 before or it is disabled. Enable it ... reason: "SERVICE_DISABLED"'
)
NO_AGENT = (
    "Error: Error applying IAM policy for pubsub topic: Error setting IAM policy: googleapi: Error 400: Service account"
    " service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com does not exist., badRequest"
)
ALL_GPUS_BUSY = (
    "Error: Error waiting for Updating Service: Revision 'speechpipe-stt-worker-00002' is not ready and cannot serve"
    " traffic. Quota exceeded for total allowable count of GPUs per project per region."
)
TOO_FAST = (
    "Error: Error creating Field: googleapi: Error 429: Quota exceeded for quota metric 'Write requests' and limit"
    " 'Write requests per minute' of service 'firestore.googleapis.com'"
)
EXISTS = "Error: Error creating Database: googleapi: Error 409: Database already exists. Please use another database_id"
TOO_MANY = (
    "Error: Error creating Service: googleapi: Error 400: Max instances must be set to 2 or fewer in order to set the"
    " requested total memory. Quota violated: MemAllocPerProjectRegion requested: 51539607552 allowed: 42949672960"
)


@pytest.fixture
def ready(laptop: Machine) -> Machine:
    """A machine for a project in which Terraform can plan, and nothing else exists."""
    laptop.set_state(apis=list(FIRST_APIS), bucket="True")
    return laptop


def choose(laptop: Machine, text: str) -> None:
    """Set Terraform variables."""
    (laptop.home / "checkout/infra/terraform.tfvars").write_text(text)


def quota(name: str, value: str, region: str = REGION) -> dict[str, Any]:
    """Return a quota that was raised for one region, as `gcloud beta quotas info list` prints it."""
    here = {"dimensions": {"region": region}, "details": {"value": value}, "applicableLocations": [region]}
    return {"quotaId": name, "dimensions": ["region"], "dimensionsInfos": [here]}


# ---------------------------------------------------------------------------------------------------- before it builds


@pytest.mark.infra
def test_a_service_beyond_the_quota_stops_it_before_it_builds(
    ready: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    choose(ready, "max_instances = { stt = 3 }\n")
    assert ready.make("deploy", "--yes") == 1
    assert ready.changing == []
    out, err = capsys.readouterr()
    assert (
        "This would fail: speechpipe-stt-worker may start 3 instances with 48 GiB of memory, and the quota in"
        " us-central1 is 40. Request more, or set max_instances = { stt = 2 }" in out
    )
    assert f"--project={PROJECT} --quota-id=MemAllocPerProjectRegion --dimensions=region=us-central1" in out
    assert "--preferred-value=51539607552 " in out
    assert "speechpipe-join" not in out.partition("This would fail")[2]
    assert "nothing was changed, because the deployment would fail" in err


@pytest.mark.infra
@pytest.mark.parametrize("answer", ["n", "y"])
def test_a_person_may_go_on_all_the_same(ready: Machine, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quotas that were read may be wrong, or raised in a minute."""
    choose(ready, "max_instances = { stt = 3 }\n")
    ready.set_state(fails=["beta builds submit"])
    asked = answering(monkeypatch, answer)
    assert ready.make("deploy") == 1
    assert asked == ["The deployment would fail. Continue all the same? [y/N] "]
    assert ("gcloud beta builds submit" in ready.changing) == (answer == "y")


@pytest.mark.infra
def test_the_large_gpu_needs_quotas_that_a_new_project_lacks(
    ready: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ready.make("deploy", "--yes", "--accelerator=nvidia-rtx-pro-6000") == 1
    assert ready.changing == []
    said = capsys.readouterr().out
    assert (
        "speechpipe-stt-worker may start 1 instance with 80 GiB of memory, and the quota in us-central1 is 40" in said
    )
    assert "There is no quota for RTX PRO 6000 GPUs in us-central1. Request it first" in said
    assert "NvidiaRtxPro6000GpuAllocNoZonalRedundancyPerProjectRegion --dimensions=region=us-central1" in said
    assert "--preferred-value=2000 " in said  # thousandths of a GPU


@pytest.mark.infra
def test_what_only_limits_the_deployment_is_a_note(
    ready: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    choose(ready, "max_instances = { stt = 2 }\n")
    asked = answering(monkeypatch, "n")
    assert ready.make("deploy") == 1
    said = capsys.readouterr().out
    assert asked == ["Continue? [y/N] "]
    assert "Note: The workers may start instances with 48 GiB of memory together, and the quota" in said
    assert "Note: Google names no quota for L4 GPUs in us-central1. A new project gets three" in said
    assert "This would fail" not in said


@pytest.mark.infra
def test_quotas_that_cannot_be_read_stop_nothing(ready: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    ready.set_state(quotas=None)
    assert ready.make("plan") == 0
    assert "could not be read (ERROR: (gcloud.beta.quotas.info.list) PERMISSION_DENIED" in capsys.readouterr().out


@pytest.mark.infra
@pytest.mark.parametrize("kind", ["FIRESTORE_NATIVE", "DATASTORE_MODE"])
def test_an_existing_database_stops_it_before_it_builds(
    ready: Machine, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ready.set_state(databases={"(default)": {"type": kind, "locationId": "nam5"}})
    assert ready.make("deploy", "--yes") == 1
    assert ready.changing == []
    said = capsys.readouterr().out
    assert f"This would fail: the Firestore database (default) exists already ({kind}, nam5)" in said
    assert 'set database = "speechpipe" in infra/terraform.tfvars' in said

    choose(ready, 'database = "speechpipe"\n')
    assert ready.make("plan") == 0
    assert "exists already" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("infos", "limits"),
    [
        (NEW_PROJECT, {CPU.id: 20, MEMORY.id: 40}),
        ([quota(CPU.id, "60000"), quota(MEMORY.id, "-1")], {CPU.id: 60, MEMORY.id: float("inf")}),
        ([quota(GPUS["nvidia-l4"].id, "3"), quota(GPUS["nvidia-rtx-pro-6000"].id, "3000")], dict.fromkeys(
            [GPUS["nvidia-l4"].id, GPUS["nvidia-rtx-pro-6000"].id], 3
        )),
        ([quota(CPU.id, "60000", "europe-west4")], {}),
        ([quota("Unknown", "1"), {"quotaId": CPU.id}], {}),
    ],
)  # fmt: skip
def test_limits_are_those_of_the_region_in_our_units(infos: list[dict[str, Any]], limits: dict[str, float]) -> None:
    assert read_limits(infos, REGION) == limits


def test_a_raised_quota_of_the_region_counts_more_than_the_default() -> None:
    (default, *_) = NEW_PROJECT
    raised = {**default, "dimensionsInfos": [*default["dimensionsInfos"], *quota(CPU.id, "99000")["dimensionsInfos"]]}
    assert read_limits([raised], REGION) == {CPU.id: 99}


@pytest.mark.parametrize(("before", "notes"), [("nvidia-rtx-pro-6000", 0), ("nvidia-l4", 1), (None, 1)])
def test_a_gpu_that_already_runs_has_a_quota_whether_named_or_not(before: str | None, notes: int) -> None:
    old = {"template": [{"node_selector": [{"accelerator": before}]}]} if before else None
    plan = {"resource_changes": [{"type": "google_cloud_run_v2_service", "change": {"before": old}}]}
    assert len(list(compare(plan, {}, "nvidia-rtx-pro-6000", PROJECT, REGION))) == notes


def test_every_service_counts_and_small_ones_in_millis() -> None:
    def service(name: str, most: int, cpu: str, memory: str) -> dict[str, object]:
        container = {"resources": [{"limits": {"cpu": cpu, "memory": memory}}]}
        values = {"name": name, "template": [{"scaling": [{"max_instance_count": most}], "containers": [container]}]}
        return {"address": name, "type": "google_cloud_run_v2_service", "values": values}

    services = [service("speechpipe-join", 30, "1", "2Gi"), service("speechpipe-ingest", 30, "500m", "512Mi")]
    plan = {"planned_values": {"root_module": {"resources": services}}}
    found = list(compare(plan, {CPU.id: 20, MEMORY.id: 40}, "none", PROJECT, REGION))
    assert [finding.text.partition(",")[0] for finding in found] == [
        "speechpipe-join may start 30 instances with 30 vCPUs",
        "speechpipe-join may start 30 instances with 60 GiB of memory",
    ]


# ------------------------------------------------------------------------------------------------ what only wants time


@pytest.mark.infra
@pytest.mark.slow
def test_what_comes_too_early_is_planned_anew_and_applied_again(
    ready: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    ready.set_state(refusals=["", EVENTARC, DISABLED])  # the build's prerequisites succeed
    assert ready.make("deploy", "--yes") == 0
    assert ready.waits == [60, 60]
    said = capsys.readouterr().out
    assert "Google is still setting up its own agent in this project: trying again in 60 s." in said
    assert "An API was only just enabled: trying again in 60 s." in said
    steps = [call.split()[2] for call in ready.calls if call.startswith("terraform")]
    assert steps[-7:] == ["apply", "plan", "show", "apply", "plan", "show", "apply"]


@pytest.mark.infra
def test_it_waits_at_most_three_times(ready: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    ready.set_state(refusals=[EVENTARC] * 5)
    assert ready.make("deploy", "--yes") == 1
    assert ready.waits == [PAUSE_SECONDS] * 3
    assert ready.changing == ["terraform -chdir=infra apply"] * 4
    out, err = capsys.readouterr()
    assert EVENTARC in out  # the reason is the last thing on the screen
    assert "docs/deploy.md, Troubleshooting" in err


@pytest.mark.infra
@pytest.mark.parametrize("refusal", [EXISTS, TOO_MANY])
def test_what_no_waiting_helps_is_not_repeated(ready: Machine, refusal: str) -> None:
    ready.set_state(refusals=[refusal])
    assert ready.make("deploy", "--yes") == 1
    assert ready.waits == []


@pytest.mark.parametrize(
    "said", [EVENTARC, DISABLED, NO_AGENT, ALL_GPUS_BUSY, TOO_FAST, "Error 403: accessNotConfigured"]
)
def test_googles_messages_about_time_are_known(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.apply.sleep", lambda seconds: None)
    answers: list[Callable[[], str]] = [lambda: fail(said), lambda: "done"]
    assert patiently(lambda: answers.pop(0)()) == "done"


def fail(said: str) -> str:
    raise CommandFailed("terraform failed", said)


# ----------------------------------------------------------------------------------------------------- where it builds


def submissions(laptop: Machine) -> list[str]:
    """Return the regions of the builds so far."""
    return [call.partition("--region=")[2].split()[0] for call in laptop.calls if "builds submit" in call]


@pytest.mark.infra
@pytest.mark.slow
def test_where_a_new_project_may_not_build_another_region_does(
    ready: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    ready.set_state(restricted=["europe-west4"])
    assert ready.make("deploy", "--yes", "--region=europe-west4") == 0
    assert submissions(ready) == ["europe-west4", "europe-west1"]
    assert all("_REGION=europe-west4" in call for call in ready.calls if "builds submit" in call)
    assert "A new project may not build in europe-west4: building in europe-west1 instead." in capsys.readouterr().out
    applied = (ready.home / "checkout/infra/terraform.tfstate").read_text()
    assert f"europe-west4-docker.pkg.dev/{PROJECT}/speechpipe/stt@" in applied


@pytest.mark.infra
@pytest.mark.parametrize(
    ("arguments", "tried"),
    [
        ((), ["us-central1"]),
        (("--build-region=us-east4",), ["us-east4"]),
        (("--region=asia-southeast1",), ["asia-southeast1", "asia-east1"]),
    ],
)
def test_a_project_that_may_build_nowhere_is_told_what_to_request(
    ready: Machine, arguments: tuple[str, ...], tried: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    ready.set_state(restricted=["us-central1", "us-east4", "asia-southeast1", "asia-east1"])
    assert ready.make("deploy", "--yes", *arguments) == 1
    assert submissions(ready) == tried
    assert "docs/deploy.md, Troubleshooting" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------- what it remembers


@pytest.mark.infra
@pytest.mark.slow
def test_the_last_choices_stay_until_others_are_made(ready: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert ready.make("deploy", "--yes", "--accelerator=none", "--models=demo") == 0
    capsys.readouterr()
    ready.clear_calls()
    assert ready.make("deploy", "--yes") == 0
    assert ready.changing == []
    assert "with none and the demo models:\nNo changes." in capsys.readouterr().out

    assert ready.make("plan", "--accelerator=nvidia-l4", "--models=default") == 0
    said = capsys.readouterr().out
    assert "This changes what is deployed:\n  accelerator: none -> nvidia-l4\n  models: demo -> default\n" in said
    assert describe_build() in said

    ready.set_state(databases={"(default)": {"type": "FIRESTORE_NATIVE", "locationId": REGION}})
    assert ready.make("plan", "--accelerator=nvidia-l4") == 0
    assert "exists already" not in capsys.readouterr().out  # it is the deployment's own


# ----------------------------------------------------------------------------------------------------- on which machine

ONLY_PYDANTIC = """
import sys
PYDANTIC = {"pydantic", "pydantic_core", "typing_extensions", "typing_inspection", "annotated_types"}
ALLOWED = PYDANTIC | {"infra", "speechpipe"} | sys.stdlib_module_names
class Refusal:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in ALLOWED and not top.startswith("_sysconfigdata"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refusal())
from infra import deploy
sys.exit(deploy.main(["plan"]))
"""


def test_it_needs_nothing_but_python_and_pydantic() -> None:
    done = subprocess.run([sys.executable, "-c", ONLY_PYDANTIC], cwd=INFRA.parent, capture_output=True, text=True)
    assert "name the project and region: make plan PROJECT=my-project" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["plan", "deploy", "destroy", "exports"])
def test_make_installs_no_engine_for_it(command: str) -> None:
    said = subprocess.run(
        ["make", "--dry-run", "--always-make", command, "PROJECT=p", "REGION=r"],
        cwd=INFRA.parent,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    installed = [line.split() for line in said.splitlines() if "pip install" in line]
    assert [words[-1] for words in installed] == ["pydantic"]
    assert f".venv-deploy/bin/python -m infra.deploy {command}" in said


def test_ctrl_c_lets_the_command_end_by_itself() -> None:
    """Terraform must write its state and unlock it."""
    child = "trap 'echo unlocked; exit 1' INT; echo started; while :; do sleep 0.05; done"
    script = f"from infra import commands\ncommands.run('sh', '-c', {child!r})"
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=INFRA.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        while "started" not in (line := process.stdout.readline()) or line.startswith("$"):
            assert line, "it ended before it started"
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert "unlocked" in out
    assert "KeyboardInterrupt" in err
