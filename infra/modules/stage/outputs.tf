output "name" {
  value = google_cloud_run_v2_service.worker.name
}

output "uri" {
  value = google_cloud_run_v2_service.worker.uri
}

output "topic" {
  value = google_pubsub_topic.tasks.name
}

output "subscription" {
  value = google_pubsub_subscription.tasks.name
}

output "member" {
  description = "The identity that it runs as, as IAM writes it."
  value       = google_service_account.runtime.member
}

output "caller" {
  description = "Mail address of the identity that may call it."
  value       = google_service_account.caller.email
}
