# Regional, like the functions: with nam5 or eur3 a trigger and its function would be in different locations.
resource "google_firestore_database" "this" {
  name                              = var.database
  location_id                       = var.region
  type                              = "FIRESTORE_NATIVE"
  point_in_time_recovery_enablement = "POINT_IN_TIME_RECOVERY_${var.point_in_time_recovery ? "ENABLED" : "DISABLED"}"
  delete_protection_state           = "DELETE_PROTECTION_${var.delete_data ? "DISABLED" : "ENABLED"}"
  deletion_policy                   = var.delete_data ? "DELETE" : "ABANDON"

  dynamic "cmek_config" {
    for_each = var.kms_key[*]
    content {
      kms_key_name = cmek_config.value
    }
  }

  depends_on = [google_project_service.api, google_kms_crypto_key_iam_member.agent]
}

# One for each query that needs one; the emulator does without.
resource "google_firestore_index" "query" {
  for_each = {
    for index in local.system.firestore.indexes : join(",", [for each in index : "${each.field} ${each.order}"]) => index
  }

  database   = google_firestore_database.this.name
  collection = "recordings"

  dynamic "fields" {
    for_each = each.value
    content {
      field_path = fields.value.field
      order      = fields.value.order
    }
  }
}

locals {
  # A field has a single configuration, so unindexed fields and time-to-live fields have to be one list.
  firestore_fields = {
    for field in concat(local.system.firestore.unindexed, local.system.firestore.time_to_live) :
    "${field.collection}.${field.field}" => field...
  }
}

# No index on bulky fields that no query uses, nor on timestamps that only the time-to-live uses.
resource "google_firestore_field" "without_index" {
  for_each = local.firestore_fields

  database   = google_firestore_database.this.name
  collection = each.value[0].collection
  field      = each.value[0].field

  index_config {}

  dynamic "ttl_config" {
    for_each = contains(local.system.firestore.time_to_live, each.value[0]) ? [true] : []
    content {}
  }
}

# No security rules here: without any, a new database refuses browsers and phones, and our services authenticate with IAM,
# which bypasses rules. Google may have released rules of its own in a new project, which Terraform cannot replace
# (https://github.com/hashicorp/terraform-provider-google/issues/20917).

# ----------------------------------------------------------------------------------------------- who may read and write

locals {
  # IAM cannot tell collections apart, so a whole database is the narrowest scope.
  this_database = {
    title      = "database ${var.database}"
    expression = "resource.name == \"projects/${var.project_id}/databases/${var.database}\""
  }
}

# why: functions keep recordings and partials in documents, and sum a day's quotes
resource "google_project_iam_member" "function_documents" {
  for_each = module.function

  project = var.project_id
  role    = "roles/datastore.user"
  member  = each.value.member

  condition {
    title      = local.this_database.title
    expression = local.this_database.expression
  }
}

# why: a worker keeps its lease and progress in documents, and creates its partial
resource "google_project_iam_member" "worker_documents" {
  for_each = module.stage

  project = var.project_id
  role    = "roles/datastore.user"
  member  = each.value.member

  condition {
    title      = local.this_database.title
    expression = local.this_database.expression
  }
}

# why: readers poll recordings' documents
resource "google_project_iam_member" "reader_documents" {
  for_each = toset(var.readers)

  project = var.project_id
  role    = "roles/datastore.viewer"
  member  = each.key

  condition {
    title      = local.this_database.title
    expression = local.this_database.expression
  }
}

# why: an operator's releases, redrives, erasures and backfills are written into documents
resource "google_project_iam_member" "operator_documents" {
  for_each = toset(var.operators)

  project = var.project_id
  role    = "roles/datastore.user"
  member  = each.key

  condition {
    title      = local.this_database.title
    expression = local.this_database.expression
  }
}
