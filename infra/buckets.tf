# Two buckets, so that a result never counts as another upload, whatever the prefix.

locals {
  # Pages that upload, including the console, which sends files straight to the bucket.
  upload_origins = concat(var.web_origins, [for name in keys(local.console) : local.console_origin])
  cors_headers   = ["Content-Type", "Content-Range", "Range", "x-goog-resumable", "x-goog-if-generation-match", "ETag"]
}

resource "google_storage_bucket" "uploads" {
  #checkov:skip=CKV_GCP_62:Cloud Audit Logs, where enabled, record who read what; access logs are the older way
  #checkov:skip=CKV_GCP_78:each generation is a recording; soft delete keeps older ones readable until their deadline
  name                        = "${var.project_id}-${local.prefix}-uploads"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = var.delete_data

  # Not versioned, or an overwritten file would be kept, and paid for, twice.
  versioning {
    enabled = false
  }

  soft_delete_policy {
    retention_duration_seconds = var.soft_delete_days * 86400
  }

  # Unfinished multipart uploads are invisible but cost money.
  lifecycle_rule {
    action { type = "AbortIncompleteMultipartUpload" }
    condition { age = 7 }
  }

  dynamic "lifecycle_rule" {
    for_each = var.delete_uploads_after_days[*]
    content {
      action { type = "Delete" }
      condition { age = lifecycle_rule.value }
    }
  }

  dynamic "cors" {
    for_each = length(local.upload_origins) > 0 ? [local.upload_origins] : []
    content {
      origin          = cors.value
      method          = ["PUT", "POST"]
      response_header = concat(local.cors_headers, ["x-goog-meta-*"])
      max_age_seconds = 3600
    }
  }

  dynamic "encryption" {
    for_each = var.kms_key[*]
    content {
      default_kms_key_name = encryption.value
    }
  }

  depends_on = [google_project_service.api, google_kms_crypto_key_iam_member.agent]
}

resource "google_storage_bucket" "results" {
  #checkov:skip=CKV_GCP_62:Cloud Audit Logs, where enabled, record who read what; access logs are the older way
  #checkov:skip=CKV_GCP_78:every object is created once and never overwritten (a precondition in the code)
  name                        = "${var.project_id}-${local.prefix}-results"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = var.delete_data

  versioning {
    enabled = false
  }

  soft_delete_policy {
    retention_duration_seconds = var.soft_delete_days * 86400
  }

  # The same lifetime as the documents that point to them.
  dynamic "lifecycle_rule" {
    for_each = var.retention_days > 0 ? [var.retention_days] : []
    content {
      action { type = "Delete" }
      condition { age = lifecycle_rule.value }
    }
  }

  dynamic "cors" {
    for_each = length(var.web_origins) > 0 ? [var.web_origins] : []
    content {
      origin          = cors.value
      method          = ["GET", "HEAD"]
      response_header = local.cors_headers
      max_age_seconds = 3600
    }
  }

  dynamic "encryption" {
    for_each = var.kms_key[*]
    content {
      default_kms_key_name = encryption.value
    }
  }

  depends_on = [google_project_service.api, google_kms_crypto_key_iam_member.agent]
}

# --------------------------------------------------------------------------------------------------------------- access

# why: ingest reads each file's header to learn its length
resource "google_storage_bucket_iam_member" "ingest_uploads" {
  bucket = google_storage_bucket.uploads.name
  role   = "roles/storage.objectViewer"
  member = module.function["ingest"].member
}

# why: reconcile lists the uploads, and reads the header of those it ingests
resource "google_storage_bucket_iam_member" "reconcile_uploads" {
  bucket = google_storage_bucket.uploads.name
  role   = "roles/storage.objectViewer"
  member = module.function["reconcile"].member
}

# why: a report embeds the audio of a small recording
resource "google_storage_bucket_iam_member" "joiner_uploads" {
  for_each = toset(["join", "sweep"])

  bucket = google_storage_bucket.uploads.name
  role   = "roles/storage.objectViewer"
  member = module.function[each.key].member
}

# why: a worker reads the file
resource "google_storage_bucket_iam_member" "worker_uploads" {
  for_each = module.stage

  bucket = google_storage_bucket.uploads.name
  role   = "roles/storage.objectViewer"
  member = each.value.member
}

# why: a worker stores large analyses there, and deletes one if its recording was erased meanwhile
resource "google_storage_bucket_iam_member" "worker_results" {
  for_each = module.stage

  bucket = google_storage_bucket.results.name
  role   = "roles/storage.objectUser"
  member = each.value.member
}

# why: a recording of the same bytes as a finished one gets a copy of its large analyses
resource "google_storage_bucket_iam_member" "ingest_results" {
  for_each = {
    for pair in setproduct(["ingest", "reconcile"], ["roles/storage.objectViewer", "roles/storage.objectCreator"]) :
    join(" ", pair) => pair
  }

  bucket = google_storage_bucket.results.name
  role   = each.value[1]
  member = module.function[each.value[0]].member
}

# why: joining reads large analyses, writes the record's files, and deletes those of an erased recording
resource "google_storage_bucket_iam_member" "joiner_results" {
  for_each = toset(["join", "sweep"])

  bucket = google_storage_bucket.results.name
  role   = "roles/storage.objectUser"
  member = module.function[each.key].member
}

# why: uploaders add files, and can neither read nor replace any
resource "google_storage_bucket_iam_member" "uploader" {
  for_each = toset(var.uploaders)

  bucket = google_storage_bucket.uploads.name
  role   = "roles/storage.objectCreator"
  member = each.key
}

# why: records, subtitles and reports are stored there
resource "google_storage_bucket_iam_member" "reader_results" {
  for_each = toset(var.readers)

  bucket = google_storage_bucket.results.name
  role   = "roles/storage.objectViewer"
  member = each.key
}

# why: an operator inspects, quotes, backfills and erases recordings and their files
resource "google_storage_bucket_iam_member" "operator_files" {
  for_each = { for pair in setproduct(["uploads", "results"], var.operators) : join(" ", pair) => pair }

  bucket = { uploads = google_storage_bucket.uploads.name, results = google_storage_bucket.results.name }[each.value[0]]
  role   = "roles/storage.objectUser"
  member = each.value[1]
}
