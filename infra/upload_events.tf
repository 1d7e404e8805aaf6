# An upload's event waits in our own subscription, for 31 days, and not in one of Eventarc's, which keeps it for a day:
# docs/decisions/0027-no-upload-is-missed.md.
locals {
  upload_events = local.system.subscriptions[local.system.uploads_notification.topic]
  dead_uploads  = local.system.subscriptions[local.system.dead_uploads_topic]
}

resource "google_pubsub_topic" "upload_events" {
  #checkov:skip=CKV_GCP_83:encrypted with kms_key where one is given, with Google's key otherwise
  name         = local.upload_events.topic
  kms_key_name = var.kms_key

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [google_project_service.api, google_kms_crypto_key_iam_member.agent]
}

resource "google_pubsub_subscription" "upload_events" {
  name                       = local.upload_events.name
  topic                      = google_pubsub_topic.upload_events.id
  ack_deadline_seconds       = local.upload_events.ack_deadline_seconds
  message_retention_duration = "${local.upload_events.retention_seconds}s"

  push_config {
    push_endpoint = "${module.function[local.upload_events.push_to].uri}/"
    oidc_token {
      service_account_email = module.function[local.upload_events.push_to].caller
      audience              = module.function[local.upload_events.push_to].audience
    }
  }

  retry_policy {
    minimum_backoff = "${local.upload_events.minimum_backoff_seconds}s"
    maximum_backoff = "${local.upload_events.maximum_backoff_seconds}s"
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead_uploads.id
    max_delivery_attempts = local.upload_events.max_delivery_attempts
  }

  expiration_policy {
    ttl = ""
  }
}

# Created last: an event that is published before the subscription exists is lost. Without object_name_prefix, which
# ingest checks: changing that argument replaces the notification, and events in between would be lost.
resource "google_storage_notification" "uploads" {
  bucket         = google_storage_bucket.uploads.name
  topic          = google_pubsub_topic.upload_events.id
  payload_format = local.system.uploads_notification.payload_format
  event_types    = [local.system.uploads_notification.event_type]

  depends_on = [google_pubsub_subscription.upload_events, google_pubsub_topic_iam_member.storage_agent]
}

# why: Cloud Storage publishes an event for every upload
resource "google_pubsub_topic_iam_member" "storage_agent" {
  topic  = google_pubsub_topic.upload_events.name
  role   = "roles/pubsub.publisher"
  member = data.google_storage_project_service_account.agent.member
}

# -------------------------------------------------------------------------------------------- events that ingest did not take

resource "google_pubsub_topic" "dead_uploads" {
  #checkov:skip=CKV_GCP_83:encrypted with kms_key where one is given, with Google's key otherwise
  name         = local.dead_uploads.topic
  kms_key_name = var.kms_key

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [google_project_service.api, google_kms_crypto_key_iam_member.agent]
}

# No retry policy: looking at the dead letters returns them unacknowledged, and they must be visible again immediately.
resource "google_pubsub_subscription" "dead_uploads" {
  name                       = local.dead_uploads.name
  topic                      = google_pubsub_topic.dead_uploads.id
  ack_deadline_seconds       = local.dead_uploads.ack_deadline_seconds
  message_retention_duration = "${local.dead_uploads.retention_seconds}s"

  expiration_policy {
    ttl = ""
  }
}

# why: Pub/Sub itself forwards events there; without this it would redeliver them until they expire
resource "google_pubsub_topic_iam_member" "agent_dead_uploads" {
  topic      = google_pubsub_topic.dead_uploads.name
  role       = "roles/pubsub.publisher"
  member     = local.agents.pubsub
  depends_on = [google_project_service_identity.agent]
}

# why: Pub/Sub itself acknowledges an event here once it has forwarded it to the dead letters
resource "google_pubsub_subscription_iam_member" "agent_upload_events" {
  subscription = google_pubsub_subscription.upload_events.name
  role         = "roles/pubsub.subscriber"
  member       = local.agents.pubsub
  depends_on   = [google_project_service_identity.agent]
}

# why: an operator looks at events that ingest did not take, and acknowledges the settled ones
resource "google_pubsub_subscription_iam_member" "operator_dead_uploads" {
  for_each = toset(var.operators)

  subscription = google_pubsub_subscription.dead_uploads.name
  role         = "roles/pubsub.subscriber"
  member       = each.key
}
