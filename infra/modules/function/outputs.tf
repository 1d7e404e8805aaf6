output "name" {
  value = google_cloud_run_v2_service.this.name
}

output "uri" {
  value = google_cloud_run_v2_service.this.uri
}

output "member" {
  description = "The service's runtime identity, as an IAM member."
  value       = google_service_account.runtime.member
}

output "caller" {
  description = "Email of the service account that may call the service."
  value       = google_service_account.caller.email
  depends_on  = [google_cloud_run_v2_service_iam_member.function_caller]
}

output "audience" {
  description = "Audience that its callers' tokens must have; null: Eventarc chooses it."
  value       = var.audience
}

output "caller_member" {
  value = google_service_account.caller.member
}

output "kms_key" {
  description = "The KMS key of the service."
  value       = google_cloud_run_v2_service.this.template[0].encryption_key
}
