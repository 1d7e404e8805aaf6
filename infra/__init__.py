"""The system in Google Cloud: Terraform, and what brings it there (`make plan`, `make deploy`, `make destroy`)."""
