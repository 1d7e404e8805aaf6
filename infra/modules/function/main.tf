# A function: a Cloud Run service on the functions image, its runtime identity, and the identity of its caller.

resource "google_service_account" "runtime" {
  account_id   = var.name
  display_name = var.name
  description  = "Runtime identity of the service ${var.name}."
}

resource "google_service_account" "caller" {
  account_id   = "${var.name}-caller"
  display_name = "${var.name} caller"
  description  = "Identity of the trigger, push or schedule that calls ${var.name}."
}

# why: a function exports its spans to Cloud Trace over OTLP
resource "google_project_iam_member" "function_traces" {
  project = var.project_id
  role    = "roles/telemetry.tracesWriter"
  member  = google_service_account.runtime.member
}

resource "google_cloud_run_v2_service" "this" {
  name                = var.name
  location            = var.region
  ingress             = "INGRESS_TRAFFIC_INTERNAL_ONLY" # this project's Eventarc, Pub/Sub and Scheduler count as internal
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
        cpu_idle          = true # billed per request
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

      # TCP, because a CloudEvent function answers 405 to an HTTP probe's GET. The port opens once the import is done.
      startup_probe {
        period_seconds    = 2
        timeout_seconds   = 1 # must be less than the period
        failure_threshold = 30
        tcp_socket {
          port = 8080
        }
      }
    }
  }
}

# why: the function's one caller may invoke it
resource "google_cloud_run_v2_service_iam_member" "function_caller" {
  location = google_cloud_run_v2_service.this.location
  name     = google_cloud_run_v2_service.this.name
  role     = "roles/run.invoker"
  member   = google_service_account.caller.member
}
