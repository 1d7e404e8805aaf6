# The variables that `speechpipe` reads: the aliases of ClientSettings.
locals {
  client_environment = {
    GOOGLE_CLOUD_PROJECT                = var.project_id
    SPEECHPIPE_DATABASE                 = google_firestore_database.this.name
    SPEECHPIPE_UPLOADS_BUCKET           = google_storage_bucket.uploads.name
    SPEECHPIPE_RESULTS_BUCKET           = google_storage_bucket.results.name
    SPEECHPIPE_STT_TOPIC                = module.stage["stt"].topic
    SPEECHPIPE_SER_TOPIC                = module.stage["ser"].topic
    SPEECHPIPE_COMPLETIONS_TOPIC        = google_pubsub_topic.completions.name
    SPEECHPIPE_COMPLETIONS_SUBSCRIPTION = google_pubsub_subscription.completions.name
  }
}

output "environment" {
  description = "Environment variables that `speechpipe` and its client read."
  value       = local.client_environment
}

output "choices" {
  description = "What the next `make deploy` repeats unless told otherwise."
  value       = { accelerator = var.accelerator, models = var.models }
}

output "exports" {
  description = "The same as shell `export` lines."
  value       = join("\n", [for name, value in local.client_environment : "export ${name}='${value}'"])
}

output "services" {
  description = "Name and address of each service, keyed by the function or worker that runs in it."
  value = merge(
    { for name, function in module.function : name => { name = function.name, uri = function.uri } },
    { for stage, worker in module.stage : local.system.workers[stage] => { name = worker.name, uri = worker.uri } },
  )
}

output "console" {
  # The one of its two addresses that does not change, and that the uploads bucket admits (buckets.tf).
  description = "Address of the console; null if it is not deployed."
  value       = one([for name in keys(google_cloud_run_v2_service.console) : local.console_origin])
}

output "buckets" {
  description = "The buckets for uploads, results and build sources."
  value = {
    uploads = google_storage_bucket.uploads.name
    results = google_storage_bucket.results.name
    source  = google_storage_bucket.source.name
  }
}

output "topics" {
  description = "All topics."
  value = concat(
    [for worker in module.stage : worker.topic],
    [google_pubsub_topic.upload_events.name, google_pubsub_topic.dead_uploads.name],
    [google_pubsub_topic.dead_letters.name, google_pubsub_topic.completions.name],
  )
}

output "subscriptions" {
  description = "All subscriptions except those that keep dead letters for people."
  value = concat(
    [google_pubsub_subscription.upload_events.name],
    [for worker in module.stage : worker.subscription],
    [google_pubsub_subscription.dead_letters.name, google_pubsub_subscription.completions.name],
  )
}

output "triggers" {
  description = "The Eventarc trigger."
  value       = [google_eventarc_trigger.partials.name]
}

output "schedules" {
  description = "The Cloud Scheduler jobs: sweep's, reconcile's, and one per worker if warm_up is set."
  value = concat(
    [google_cloud_scheduler_job.sweep.name, google_cloud_scheduler_job.reconcile.name],
    [for job in google_cloud_scheduler_job.warm_up : job.name],
  )
}

output "registry" {
  description = "The image registry: REGION-docker.pkg.dev/PROJECT/speechpipe."
  value       = "${google_artifact_registry_repository.images.location}-docker.pkg.dev/${var.project_id}/${google_artifact_registry_repository.images.repository_id}"
}

output "build" {
  description = "Arguments for `gcloud builds submit`: the build's account and the bucket for its source."
  value = {
    service_account = google_service_account.build.email
    source_bucket   = google_storage_bucket.source.name
  }
}

output "dashboard" {
  description = "Address of the dashboard in Cloud Monitoring."
  value       = "https://console.cloud.google.com/monitoring/dashboards/builder/${reverse(split("/", google_monitoring_dashboard.this.id))[0]}?project=${var.project_id}"
}
