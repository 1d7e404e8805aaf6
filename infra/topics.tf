# The topic for completion events, and the subscription that `speechpipe` receives them from. Tasks: modules/stage.
# Uploads: upload_events.tf. Dead letters: dead_letters.tf.
resource "google_pubsub_topic" "completions" {
  #checkov:skip=CKV_GCP_83:encrypted with kms_key where one is given, with Google's key otherwise
  name         = local.system.completions_topic
  kms_key_name = var.kms_key

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [google_project_service.api, google_kms_crypto_key_iam_member.agent]
}

resource "google_pubsub_subscription" "completions" {
  name                       = local.system.subscriptions[local.system.completions_topic].name
  topic                      = google_pubsub_topic.completions.id
  ack_deadline_seconds       = local.system.subscriptions[local.system.completions_topic].ack_deadline_seconds
  message_retention_duration = "${local.system.subscriptions[local.system.completions_topic].retention_seconds}s"

  retry_policy {
    minimum_backoff = "${local.system.subscriptions[local.system.completions_topic].minimum_backoff_seconds}s"
    maximum_backoff = "${local.system.subscriptions[local.system.completions_topic].maximum_backoff_seconds}s"
  }

  # Without this, Pub/Sub deletes the subscription after a month in which nobody receives.
  expiration_policy {
    ttl = ""
  }
}

# why: join announces each record, and sweep those that join missed
resource "google_pubsub_topic_iam_member" "joiner_completions" {
  for_each = toset(["join", "sweep"])

  topic  = google_pubsub_topic.completions.name
  role   = "roles/pubsub.publisher"
  member = module.function[each.key].member
}

# why: an operator's replays and erasures publish events
resource "google_pubsub_topic_iam_member" "operator_completions" {
  for_each = toset(var.operators)

  topic  = google_pubsub_topic.completions.name
  role   = "roles/pubsub.publisher"
  member = each.key
}

# why: clients wait for completion events
resource "google_pubsub_subscription_iam_member" "reader_completions" {
  for_each = toset(concat(var.readers, var.operators))

  subscription = google_pubsub_subscription.completions.name
  role         = "roles/pubsub.subscriber"
  member       = each.key
}
