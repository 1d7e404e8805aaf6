# A stage: its task topic, the push subscription that delivers the tasks, and the worker that performs them.

locals {
  gpu = var.accelerator != "none"
  # What an instance works on, and what waits in it for a slot.
  requests = var.concurrency + var.waiting_room
}

resource "google_service_account" "runtime" {
  account_id   = var.name
  display_name = var.name
  description  = "Runtime identity of the service ${var.name}."
}

resource "google_service_account" "caller" {
  account_id   = "${var.name}-caller"
  display_name = "${var.name} caller"
  description  = "Identity of the subscription ${var.subscription.name} when it calls ${var.name}."
}

# why: a worker exports its spans to Cloud Trace over OTLP
resource "google_project_iam_member" "worker_traces" {
  project = var.project_id
  role    = "roles/telemetry.tracesWriter"
  member  = google_service_account.runtime.member
}

# ----------------------------------------------------------------------------------------------------------- the worker

resource "google_cloud_run_v2_service" "worker" {
  name                = var.name
  location            = var.region
  ingress             = "INGRESS_TRAFFIC_INTERNAL_ONLY" # this project's Pub/Sub counts as internal
  custom_audiences    = [var.audience]
  deletion_protection = var.deletion_protection
  # Cloud Run accepts what is in preview only in a service that says so. Once the GPU is generally available, Google answers GA.
  launch_stage = var.accelerator == "nvidia-rtx-pro-6000" ? "BETA" : null

  template {
    service_account                  = google_service_account.runtime.email
    timeout                          = "${var.request_seconds}s" # under the ack deadline, so that it ends before a redelivery
    max_instance_request_concurrency = local.requests            # what the process admits; further requests go to another instance
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    encryption_key                   = var.kms_key
    # New projects have quota only for GPUs without zonal redundancy.
    gpu_zonal_redundancy_disabled = local.gpu ? true : null

    dynamic "node_selector" {
      for_each = local.gpu ? [var.accelerator] : []
      content {
        accelerator = node_selector.value
      }
    }

    scaling {
      min_instance_count = var.min_instances
      max_instance_count = var.max_instances
    }

    containers {
      image = var.image

      ports {
        container_port = 8080
      }

      resources {
        limits = merge(
          { cpu = tostring(var.machine.cpu), memory = "${var.machine.memory}Gi" },
          local.gpu ? { "nvidia.com/gpu" = "1" } : {},
        )
        cpu_idle          = !local.gpu # a GPU requires instance-based billing; without one, only requests are billed
        startup_cpu_boost = true
      }

      dynamic "env" {
        for_each = merge(
          { for name, value in var.environment : name => value if value != null },
          { SPEECHPIPE_PUSH_AUDIENCE = var.audience, SPEECHPIPE_PUSH_CALLERS = google_service_account.caller.email },
          { SPEECHPIPE_CONCURRENCY = tostring(var.concurrency), SPEECHPIPE_WAITING_ROOM = tostring(var.waiting_room) },
        )
        content {
          name  = env.key
          value = env.value
        }
      }

      # Ready once the model is loaded and warmed up. Google's older pages allow 240 s in total, newer ones more; 240 suits both.
      startup_probe {
        period_seconds    = 10
        timeout_seconds   = 5
        failure_threshold = 24
        http_get {
          path = var.ready_path
          port = 8080
        }
      }

      # Patient, because decoding may keep Python busy for seconds and a restart loses the running attempts.
      liveness_probe {
        period_seconds    = 30
        timeout_seconds   = 15
        failure_threshold = 5
        http_get {
          path = var.alive_path
          port = 8080
        }
      }
    }
  }

  lifecycle {
    ignore_changes = [launch_stage]

    precondition {
      condition     = var.request_seconds < var.subscription.ack_deadline_seconds
      error_message = "A request must end before its task is redelivered."
    }
  }
}

# why: the task subscription may invoke the worker
resource "google_cloud_run_v2_service_iam_member" "worker_caller" {
  location = google_cloud_run_v2_service.worker.location
  name     = google_cloud_run_v2_service.worker.name
  role     = "roles/run.invoker"
  member   = google_service_account.caller.member
}

# ------------------------------------------------------------------------------------------------------------ the tasks

resource "google_pubsub_topic" "tasks" {
  #checkov:skip=CKV_GCP_83:encrypted with kms_key where one is given, with Google's key otherwise
  name         = var.subscription.topic
  kms_key_name = var.kms_key

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }
}

resource "google_pubsub_subscription" "tasks" {
  name                       = var.subscription.name
  topic                      = google_pubsub_topic.tasks.id
  ack_deadline_seconds       = var.subscription.ack_deadline_seconds
  message_retention_duration = "${var.subscription.retention_seconds}s"

  push_config {
    push_endpoint = "${google_cloud_run_v2_service.worker.uri}/"
    oidc_token {
      service_account_email = google_service_account.caller.email
      audience              = var.audience # not the endpoint: Cloud Run rejects an audience with a path
    }
  }

  retry_policy {
    minimum_backoff = "${var.subscription.minimum_backoff_seconds}s"
    maximum_backoff = "${var.subscription.maximum_backoff_seconds}s"
  }

  dead_letter_policy {
    dead_letter_topic     = var.dead_letter_topic
    max_delivery_attempts = var.subscription.max_delivery_attempts
  }

  expiration_policy {
    ttl = ""
  }

  depends_on = [google_cloud_run_v2_service_iam_member.worker_caller]
}

# why: Pub/Sub itself acknowledges a task here once it has forwarded it to the dead letters
resource "google_pubsub_subscription_iam_member" "agent_tasks" {
  subscription = google_pubsub_subscription.tasks.name
  role         = "roles/pubsub.subscriber"
  member       = var.pubsub_agent
}
