output "name" {
  value = google_cloud_run_v2_service.worker.name
}

output "uri" {
  value = google_cloud_run_v2_service.worker.uri
}

output "audience" {
  description = "Audience that its callers' tokens must have."
  value       = var.audience
}

output "topic" {
  value = google_pubsub_topic.tasks.name
}

output "subscription" {
  value = google_pubsub_subscription.tasks.name
}

output "member" {
  description = "The service's runtime identity, as an IAM member."
  value       = google_service_account.runtime.member
}

output "caller" {
  description = "Email of the service account that may call the service."
  value       = google_service_account.caller.email
}

output "machine" {
  description = "Hardware of an instance, and whether it is billed while idle."
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
  description = "Minimum and maximum number of instances."
  value = {
    min = google_cloud_run_v2_service.worker.template[0].scaling[0].min_instance_count
    max = google_cloud_run_v2_service.worker.template[0].scaling[0].max_instance_count
  }
}

output "kms_keys" {
  description = "The KMS keys of the topic and the service."
  value = [
    google_pubsub_topic.tasks.kms_key_name,
    google_cloud_run_v2_service.worker.template[0].encryption_key,
  ]
}
