output "name" {
  value = google_cloud_run_v2_service.worker.name
}

output "uri" {
  value = google_cloud_run_v2_service.worker.uri
}

output "audience" {
  description = "What a token for it has to be for."
  value       = var.audience
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

output "machine" {
  description = "What an instance has."
  value = {
    accelerator          = one(google_cloud_run_v2_service.worker.template[0].node_selector[*].accelerator)
    cpu                  = google_cloud_run_v2_service.worker.template[0].containers[0].resources[0].limits["cpu"]
    memory               = google_cloud_run_v2_service.worker.template[0].containers[0].resources[0].limits["memory"]
    gpu                  = lookup(google_cloud_run_v2_service.worker.template[0].containers[0].resources[0].limits, "nvidia.com/gpu", null)
    zonal_redundancy_off = google_cloud_run_v2_service.worker.template[0].gpu_zonal_redundancy_disabled
    paid_while_idle      = !google_cloud_run_v2_service.worker.template[0].containers[0].resources[0].cpu_idle
  }
}

output "instances" {
  description = "Fewest and most."
  value = {
    min = google_cloud_run_v2_service.worker.template[0].scaling[0].min_instance_count
    max = google_cloud_run_v2_service.worker.template[0].scaling[0].max_instance_count
  }
}

output "kms_keys" {
  description = "The keys of its topic and its service."
  value = [
    google_pubsub_topic.tasks.kms_key_name,
    google_cloud_run_v2_service.worker.template[0].encryption_key,
  ]
}
