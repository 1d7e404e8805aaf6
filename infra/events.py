"""After each deployment: let the subscription that Eventarc makes for its trigger wait longer than ten seconds.

Eventarc makes a subscription with an acknowledgement deadline of 10 s, which `google_eventarc_trigger` cannot set
(https://github.com/hashicorp/terraform-provider-google/issues/17701). Joining a long recording takes longer, and would
be repeated until one attempt is through. `speechpipe doctor --cloud` checks the deadline.
"""

from __future__ import annotations

import json

from infra.commands import ROOT, DeploymentError, output, run


def raise_deadline(project: str, region: str) -> None:
    """Give the trigger's subscription the deadline that the code relies on. Raises DeploymentError."""
    wanted = json.loads((ROOT / "infra" / "system.json").read_text())["firestore_trigger"]
    where = (f"--project={project}", f"--location={region}")
    field = "--format=value(transport.pubsub.subscription)"
    subscription = output("gcloud", "eventarc", "triggers", "describe", wanted["name"], *where, field)
    if not subscription:
        raise DeploymentError(f"the trigger {wanted['name']} has no subscription; run make again")
    described = ("gcloud", "pubsub", "subscriptions", "describe", subscription, f"--project={project}")
    deadline = output(*described, "--format=value(ackDeadlineSeconds)")
    if deadline != str(wanted["ack_deadline_seconds"]):
        seconds = f"--ack-deadline={wanted['ack_deadline_seconds']}"
        run("gcloud", "pubsub", "subscriptions", "update", subscription, f"--project={project}", seconds)
