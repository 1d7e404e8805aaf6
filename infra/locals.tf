# What the code relies on, written by `make schemas` and never by hand. Nothing in it is repeated in these files.
locals {
  system = jsondecode(file("${path.module}/system.json"))
  prefix = "speechpipe"
}

# Reading it needs only the Cloud Resource Manager API.
data "google_project" "this" {
  project_id = var.project_id
}

locals {
  # The part of a service's address after its name (https://cloud.google.com/run/docs/triggering/https-request). Token
  # audiences are built from it, because a service's environment cannot contain the URI that creating it returns. Each is
  # also registered as a custom audience of its service, so nothing depends on the format of Google's addresses.
  host = "${data.google_project.this.number}.${var.region}.run.app"

  accelerators = {
    # The smallest machine that Cloud Run allows with each GPU, and the one that the price presets assume. A worker's
    # memory holds its recordings' files (/tmp is memory), not their samples; the weights are on the GPU, and four vCPUs
    # decode faster than it needs. An empty_dir on disk would take the files out of memory, but it is newer than this
    # configuration, and its minimum size costs money while idle.
    nvidia-l4           = { cpu = 4, memory = 16, prices = "l4" }
    nvidia-rtx-pro-6000 = { cpu = 20, memory = 80, prices = "rtx-pro-6000" }
    none                = { cpu = 4, memory = 16, prices = "" }
  }
  machine = local.accelerators[var.accelerator]

  # https://cloud.google.com/run/docs/configuring/services/gpu#supported-regions
  gpu_regions = {
    nvidia-l4           = ["us-central1", "us-east4", "europe-west1", "europe-west4", "asia-southeast1", "asia-south1"]
    nvidia-rtx-pro-6000 = ["us-central1", "europe-west4", "asia-southeast1", "asia-south2"]
    none                = [var.region]
  }
}

# Warnings rather than errors: the list of regions grows, and how much fits depends on the recordings.
check "region_has_the_gpu" {
  assert {
    condition     = contains(local.gpu_regions[var.accelerator], var.region)
    error_message = "Cloud Run had no ${var.accelerator} in ${var.region} when this was written, only in: ${join(", ", local.gpu_regions[var.accelerator])}."
  }
}

check "recordings_fit_into_memory" {
  assert {
    condition     = var.concurrency * coalesce(var.max_bytes, 5 * pow(1024, 3)) <= (local.machine.memory - 4) * pow(1024, 3)
    error_message = "${var.concurrency} recordings of the maximum size do not fit into ${local.machine.memory} GiB: lower concurrency or max_bytes."
  }
}
