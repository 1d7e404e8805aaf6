"""The Google Cloud deployment: Terraform, and the commands `make plan`, `make deploy` and `make destroy`."""
