# The functions are services that share one image: see docs/decisions/0007-functions-as-services.md.

locals {
  # The settings that all services share.
  environment = {
    GOOGLE_CLOUD_PROJECT      = var.project_id
    SPEECHPIPE_DATABASE       = google_firestore_database.this.name
    SPEECHPIPE_UPLOADS_BUCKET = google_storage_bucket.uploads.name
    SPEECHPIPE_RESULTS_BUCKET = google_storage_bucket.results.name
    SPEECHPIPE_MAX_BYTES      = var.max_bytes == null ? null : tostring(var.max_bytes)
    SPEECHPIPE_PRICES         = local.machine.prices == "" ? null : local.machine.prices
    SPEECHPIPE_PART_SECONDS   = tostring(coalesce(var.part_seconds, var.accelerator == "none" ? 600 : 1800))
    SPEECHPIPE_TRACES         = "cloud"
  }

  function_environment = merge(local.environment, {
    SPEECHPIPE_STT_TOPIC            = local.system.task_topics.stt
    SPEECHPIPE_SER_TOPIC            = local.system.task_topics.ser
    SPEECHPIPE_COMPLETIONS_TOPIC    = local.system.completions_topic
    SPEECHPIPE_UPLOADS_PREFIX       = var.uploads_prefix == "" ? null : var.uploads_prefix
    SPEECHPIPE_DEADLINE_SECONDS     = var.deadline_seconds == null ? null : tostring(var.deadline_seconds)
    SPEECHPIPE_RETENTION_DAYS       = tostring(var.retention_days)
    SPEECHPIPE_EMBED_BYTES          = var.embed_bytes == null ? null : tostring(var.embed_bytes)
    SPEECHPIPE_MAX_COST             = var.max_cost == null ? null : tostring(var.max_cost)
    SPEECHPIPE_MAX_DURATION         = var.max_duration == null ? null : tostring(var.max_duration)
    SPEECHPIPE_MAX_COST_PER_DAY     = var.max_cost_per_day == null ? null : tostring(var.max_cost_per_day)
    SPEECHPIPE_MAX_DURATION_PER_DAY = var.max_duration_per_day == null ? null : tostring(var.max_duration_per_day)
  })

  # Called by Eventarc, which uses one of the service's addresses as its tokens' audience and does not document which.
  event_services = [local.system.firestore_trigger.service]

  # Concurrency: gunicorn's single process has four threads per CPU (functions-framework's default); more requests would
  # queue inside it. Memory: join and sweep hold the record of a ten-hour recording with all its words, the others only a
  # message, reconcile a page of the listing. Timeouts: Eventarc waits 600 s once events.py has raised its subscription's
  # deadline, a push as long as its subscription's ack deadline, a schedule at most half an hour.
  function_sizes = {
    ingest  = { memory = "512Mi", timeout_seconds = 300, concurrency = 4, max_instances = 10 }
    join    = { memory = "2Gi", timeout_seconds = 300, concurrency = 4, max_instances = 10 }
    give_up = { memory = "512Mi", timeout_seconds = local.system.subscriptions[local.system.dead_letter_topic].ack_deadline_seconds, concurrency = 4, max_instances = 3 }
    # One sweep per instance, and a second instance so that a long sweep does not block the next minute's.
    sweep     = { memory = "2Gi", timeout_seconds = 300, concurrency = 1, max_instances = 2 }
    reconcile = { memory = "512Mi", timeout_seconds = 1800, concurrency = 1, max_instances = 1 }
  }
}

module "function" {
  source   = "./modules/function"
  for_each = local.system.functions

  name                = "${local.prefix}-${replace(each.key, "_", "-")}" # Cloud Run allows no underscores in names
  entry               = { source = each.value, target = each.key }
  project_id          = var.project_id
  region              = var.region
  image               = var.images.functions
  audience            = contains(local.event_services, each.key) ? null : "https://${local.prefix}-${replace(each.key, "_", "-")}-${local.host}"
  environment         = local.function_environment
  timeout_seconds     = local.function_sizes[each.key].timeout_seconds
  memory              = local.function_sizes[each.key].memory
  concurrency         = local.function_sizes[each.key].concurrency
  max_instances       = local.function_sizes[each.key].max_instances
  deletion_protection = var.deletion_protection
  kms_key             = var.kms_key

  depends_on = [google_project_service.api, google_kms_crypto_key_iam_member.agent]
}
