# A function: a Cloud Run service on the functions image, an identity that it runs as, and one that may call it.

resource "google_service_account" "runtime" {
  account_id   = var.name
  display_name = var.name
  description  = "The service ${var.name} runs as it."
}

resource "google_service_account" "caller" {
  account_id   = "${var.name}-caller"
  display_name = "${var.name} caller"
  description  = "Events, pushes or schedules call ${var.name} as it."
}

# why: a function sends its spans to Cloud Trace, by OTLP
resource "google_project_iam_member" "function_traces" {
  project = var.project_id
  role    = "roles/telemetry.tracesWriter"
  member  = google_service_account.runtime.member
}

resource "google_cloud_run_v2_service" "this" {
  name                = var.name
  location            = var.region
  ingress             = "INGRESS_TRAFFIC_INTERNAL_ONLY" # Eventarc, Pub/Sub and Scheduler of this project are internal
  custom_audiences    = var.audience == null ? null : [var.audience]
  deletion_protection = var.deletion_protection

  template {
    service_account                  = google_service_account.runtime.email
    timeout                          = "${var.timeout_seconds}s"
    max_instance_request_concurrency = var.concurrency
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    encryption_key                   = var.kms_key

    scaling {
      min_instance_count = 0
      max_instance_count = var.max_instances
    }

    containers {
      image = var.image

      ports {
        container_port = 8080
      }

      resources {
        limits            = { cpu = "1", memory = var.memory }
        cpu_idle          = true # paid for by request
        startup_cpu_boost = true
      }

      dynamic "env" {
        for_each = merge(
          { for name, value in var.environment : name => value if value != null },
          { for name, value in { SPEECHPIPE_PUSH_AUDIENCE = var.audience } : name => value if value != null },
          { SPEECHPIPE_PUSH_CALLERS = google_service_account.caller.email },
          { FUNCTION_SOURCE = var.entry.source, FUNCTION_TARGET = var.entry.target },
        )
        content {
          name  = env.key
          value = env.value
        }
      }

      # TCP: a CloudEvent function answers 405 to the GET of an HTTP probe. The port opens after the import.
      startup_probe {
        period_seconds    = 2
        timeout_seconds   = 2
        failure_threshold = 30
        tcp_socket {
          port = 8080
        }
      }
    }
  }
}

# why: what calls the function is let in
resource "google_cloud_run_v2_service_iam_member" "function_caller" {
  location = google_cloud_run_v2_service.this.location
  name     = google_cloud_run_v2_service.this.name
  role     = "roles/run.invoker"
  member   = google_service_account.caller.member
}
