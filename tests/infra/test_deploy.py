"""`make plan`, `deploy`, `destroy`, `exports`: real Terraform, stand-in providers, and a gcloud that records calls."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra import commands, deploy, images
from infra.estimate import count_changes, describe_changes, describe_cost, warm_instances
from infra.project import FIRST_APIS
from speechpipe.contract import Stage
from tests.deployment import DIGEST, PROJECT, REGION, Machine, answering

# ------------------------------------------------------------------------------------------------------------ deploying


@pytest.mark.infra
@pytest.mark.slow
def test_an_empty_project_is_deployed_step_by_step_and_a_second_run_changes_nothing(
    laptop: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answering(monkeypatch, "y", "yes")
    assert laptop.make("deploy") == 0
    assert laptop.changing == [
        "gcloud services enable",
        "gcloud storage buckets create",
        "gcloud storage buckets update",
        "terraform -chdir=infra apply",  # the build's prerequisites
        "gcloud beta builds submit",
        "terraform -chdir=infra apply",
        "gcloud pubsub subscriptions update",  # Eventarc's subscription: the deadline that Terraform cannot set
    ]
    raised = f"eventarc-{REGION}-speechpipe-partials-sub-123 --project={PROJECT} --ack-deadline=600"
    assert [call.endswith(raised) for call in laptop.calls if "subscriptions update" in call] == [True]
    said = capsys.readouterr().out
    assert len(asked) == 2
    assert "cloud run v2 service" in said
    assert "pubsub subscription" in said
    assert "0.00 USD per hour (warm: none)" in said
    assert "ten minutes after its last recording" in said
    assert "gcloud storage cp workers/demo/samples/kennedy_1961.flac gs://$SPEECHPIPE_UPLOADS_BUCKET/" in said
    assert 'Step #0 - "test": passed' in said  # the build's log, as it comes
    applied = json.loads((laptop.home / "checkout/infra/terraform.tfstate").read_text())
    assert f"{REGION}-docker.pkg.dev/{PROJECT}/speechpipe/stt@{DIGEST}" in json.dumps(applied)

    laptop.clear_calls()
    asked.clear()
    assert laptop.make("deploy") == 0
    assert laptop.changing == []
    assert asked == []
    assert "No changes." in capsys.readouterr().out


@pytest.mark.infra
@pytest.mark.parametrize("answers", [(), ("n",), ("",)])
def test_without_a_yes_nothing_happens(
    laptop: Machine, answers: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(monkeypatch, *answers)
    assert laptop.make("deploy") == 1
    assert laptop.changing == []
    assert not any(call.startswith("terraform") for call in laptop.calls)
    out, err = capsys.readouterr()
    assert "USD per hour of audio" in out
    assert "nothing was created" in err


@pytest.mark.infra
def test_declining_the_plan_changes_nothing(
    laptop: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    laptop.set_state(apis=list(FIRST_APIS), bucket="True")
    answering(monkeypatch, "n")
    assert laptop.make("deploy") == 1
    assert laptop.changing == []
    assert "nothing was changed" in capsys.readouterr().err


@pytest.mark.infra
def test_plan_neither_changes_nor_asks_anything_once_terraform_can_plan(
    laptop: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    laptop.set_state(apis=list(FIRST_APIS), bucket="True")
    (laptop.home / "checkout/infra/terraform.tfvars").write_text("min_instances = { stt = 1 }\n")
    asked = answering(monkeypatch)
    assert laptop.make("plan") == 0
    assert laptop.changing == []
    assert asked == []
    said = capsys.readouterr().out
    assert "Four images are built first, in Cloud Build: 30 to 40 minutes" in said
    assert "1.05 USD per hour (warm: 1 stt)" in said


@pytest.mark.infra
@pytest.mark.slow
def test_the_console_is_deployed_once_its_users_are_named(laptop: Machine) -> None:
    image = f"{REGION}-docker.pkg.dev/{PROJECT}/speechpipe/console@{DIGEST}"
    state = laptop.home / "checkout/infra/terraform.tfstate"
    assert laptop.make("deploy", "--yes") == 0
    assert image not in state.read_text()
    (laptop.home / "checkout/infra/terraform.tfvars").write_text('console = { users = ["group:team@example.com"] }\n')
    laptop.clear_calls()
    assert laptop.make("deploy", "--yes") == 0
    assert laptop.changing == ["terraform -chdir=infra apply"]  # the image is already built
    assert image in state.read_text()


@pytest.mark.infra
@pytest.mark.slow
def test_an_interrupted_deployment_continues_where_it_stopped(
    laptop: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    laptop.set_state(fails=["beta builds submit"])
    assert laptop.make("deploy", "--yes") == 1
    assert "Run make again to continue from here" in capsys.readouterr().err
    laptop.set_state(fails=[])
    laptop.clear_calls()
    assert laptop.make("deploy", "--yes") == 0
    assert laptop.changing == [
        "terraform -chdir=infra apply",
        "gcloud beta builds submit",
        "terraform -chdir=infra apply",
        "gcloud pubsub subscriptions update",
    ]


@pytest.mark.infra
@pytest.mark.slow
def test_a_deadline_that_somebody_lowered_is_raised_again_although_nothing_else_changes(laptop: Machine) -> None:
    assert laptop.make("deploy", "--yes") == 0
    laptop.set_state(deadline="10")
    laptop.clear_calls()
    assert laptop.make("deploy", "--yes") == 0
    assert laptop.changing == ["gcloud pubsub subscriptions update"]


@pytest.mark.infra
def test_a_build_runs_as_the_builder_with_the_requested_models(laptop: Machine) -> None:
    laptop.set_state(fails=["beta builds submit"])
    laptop.make("deploy", "--yes", "--models=demo", "--accelerator=none")
    (submitted,) = [call for call in laptop.calls if call.startswith("gcloud beta builds submit")]
    assert f"--service-account=projects/{PROJECT}/serviceAccounts/speechpipe-build@{PROJECT}.iam" in submitted
    assert "_STT_MODEL=demo,_SER_MODEL=demo" in submitted
    state = json.loads((laptop.home / "checkout/infra/terraform.tfstate").read_text())
    made = {f"{each['type']}.{each['name']}": each["instances"][0]["attributes"] for each in state["resources"]}
    assert f"/{made['google_service_account.build']['email']} " in submitted
    assert f"gs://{made['google_storage_bucket.source']['name']}/" in submitted
    assert made["google_artifact_registry_repository.images"]["repository_id"] == "speechpipe"


def test_the_image_tag_depends_on_the_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "ROOT", tmp_path)
    for source in images.SOURCES:
        (tmp_path / source).write_text(source)
    before = images.image_tag("default")
    (tmp_path / "README.md").write_text("other words")
    assert images.image_tag("default") == before
    assert images.image_tag("demo") != before
    (tmp_path / "workers").write_text("other code")
    assert images.image_tag("default") != before


# -------------------------------------------------------------------------------------------------------- prerequisites


@pytest.mark.parametrize("command", ["plan", "deploy", "destroy", "exports"])
def test_nothing_happens_without_a_project_and_a_region(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy.main([command, "--project=", "--region=europe-west4"]) == 1
    assert f"make {command} PROJECT=my-project REGION=us-central1" in capsys.readouterr().err


def test_a_missing_command_is_reported_with_its_download_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert deploy.main(["deploy", f"--project={PROJECT}", f"--region={REGION}"]) == 1
    assert "gcloud is not installed: https://cloud.google.com/sdk/docs/install" in capsys.readouterr().err


@pytest.mark.infra
@pytest.mark.parametrize(
    ("state", "remedy"),
    [
        ({"account": ""}, "gcloud auth login"),
        ({"fails": ["auth application-default"]}, "gcloud auth application-default login"),
        ({"fails": ["projects describe"]}, "gcloud projects list"),
    ],
)
def test_a_missing_prerequisite_is_reported_with_its_remedy(
    laptop: Machine, state: dict[str, object], remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    laptop.set_state(**state)
    assert laptop.make("deploy", "--yes") == 1
    assert remedy in capsys.readouterr().err
    assert laptop.changing == []


# ----------------------------------------------------------------------------------------------------- exports, destroy


@pytest.mark.infra
@pytest.mark.slow
def test_exports_are_what_the_client_reads(laptop: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert laptop.make("deploy", "--yes") == 0
    capsys.readouterr()
    assert laptop.make("exports") == 0
    exported = capsys.readouterr().out.splitlines()
    assert f"export GOOGLE_CLOUD_PROJECT={PROJECT}" in exported
    assert f"export SPEECHPIPE_UPLOADS_BUCKET={PROJECT}-speechpipe-uploads" in exported


@pytest.mark.infra
@pytest.mark.parametrize("command", ["exports", "destroy"])
def test_a_project_without_a_deployment_is_reported(
    laptop: Machine, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert laptop.make(command, "--yes") == 1
    assert f"nothing is deployed in {PROJECT}: make deploy PROJECT={PROJECT}" in capsys.readouterr().err
    assert not any(call.startswith("terraform") for call in laptop.calls)


@pytest.mark.infra
@pytest.mark.slow
def test_destroy_keeps_the_data_unless_told_to_delete_it(
    laptop: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert laptop.make("deploy", "--yes") == 0
    laptop.clear_calls()
    answering(monkeypatch, "n")
    assert laptop.make("destroy") == 1
    assert laptop.changing == []

    answering(monkeypatch, "y")
    assert laptop.make("destroy") == 0
    assert "kept: google_storage_bucket.uploads" in capsys.readouterr().out
    left = types_left(laptop)
    assert {"google_storage_bucket", "google_firestore_database", "google_firestore_index"} <= left
    assert not left & {"google_cloud_run_v2_service", "google_pubsub_topic", "google_service_account"}

    asked = answering(monkeypatch, "y", "n")
    assert laptop.make("destroy", "--delete-data") == 1
    assert len(asked) == 2
    assert types_left(laptop) == left

    answering(monkeypatch, "y", "y")
    assert laptop.make("destroy", "--delete-data") == 0
    assert not types_left(laptop)
    assert laptop.make("destroy", "--yes") == 1
    assert "nothing is left to delete" in capsys.readouterr().err


def types_left(laptop: Machine) -> set[str]:
    state = json.loads((laptop.home / "checkout/infra/terraform.tfstate").read_text())
    return {each["type"] for each in state["resources"] if each["mode"] == "managed"}


# --------------------------------------------------------------------------------------------------------------- output


def test_changes_are_counted_by_type_and_action() -> None:
    def change(type_: str, *actions: str, mode: str = "managed") -> dict[str, object]:
        return {"type": type_, "mode": mode, "change": {"actions": list(actions)}}

    counts = count_changes(
        {
            "resource_changes": [
                change("google_pubsub_topic", "create"),
                change("google_pubsub_topic", "create"),
                change("google_cloud_run_v2_service", "update"),
                change("google_cloud_run_v2_service", "delete", "create"),
                change("google_storage_bucket", "no-op"),
                change("google_project", "read", mode="data"),
            ]
        }
    )
    assert [" ".join(line.split()) for line in describe_changes(counts)] == [
        "cloud run v2 service 1 to change, 1 to replace",
        "pubsub topic 2 to create",
        "total 1 to change, 2 to create, 1 to replace",
    ]


def test_warm_instances_cost_money_while_idle() -> None:
    def service(name: str, least: int) -> dict[str, object]:
        template = [{"scaling": [{"min_instance_count": least}]}]
        return {"address": name, "type": "google_cloud_run_v2_service", "values": {"template": template}}

    plan = {
        "planned_values": {
            "root_module": {
                "child_modules": [
                    {"resources": [service('module.stage["stt"].google_cloud_run_v2_service.this', 2)]},
                    {"resources": [service('module.stage["ser"].google_cloud_run_v2_service.this', 0)]},
                    {"resources": [service('module.function["join"].google_cloud_run_v2_service.this', 0)]},
                ]
            }
        }
    }
    warm = warm_instances(plan)
    assert warm == {Stage.STT: 2, Stage.SER: 0}
    said = "\n".join(describe_cost("nvidia-l4", warm))
    assert "2.09 USD per hour (warm: 2 stt)" in said
    assert "(1.05 per instance hour, plus up to 0.17 idle after the last recording)" in said


def test_without_a_gpu_there_is_no_price_per_hour_of_audio() -> None:
    said = "\n".join(describe_cost("none", dict.fromkeys(Stage, 0)))
    assert "hour of a worker instance" in said
    assert "GPU" not in said
