# The optional console: a separate service that only users admitted by Identity-Aware Proxy can reach.

locals {
  console = var.console == null ? {} : { (local.console_name) = var.console }

  console_name   = "${local.prefix}-console"
  console_origin = "https://${local.console_name}-${local.host}"
}

resource "google_service_account" "console" {
  for_each = local.console

  account_id   = each.key
  display_name = each.key
  description  = "Runtime identity of the service ${each.key}."
}

resource "google_cloud_run_v2_service" "console" {
  for_each = local.console

  name                = each.key
  location            = var.region
  ingress             = "INGRESS_TRAFFIC_ALL" # browsers; Identity-Aware Proxy stands in front
  iap_enabled         = true
  deletion_protection = var.deletion_protection

  template {
    service_account                  = google_service_account.console[each.key].email
    timeout                          = "3600s" # an open page streams changes, and reconnects when this ends it
    max_instance_request_concurrency = 200     # most requests wait for something to change
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    encryption_key                   = var.kms_key

    scaling {
      min_instance_count = 0
      max_instance_count = 2 # each instance reads all recordings into its own index
    }

    containers {
      image = var.images.console

      ports {
        container_port = 8080
      }

      resources {
        limits            = { cpu = "1", memory = "2Gi" } # the index is in /tmp, which is memory
        cpu_idle          = true                          # billed per request
        startup_cpu_boost = true
      }

      dynamic "env" {
        for_each = {
          for name, value in merge(local.client_environment, {
            SPEECHPIPE_UPLOADS_PREFIX = var.uploads_prefix == "" ? null : var.uploads_prefix
            SPEECHPIPE_MAX_BYTES      = var.max_bytes == null ? null : tostring(var.max_bytes)
            SPEECHPIPE_IAP_AUDIENCE   = "/projects/${data.google_project.this.number}/locations/${var.region}/services/${each.key}"
          }) : name => value if value != null
        }
        content {
          name  = env.key
          value = env.value
        }
      }

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

  depends_on = [google_project_service.api, google_kms_crypto_key_iam_member.agent]
}

# why: Identity-Aware Proxy forwards the requests it admits; nobody else may call the console
resource "google_cloud_run_v2_service_iam_member" "console_proxy" {
  for_each = google_cloud_run_v2_service.console

  location   = each.value.location
  name       = each.value.name
  role       = "roles/run.invoker"
  member     = local.agents.iap
  depends_on = [google_project_service_identity.agent]
}

# why: these people use the console
resource "google_iap_web_cloud_run_service_iam_member" "console_user" {
  for_each = toset(var.console == null ? [] : var.console.users)

  location               = var.region
  cloud_run_service_name = google_cloud_run_v2_service.console[local.console_name].name
  role                   = "roles/iap.httpsResourceAccessor"
  member                 = each.key
}

# why: the console lists recordings, and writes its users' decisions into their documents
resource "google_project_iam_member" "console_documents" {
  for_each = google_service_account.console

  project = var.project_id
  role    = "roles/datastore.user"
  member  = each.value.member

  condition {
    title      = local.this_database.title
    expression = local.this_database.expression
  }
}

# why: the console starts browsers' uploads, plays recordings, and deletes the files of erased ones
resource "google_storage_bucket_iam_member" "console_files" {
  for_each = { for pair in setproduct(["uploads", "results"], keys(local.console)) : join(" ", pair) => pair }

  bucket = { uploads = google_storage_bucket.uploads.name, results = google_storage_bucket.results.name }[each.value[0]]
  role   = "roles/storage.objectUser"
  member = google_service_account.console[each.value[1]].member
}

# why: a release or redrive publishes tasks, and an erasure is announced
resource "google_pubsub_topic_iam_member" "console_topics" {
  for_each = {
    for pair in setproduct([local.system.task_topics.stt, local.system.task_topics.ser, local.system.completions_topic], keys(local.console)) :
    join(" ", pair) => pair
  }

  topic  = each.value[0]
  role   = "roles/pubsub.publisher"
  member = google_service_account.console[each.value[1]].member

  depends_on = [module.stage, google_pubsub_topic.completions]
}
