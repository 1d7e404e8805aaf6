# Enabled first; destroying leaves them, since something else in the project may use them.
resource "google_project_service" "api" {
  for_each = toset(concat([
    "artifactregistry.googleapis.com",
    "cloudbuild.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "cloudscheduler.googleapis.com",
    "cloudtrace.googleapis.com",
    "containeranalysis.googleapis.com", # provenance
    "eventarc.googleapis.com",
    "firebaserules.googleapis.com",
    "firestore.googleapis.com",
    "iam.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "pubsub.googleapis.com",
    "run.googleapis.com",
    "storage.googleapis.com",
    "telemetry.googleapis.com",
    ],
    var.console == null ? [] : ["iap.googleapis.com"],
    var.kms_key == null ? [] : ["cloudkms.googleapis.com"],
    var.billing_account == null ? [] : ["billingbudgets.googleapis.com"],
  ))

  service            = each.key
  disable_on_destroy = false
}

# Google's agents in a project come to be when they are first wanted; a grant to one that is not there fails.
resource "google_project_service_identity" "agent" {
  provider = google-beta
  for_each = toset(concat(
    ["eventarc.googleapis.com", "pubsub.googleapis.com"],
    var.console == null ? [] : ["iap.googleapis.com"],
    var.kms_key == null ? [] : ["artifactregistry.googleapis.com", "firestore.googleapis.com", "run.googleapis.com"],
  ))

  service    = each.key
  depends_on = [google_project_service.api]
}

# Reading it makes it. Not after the APIs: a plan would not know it, and storage is enabled in every project.
data "google_storage_project_service_account" "agent" {
  project = var.project_id
}

# Written out: the resource above returns no address for some of them.
locals {
  agents = {
    for name, domain in {
      artifactregistry = "gcp-sa-artifactregistry"
      eventarc         = "gcp-sa-eventarc"
      firestore        = "gcp-sa-firestore"
      iap              = "gcp-sa-iap"
      pubsub           = "gcp-sa-pubsub"
      run              = "serverless-robot-prod"
    } : name => "serviceAccount:service-${data.google_project.this.number}@${domain}.iam.gserviceaccount.com"
  }
}
