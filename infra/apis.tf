# Enabled before anything else. Destroying leaves them enabled, since something else in the project may use them.
resource "google_project_service" "api" {
  for_each = toset(concat([
    "artifactregistry.googleapis.com",
    "cloudbuild.googleapis.com",
    "cloudquotas.googleapis.com", # `make deploy` reads the quotas before it builds
    "cloudresourcemanager.googleapis.com",
    "cloudscheduler.googleapis.com",
    "cloudtrace.googleapis.com",
    "containeranalysis.googleapis.com", # provenance
    "eventarc.googleapis.com",
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

# Google creates its service agents on first use, and a grant to an agent that does not exist yet fails.
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

# Reading it creates it. It does not depend on the APIs, or its address would be unknown in a plan; the storage API is
# enabled in every project.
data "google_storage_project_service_account" "agent" {
  project = var.project_id
}

# Spelled out, because google_project_service_identity returns no address for some of them.
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

# A push with a token is signed by Pub/Sub's agent, in the caller's name. Google grants the agent a role for that, but not
# always to an agent that was created by hand (https://cloud.google.com/iam/docs/create-service-agents), and without it no push
# arrives. Cloud Scheduler's agent gets its role together with the API.
# why: Pub/Sub signs the tokens of its pushes, and of Eventarc's, as the account that may call the service
resource "google_service_account_iam_member" "agent_tokens" {
  for_each = merge(
    { for name, function in module.function : name => function.caller if contains(local.pushed_to, name) },
    { for stage, worker in module.stage : stage => worker.caller },
  )

  service_account_id = "projects/${var.project_id}/serviceAccounts/${each.value}"
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = local.agents.pubsub
  depends_on         = [google_project_service_identity.agent]
}

locals {
  # The functions that a subscription calls, of our own or of Eventarc's.
  pushed_to = compact(concat(local.event_services, [for each in values(local.system.subscriptions) : each.push_to]))
}
