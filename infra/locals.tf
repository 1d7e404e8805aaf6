# What the code relies on; written by `make schemas`, never by hand. Nothing that stands there is typed again here.
locals {
  system = jsondecode(file("${path.module}/system.json"))
  prefix = "speechpipe"
}

# Reading it wants nothing but the Cloud Resource Manager API.
data "google_project" "this" {
  project_id = var.project_id
}

locals {
  # What follows a service's name in its address (https://cloud.google.com/run/docs/triggering/https-request). The
  # audiences of tokens are made of it: a service's environment cannot hold what making the service returns. Each is a
  # custom audience of its service too, so that nothing hangs on the form of Google's addresses.
  host = "${data.google_project.this.number}.${var.region}.run.app"

  accelerators = {
    # The smallest machine that Cloud Run allows with each GPU; also what the price presets count. A worker's memory
    # holds the files of its recordings (/tmp is memory), not their samples; the weights are on the GPU, and four vCPUs
    # outrun it at decoding. An empty_dir on disk would move the files out, but is younger than this and its least size
    # is paid for while idle.
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

# Warnings and not errors: the list grows, and how much fits depends on the recordings.
check "region_has_the_gpu" {
  assert {
    condition     = contains(local.gpu_regions[var.accelerator], var.region)
    error_message = "${var.region} had no ${var.accelerator} on Cloud Run when this was written; these had: ${join(", ", local.gpu_regions[var.accelerator])}."
  }
}

check "recordings_fit_into_memory" {
  assert {
    condition     = var.concurrency * coalesce(var.max_bytes, 5 * pow(1024, 3)) <= (local.machine.memory - 4) * pow(1024, 3)
    error_message = "${var.concurrency} recordings of the largest size do not fit into ${local.machine.memory} GiB: lower concurrency or max_bytes."
  }
}
