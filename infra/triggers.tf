# Eventarc redelivers failed events for 24 hours, with backoff. That is its default for services, and the only alternative
# is a single attempt. Sweep takes care of anything older. Its subscription waits 10 s for an answer, which no argument
# here can change: events.py raises that after each `apply`.

resource "google_eventarc_trigger" "partials" {
  name                    = local.system.firestore_trigger.name
  location                = var.region # the database's
  service_account         = module.function[local.system.firestore_trigger.service].caller
  event_data_content_type = "application/protobuf"

  matching_criteria {
    attribute = "type"
    value     = local.system.firestore_trigger.event_type
  }
  matching_criteria {
    attribute = "database"
    value     = google_firestore_database.this.name
  }
  matching_criteria {
    attribute = "document"
    operator  = "match-path-pattern" # without it a wildcard silently matches nothing
    value     = local.system.firestore_trigger.document
  }

  destination {
    cloud_run_service {
      service = module.function[local.system.firestore_trigger.service].name
      region  = var.region
    }
  }

  depends_on = [google_project_iam_member.eventarc_agent, google_project_iam_member.event_receiver]
}

# why: a trigger's identity must be allowed to receive the events it delivers
resource "google_project_iam_member" "event_receiver" {
  project = var.project_id
  role    = "roles/eventarc.eventReceiver"
  member  = module.function[local.system.firestore_trigger.service].caller_member
}

# Google grants this role too, but only minutes after the API's first use, which is too late in a new project. Creating the
# services gives this grant some minutes to take effect before the trigger needs it; if "Permission denied while using
# the Eventarc Service Agent" still appears, apply again.
# why: Eventarc creates and manages the topics and subscriptions behind its trigger
resource "google_project_iam_member" "eventarc_agent" {
  #checkov:skip=CKV_GCP_49:Google's own agent in its own role, which Google grants as well, only later
  project    = var.project_id
  role       = "roles/eventarc.serviceAgent"
  member     = local.agents.eventarc
  depends_on = [google_project_service_identity.agent]
}
