terraform {
  required_version = ">= 1.9" # validations that look at other variables

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 7.45" # fixes endless diffs on Cloud Run's limits and instance counts
    }
    google-beta = {
      source  = "hashicorp/google-beta"
      version = "~> 7.45" # google_project_service_identity is nowhere else
    }
  }

  # The bucket is given on the command line: -backend-config=bucket=PROJECT-speechpipe-tfstate
  backend "gcs" {
    prefix = "speechpipe"
  }
}

# Some APIs, budgets and Firebase rules among them, refuse a person's credentials without a project to bill the call to.
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
