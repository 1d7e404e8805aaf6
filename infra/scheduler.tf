resource "google_cloud_scheduler_job" "sweep" {
  name             = "${local.prefix}-sweep"
  region           = var.region
  description      = "Moves stuck recordings forward"
  schedule         = local.system.schedules.sweep.cron
  time_zone        = "Etc/UTC"
  attempt_deadline = "${local.function_sizes.sweep.timeout_seconds}s"

  # No retries: the next minute's call serves as one.
  http_target {
    http_method = "POST"
    uri         = "${module.function["sweep"].uri}/"
    oidc_token {
      service_account_email = module.function["sweep"].caller
      audience              = module.function["sweep"].audience
    }
  }

  depends_on = [google_project_service.api]
}

resource "google_cloud_scheduler_job" "reconcile" {
  name             = "${local.prefix}-reconcile"
  region           = var.region
  description      = "Ingests uploads whose event was lost"
  schedule         = local.system.schedules.reconcile.cron
  time_zone        = "Etc/UTC"
  attempt_deadline = "${local.function_sizes.reconcile.timeout_seconds}s" # the maximum

  # One retry, in case the platform failed for a moment; the next night's call looks at the same days again.
  retry_config {
    retry_count          = 1
    min_backoff_duration = "600s"
  }

  http_target {
    http_method = "POST"
    uri         = "${module.function["reconcile"].uri}/"
    oidc_token {
      service_account_email = module.function["reconcile"].caller
      audience              = module.function["reconcile"].audience
    }
  }

  depends_on = [google_project_service.api]
}

# Any request starts an instance. Not the readiness path: Google blocks paths that end in z before they reach a service
# (https://cloud.google.com/run/docs/known-issues), except for probes, which come from inside.
resource "google_cloud_scheduler_job" "warm_up" {
  for_each = var.warm_up == null ? {} : module.stage

  name             = "${each.value.name}-warm-up"
  region           = var.region
  description      = "Starts an instance before it is needed"
  schedule         = var.warm_up.schedule
  time_zone        = var.warm_up.time_zone
  attempt_deadline = "300s" # a cold start

  http_target {
    http_method = "GET"
    uri         = "${each.value.uri}/device"
    oidc_token {
      service_account_email = each.value.caller
      audience              = each.value.audience
    }
  }
}
