resource "google_artifact_registry_repository" "images" {
  #checkov:skip=CKV_GCP_84:encrypted with kms_key where one is given, with Google's key otherwise
  location               = var.region
  repository_id          = local.prefix
  format                 = "DOCKER"
  description            = "speechpipe images and their build cache"
  kms_key_name           = var.kms_key
  cleanup_policy_dry_run = false

  docker_config {
    immutable_tags = false # the cache's tag moves; deployments use digests
  }

  # Keep the newest images of each name whatever their age, because the deployed one may be old. `cache` is one name with four
  # new images a build.
  cleanup_policies {
    id     = "keep-recent"
    action = "KEEP"
    most_recent_versions {
      keep_count = 30
    }
  }
  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"
    condition {
      older_than = "2592000s"
    }
  }

  depends_on = [google_project_service.api, google_kms_crypto_key_iam_member.agent]
}

# -------------------------------------------------------------------------------------------------- building the images

resource "google_service_account" "build" {
  account_id   = "${local.prefix}-build"
  display_name = "speechpipe build"
  description  = "Identity of Cloud Build: reads the source, pushes the images, cannot deploy."
  depends_on   = [google_project_service.api]
}

# why: the build pushes the images and their cache
resource "google_artifact_registry_repository_iam_member" "build" {
  location   = google_artifact_registry_repository.images.location
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.build.member
}

# why: a build that runs as its own service account has to write its own log
resource "google_project_iam_member" "build_log" {
  project = var.project_id
  role    = "roles/logging.logWriter"
  member  = google_service_account.build.member
}

# Holds the source that a build is submitted with.
resource "google_storage_bucket" "source" {
  #checkov:skip=CKV_GCP_62:holds copies of the source for a week, nothing worth an access log
  #checkov:skip=CKV_GCP_78:each build's source is a new object, never overwritten
  name                        = "${var.project_id}-${local.prefix}-source"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true # only copies of the repository

  soft_delete_policy {
    retention_duration_seconds = 0
  }

  lifecycle_rule {
    action { type = "Delete" }
    condition { age = 7 }
  }

  dynamic "encryption" {
    for_each = var.kms_key[*]
    content {
      default_kms_key_name = encryption.value
    }
  }

  depends_on = [google_project_service.api, google_kms_crypto_key_iam_member.agent]
}

# why: the build reads the source
resource "google_storage_bucket_iam_member" "build_source" {
  bucket = google_storage_bucket.source.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.build.member
}
