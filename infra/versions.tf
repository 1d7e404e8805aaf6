terraform {
  required_version = ">= 1.9" # validations that refer to other variables

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 7.45" # fixes permanent diffs on Cloud Run's limits and instance counts
    }
    google-beta = {
      source  = "hashicorp/google-beta"
      version = "~> 7.45" # the only provider with google_project_service_identity
    }
  }

  # The bucket is set on the command line: -backend-config=bucket=PROJECT-speechpipe-tfstate
  backend "gcs" {
    prefix = "speechpipe"
  }
}

# Some APIs, including budgets, reject user credentials unless a project is billed for the call.
provider "google" {
  project               = var.project_id
  region                = var.region
  billing_project       = var.project_id
  user_project_override = true
  default_labels        = { app = "speechpipe" }
}

provider "google-beta" {
  project               = var.project_id
  region                = var.region
  billing_project       = var.project_id
  user_project_override = true
}
