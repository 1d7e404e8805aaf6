output "name" {
  value = google_cloud_run_v2_service.this.name
}

output "uri" {
  value = google_cloud_run_v2_service.this.uri
}

output "member" {
  description = "The identity that it runs as, as IAM writes it."
  value       = google_service_account.runtime.member
}

output "caller" {
  description = "Mail address of the identity that may call it."
  value       = google_service_account.caller.email
  depends_on  = [google_cloud_run_v2_service_iam_member.function_caller]
}

output "audience" {
  description = "What a token for it has to be for; null: what Eventarc chooses."
  value       = var.audience
}

output "caller_member" {
  value = google_service_account.caller.member
}

output "kms_key" {
  description = "The key of its service."
  value       = google_cloud_run_v2_service.this.template[0].encryption_key
}
