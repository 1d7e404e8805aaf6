module "stage" {
  source   = "./modules/stage"
  for_each = local.system.workers

  stage      = each.key
  name       = "${local.prefix}-${each.value}"
  project_id = var.project_id
  region     = var.region
  image      = var.images[each.key]
  audience   = "https://${local.prefix}-${each.value}-${local.host}"
  environment = merge(local.environment, {
    SPEECHPIPE_STAGE           = each.key
    SPEECHPIPE_REQUEST_SECONDS = tostring(local.system.request_seconds)
    SPEECHPIPE_MAX_SECONDS     = var.max_seconds == null ? null : tostring(var.max_seconds)
    # Explicit, so that a missing GPU fails the deployment instead of leaving a worker on the CPU unnoticed.
    SPEECHPIPE_DEVICE = var.accelerator == "none" ? "cpu" : "cuda"
  })

  subscription      = local.system.subscriptions[local.system.task_topics[each.key]]
  dead_letter_topic = google_pubsub_topic.dead_letters.id
  pubsub_agent      = local.agents.pubsub

  accelerator         = var.accelerator
  machine             = local.machine
  concurrency         = var.concurrency
  waiting_room        = local.system.waiting_room
  min_instances       = var.min_instances[each.key]
  max_instances       = var.max_instances[each.key]
  request_seconds     = local.system.request_seconds
  ready_path          = local.system.ready_path
  alive_path          = local.system.alive_path
  deletion_protection = var.deletion_protection
  kms_key             = var.kms_key

  depends_on = [
    google_project_service.api,
    google_project_service_identity.agent,
    google_kms_crypto_key_iam_member.agent,
  ]
}

# ----------------------------------------------------------------------------------------------------- publishing tasks

# why: ingest publishes each recording's tasks
resource "google_pubsub_topic_iam_member" "ingest_tasks" {
  for_each = module.stage

  topic  = each.value.topic
  role   = "roles/pubsub.publisher"
  member = module.function["ingest"].member
}

# why: reconcile publishes the tasks of uploads whose event was lost
resource "google_pubsub_topic_iam_member" "reconcile_tasks" {
  for_each = module.stage

  topic  = each.value.topic
  role   = "roles/pubsub.publisher"
  member = module.function["reconcile"].member
}

# why: give_up publishes a task again that used up its deliveries without a failed attempt
resource "google_pubsub_topic_iam_member" "give_up_tasks" {
  for_each = module.stage

  topic  = each.value.topic
  role   = "roles/pubsub.publisher"
  member = module.function["give_up"].member
}

# why: sweep republishes lost tasks
resource "google_pubsub_topic_iam_member" "sweep_tasks" {
  for_each = module.stage

  topic  = each.value.topic
  role   = "roles/pubsub.publisher"
  member = module.function["sweep"].member
}

# why: a worker that ends a part of a long recording publishes the next one
resource "google_pubsub_topic_iam_member" "worker_tasks" {
  for_each = module.stage

  topic  = each.value.topic
  role   = "roles/pubsub.publisher"
  member = each.value.member
}

# why: a release, redrive or backfill publishes tasks
resource "google_pubsub_topic_iam_member" "operator_tasks" {
  for_each = { for pair in setproduct(keys(local.system.workers), var.operators) : join(" ", pair) => pair }

  topic  = module.stage[each.value[0]].topic
  role   = "roles/pubsub.publisher"
  member = each.value[1]
}
