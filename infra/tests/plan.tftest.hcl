# The effect of each option, and the mistakes that are reported. Plans only: nothing is created. `make check-infra` runs
# this against a stand-in for the provider, `terraform test` against the real one.

variables {
  project_id = "example-project"
  region     = "us-central1"
  images = {
    functions = "us-central1-docker.pkg.dev/example-project/speechpipe/functions@sha256:1111111111111111111111111111111111111111111111111111111111111111"
    stt       = "us-central1-docker.pkg.dev/example-project/speechpipe/stt@sha256:2222222222222222222222222222222222222222222222222222222222222222"
    ser       = "us-central1-docker.pkg.dev/example-project/speechpipe/ser@sha256:3333333333333333333333333333333333333333333333333333333333333333"
    console   = "us-central1-docker.pkg.dev/example-project/speechpipe/console@sha256:4444444444444444444444444444444444444444444444444444444444444444"
  }
}

run "by_default_an_l4_that_scales_to_zero" {
  command = plan

  assert {
    condition = alltrue([
      for worker in module.stage : jsonencode(worker.machine) == jsonencode({ accelerator = "nvidia-l4", cpu = "4", memory = "16Gi", gpu = "1", zonal_redundancy_off = true, paid_while_idle = true })
    ])
    error_message = jsonencode(module.stage)
  }
  assert {
    condition     = alltrue([for worker in module.stage : worker.instances.min == 0]) && module.stage["stt"].instances.max + module.stage["ser"].instances.max == 2
    error_message = "A new project's quota is three L4, of which an update needs one, and no instance is kept warm."
  }
  assert {
    condition     = length(google_cloud_scheduler_job.warm_up) == 0 && length(google_billing_budget.monthly) == 0 && length(google_kms_crypto_key_iam_member.agent) == 0
    error_message = "An option that costs money or needs a key is on by default."
  }
  assert {
    condition     = google_firestore_database.this.delete_protection_state == "DELETE_PROTECTION_ENABLED" && !google_storage_bucket.results.force_destroy
    error_message = "Destroying the deployment would delete data."
  }
}

run "another_gpu_needs_another_machine" {
  command = plan
  variables {
    accelerator = "nvidia-rtx-pro-6000"
  }

  assert {
    condition = alltrue([
      for worker in module.stage : jsonencode(worker.machine) == jsonencode({ accelerator = "nvidia-rtx-pro-6000", cpu = "20", memory = "80Gi", gpu = "1", zonal_redundancy_off = true, paid_while_idle = true })
    ])
    error_message = jsonencode(module.stage)
  }
}

run "without_a_gpu_only_requests_are_billed" {
  command = plan
  variables {
    accelerator = "none"
  }

  assert {
    condition = alltrue([
      for worker in module.stage : jsonencode(worker.machine) == jsonencode({ accelerator = null, cpu = "4", memory = "16Gi", gpu = null, zonal_redundancy_off = null, paid_while_idle = false })
    ])
    error_message = jsonencode(module.stage)
  }
  assert {
    condition     = !contains(keys(local.alerts), "An hour of audio costs too much")
    error_message = "There is a cost alert without prices."
  }
}

run "one_key_encrypts_everything" {
  command = plan
  variables {
    kms_key = "projects/example-project/locations/us-central1/keyRings/speechpipe/cryptoKeys/data"
  }

  assert {
    condition = toset(concat(
      [for bucket in [google_storage_bucket.uploads, google_storage_bucket.results, google_storage_bucket.source] : bucket.encryption[0].default_kms_key_name],
      [google_pubsub_topic.completions.kms_key_name, google_pubsub_topic.dead_letters.kms_key_name],
      [google_firestore_database.this.cmek_config[0].kms_key_name, google_artifact_registry_repository.images.kms_key_name],
      flatten([for stage in module.stage : stage.kms_keys]),
      [for function in module.function : function.kms_key],
    )) == toset([var.kms_key])
    error_message = "Something is encrypted with another key."
  }
}

run "warmed_up_before_office_hours" {
  command = plan
  variables {
    warm_up = { schedule = "50 7 * * 1-5", time_zone = "Europe/Berlin" }
  }

  assert {
    condition     = toset([for job in google_cloud_scheduler_job.warm_up : job.time_zone]) == toset(["Europe/Berlin"]) && length(google_cloud_scheduler_job.warm_up) == 2
    error_message = "A worker is not warmed up, or not in the given time zone."
  }
}

run "a_cap_comes_with_an_alert" {
  command = plan
  variables {
    max_duration = 3600
  }

  assert {
    condition     = contains(keys(local.alerts), "Recordings are held")
    error_message = "Nobody would learn that recordings are held."
  }
}

run "no_console_without_named_users" {
  command = plan

  assert {
    condition     = length(google_cloud_run_v2_service.console) == 0 && output.console == null
    error_message = "The console is deployed by default."
  }
}

run "the_console_runs_its_image_once_users_are_named" {
  command = plan
  variables {
    console = { users = ["group:team@example.com"] }
  }

  assert {
    condition     = [for service in google_cloud_run_v2_service.console : service.template[0].containers[0].image] == [var.images.console]
    error_message = "The console does not run its own image."
  }
}

# ----------------------------------------------------------------------------------------- mistakes and where they are reported

run "a_tag_instead_of_a_digest" {
  command = plan
  variables {
    images = { functions = "functions:latest", stt = "stt:latest", ser = "ser:latest", console = "console:latest" }
  }
  expect_failures = [var.images]
}

run "a_multi_region" {
  command = plan
  variables {
    region = "nam5"
  }
  expect_failures = [var.region]
}

run "a_region_without_the_gpu_is_a_warning" {
  command = plan
  variables {
    region = "europe-west3"
  }
  expect_failures = [check.region_has_the_gpu]
}

run "an_unknown_gpu" {
  command = plan
  variables {
    accelerator = "nvidia-t4"
  }
  expect_failures = [var.accelerator]
}

run "a_key_in_another_region" {
  command = plan
  variables {
    kms_key = "projects/example-project/locations/europe-west1/keyRings/speechpipe/cryptoKeys/data"
  }
  expect_failures = [var.kms_key]
}

run "a_cap_on_cost_without_prices" {
  command = plan
  variables {
    accelerator = "none"
    max_cost    = 1
  }
  expect_failures = [var.max_cost]
}

run "a_budget_without_a_billing_account" {
  command = plan
  variables {
    monthly_budget = 100
  }
  expect_failures = [var.monthly_budget]
}

run "more_warm_instances_than_the_maximum" {
  command = plan
  variables {
    min_instances = { ser = 2 }
  }
  expect_failures = [var.min_instances]
}

run "recordings_that_do_not_fit_into_memory_are_a_warning" {
  command = plan
  variables {
    concurrency = 9
  }
  expect_failures = [check.recordings_fit_into_memory]
}

run "a_file_must_outlive_its_deadline" {
  command = plan
  variables {
    deadline_seconds          = 172800
    delete_uploads_after_days = 1
  }
  expect_failures = [var.delete_uploads_after_days]
}

run "uploads_from_any_origin" {
  command = plan
  variables {
    web_origins = ["*"]
  }
  expect_failures = [var.web_origins]
}

run "a_bare_address_instead_of_a_member" {
  command = plan
  variables {
    uploaders = ["ann@example.com"]
  }
  expect_failures = [var.uploaders]
}

run "a_console_open_to_everybody" {
  command = plan
  variables {
    console = { users = ["allAuthenticatedUsers"] }
  }
  expect_failures = [var.console]
}
