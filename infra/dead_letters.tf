# Tasks end up here once their delivery attempts are used up (uploads' events: upload_events.tf). give_up ends the stage as a
# Failure if an attempt failed, and publishes the task again if none did; a second subscription keeps the messages for people
# (`speechpipe dead-letters`).
locals {
  dead_letters = local.system.subscriptions[local.system.dead_letter_topic]
  kept_letters = local.system.subscriptions["dead-letters"]
}

resource "google_pubsub_topic" "dead_letters" {
  #checkov:skip=CKV_GCP_83:encrypted with kms_key where one is given, with Google's key otherwise
  name                       = local.system.dead_letter_topic
  kms_key_name               = var.kms_key
  message_retention_duration = "604800s"

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [google_project_service.api, google_kms_crypto_key_iam_member.agent]
}

resource "google_pubsub_subscription" "dead_letters" {
  name                       = local.dead_letters.name
  topic                      = google_pubsub_topic.dead_letters.id
  ack_deadline_seconds       = local.dead_letters.ack_deadline_seconds
  message_retention_duration = "${local.dead_letters.retention_seconds}s"

  push_config {
    push_endpoint = "${module.function[local.dead_letters.push_to].uri}/"
    oidc_token {
      service_account_email = module.function[local.dead_letters.push_to].caller
      audience              = module.function[local.dead_letters.push_to].audience
    }
  }

  retry_policy {
    minimum_backoff = "${local.dead_letters.minimum_backoff_seconds}s"
    maximum_backoff = "${local.dead_letters.maximum_backoff_seconds}s"
  }

  expiration_policy {
    ttl = ""
  }
}

# No retry policy: looking at the dead letters returns them unacknowledged, and they must be visible again immediately.
resource "google_pubsub_subscription" "kept_letters" {
  name                       = local.kept_letters.name
  topic                      = google_pubsub_topic.dead_letters.id
  ack_deadline_seconds       = local.kept_letters.ack_deadline_seconds
  message_retention_duration = "${local.kept_letters.retention_seconds}s"

  expiration_policy {
    ttl = ""
  }
}

# why: an operator looks at dead letters, and acknowledges the settled ones
resource "google_pubsub_subscription_iam_member" "operator_letters" {
  for_each = toset(var.operators)

  subscription = google_pubsub_subscription.kept_letters.name
  role         = "roles/pubsub.subscriber"
  member       = each.key
}

# why: Pub/Sub itself forwards tasks there; without this it would redeliver them for ever
resource "google_pubsub_topic_iam_member" "agent_dead_letters" {
  topic      = google_pubsub_topic.dead_letters.name
  role       = "roles/pubsub.publisher"
  member     = local.agents.pubsub
  depends_on = [google_project_service_identity.agent]
}
