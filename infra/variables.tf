# ------------------------------------------------------------------------------------------------------------- required

variable "project_id" {
  description = "Id of the project to deploy into."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id must be a project's id (6 to 30 lower-case letters, digits and hyphens), not its name or number."
  }
}

variable "region" {
  description = "Region for everything: buckets, Firestore, functions, workers. It must offer the GPU in `accelerator`."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region must be a single region such as us-central1. Multi-regions (nam5, eur3, us) have no GPUs, and a trigger must be where its database and bucket are."
  }
}

variable "images" {
  description = "The four images, by digest, so that exactly the tested images run."
  type = object({
    functions = string
    stt       = string
    ser       = string
    console   = string
  })

  validation {
    condition     = alltrue([for image in values(var.images) : can(regex("@sha256:[0-9a-f]{64}$", image))])
    error_message = "images must be digests, REGION-docker.pkg.dev/PROJECT/speechpipe/NAME@sha256:..., because a tag can move to other content."
  }
}

variable "console" {
  description = "Deploys the web console behind Identity-Aware Proxy for these users (user:, group:, domain:). Each of them may do everything in it: listen, redrive, erase. null: not deployed; `speechpipe console` serves it on a laptop."
  type = object({
    users = list(string)
  })
  default = null

  validation {
    condition     = var.console == null || !anytrue([for user in try(var.console.users, []) : startswith(user, "all")])
    error_message = "console.users must name your own people: allUsers and allAuthenticatedUsers would let everybody read every recording."
  }
}

# ---------------------------------------------------------------------------------------------------------- the workers

variable "accelerator" {
  description = "The workers' GPU: nvidia-l4, nvidia-rtx-pro-6000, or none for CPUs (to try it with MODELS=demo)."
  type        = string
  default     = "nvidia-l4"

  validation {
    condition     = contains(["nvidia-l4", "nvidia-rtx-pro-6000", "none"], var.accelerator)
    error_message = "accelerator must be nvidia-l4, nvidia-rtx-pro-6000 or none."
  }
}

variable "models" {
  description = "The models in the images: default, or demo (Whisper base and the bundled emotion model). Only recorded here, so that the next `make deploy` builds the same."
  type        = string
  default     = "default"

  validation {
    condition     = contains(["default", "demo"], var.models)
    error_message = "models must be default or demo."
  }
}

variable "concurrency" {
  description = "Recordings that a worker instance processes at the same time; eight more deliveries wait in it. Their rows share batches; each file needs memory."
  type        = number
  default     = 8

  validation {
    condition     = var.concurrency >= 1 && var.concurrency <= 64 && floor(var.concurrency) == var.concurrency
    error_message = "concurrency must be a whole number from 1 to 64."
  }
}

variable "min_instances" {
  description = "Instances kept warm, by stage. Avoids cold starts, and is billed by the hour. 0: scale to zero."
  type = object({
    stt = optional(number, 0)
    ser = optional(number, 0)
  })
  default = {}

  validation {
    condition     = alltrue([for stage, n in var.min_instances : n >= 0 && n <= var.max_instances[stage]])
    error_message = "min_instances must be between 0 and max_instances for each stage."
  }
}

variable "max_instances" {
  description = "Maximum number of instances, by stage. Their sum must fit the GPU quota, with one to spare for updates: new projects get three L4 per region."
  type = object({
    stt = optional(number, 1)
    ser = optional(number, 1)
  })
  default = {}

  validation {
    condition     = alltrue([for n in values(var.max_instances) : n >= 1])
    error_message = "max_instances must be at least 1 for each stage; to pause a stage, pause its subscription's push instead."
  }
}

variable "warm_up" {
  description = "Schedule for starting one instance of each worker, for example before office hours: {schedule = \"50 7 * * 1-5\", time_zone = \"Europe/Berlin\"}. An idle instance stops after about ten minutes."
  type = object({
    schedule  = string
    time_zone = optional(string, "Etc/UTC")
  })
  default = null

  validation {
    condition     = var.warm_up == null || length(split(" ", try(var.warm_up.schedule, ""))) == 5
    error_message = "warm_up.schedule must have the five fields of cron, such as \"50 7 * * 1-5\"."
  }
}

# ------------------------------------------------------------------------------------------------------ limits and caps

variable "uploads_prefix" {
  description = "Only objects in the uploads bucket with this prefix become recordings. Empty: all objects do."
  type        = string
  default     = ""
}

variable "max_bytes" {
  description = "Maximum file size in bytes. A worker holds up to `concurrency` files in memory. null: the code's default, 5 GiB."
  type        = number
  default     = 1610612736 # 1.5 GiB: two and a half hours in CD quality, days of telephone audio

  validation {
    condition     = var.max_bytes == null || try(var.max_bytes > 0, false)
    error_message = "max_bytes must be a positive number of bytes."
  }
}

variable "max_seconds" {
  description = "Maximum length of a recording in seconds, counted while decoding. null: the code's default, ten hours."
  type        = number
  default     = null

  validation {
    condition     = var.max_seconds == null || try(var.max_seconds > 0, false)
    error_message = "max_seconds must be a positive number of seconds."
  }
}

variable "deadline_seconds" {
  description = "Seconds after which a recording's missing halves are given up. null: the code's default, a day."
  type        = number
  default     = null

  validation {
    condition     = var.deadline_seconds == null || try(var.deadline_seconds > 0, false)
    error_message = "deadline_seconds must be a positive number of seconds."
  }
}

variable "max_cost" {
  description = "A recording quoted above this, in USD, is held until it is released. null: no cap."
  type        = number
  default     = null

  validation {
    condition     = var.max_cost == null || try(var.max_cost > 0 && var.accelerator != "none", false)
    error_message = "max_cost must be a positive amount, and needs an accelerator: without one there are no prices."
  }
}

variable "max_duration" {
  description = "A recording with more seconds of audio than this is held until it is released. null: no cap."
  type        = number
  default     = null

  validation {
    condition     = var.max_duration == null || try(var.max_duration > 0, false)
    error_message = "max_duration must be a positive number of seconds."
  }
}

variable "max_cost_per_day" {
  description = "The same for the cost of all of a day's (UTC) recordings, in USD. null: no cap."
  type        = number
  default     = null

  validation {
    condition     = var.max_cost_per_day == null || try(var.max_cost_per_day > 0 && var.accelerator != "none", false)
    error_message = "max_cost_per_day must be a positive amount, and needs an accelerator: without one there are no prices."
  }
}

variable "max_duration_per_day" {
  description = "The same for the seconds of audio in all of a day's (UTC) recordings. null: no cap."
  type        = number
  default     = null

  validation {
    condition     = var.max_duration_per_day == null || try(var.max_duration_per_day > 0, false)
    error_message = "max_duration_per_day must be a positive number of seconds."
  }
}

variable "part_seconds" {
  description = "Recordings longer than a part and a half are analysed in parts of about so many seconds. 0: never. null: 1800 with a GPU, 600 without."
  type        = number
  default     = null

  validation {
    condition     = var.part_seconds == null || try(var.part_seconds == 0 || var.part_seconds >= 120, false)
    error_message = "part_seconds must be 0, or 120 and more."
  }
}

# ------------------------------------------------------------------------------------------------------------- the data

variable "database" {
  description = "Name of the Firestore database."
  type        = string
  default     = "(default)"

  validation {
    condition     = var.database == "(default)" || can(regex("^[a-z][a-z0-9-]{2,61}[a-z0-9]$", var.database))
    error_message = "database must be (default), or 4 to 63 lower-case letters, digits and hyphens, starting with a letter."
  }
}

variable "point_in_time_recovery" {
  description = "Whether the database can be read as of any minute of the last seven days. Costs storage."
  type        = bool
  default     = false
}

variable "retention_days" {
  description = "Days after which recordings, their partials and results are deleted. 0: never."
  type        = number
  default     = 0

  validation {
    condition     = var.retention_days >= 0 && floor(var.retention_days) == var.retention_days
    error_message = "retention_days must be a whole number of days; 0 keeps everything."
  }
}

variable "embed_bytes" {
  description = "Recordings up to this size in bytes are embedded in their stored report, so that it can play them even after the upload is deleted. 0: none. null: the code's default, 1 MB."
  type        = number
  default     = null

  validation {
    condition     = var.embed_bytes == null || try(var.embed_bytes >= 0 && var.embed_bytes <= 33554432, false)
    error_message = "embed_bytes must be 0 to 33554432 bytes: a page with more in it is slow to open."
  }
}

variable "delete_uploads_after_days" {
  description = "Days after which uploaded files are deleted. null: never. Must be longer than the deadline, or work is lost."
  type        = number
  default     = null

  validation {
    condition     = var.delete_uploads_after_days == null || try(var.delete_uploads_after_days * 86400 > coalesce(var.deadline_seconds, 86400), false)
    error_message = "delete_uploads_after_days must be longer than deadline_seconds: a file must outlive its analysis."
  }
}

variable "soft_delete_days" {
  description = "Days for which a deleted object can be restored, and is billed. 0: deleted immediately."
  type        = number
  default     = 7

  validation {
    condition     = var.soft_delete_days == 0 || (var.soft_delete_days >= 7 && var.soft_delete_days <= 90)
    error_message = "soft_delete_days must be 0, or 7 to 90: Cloud Storage allows nothing in between."
  }
}

variable "delete_data" {
  description = "Whether destroying also deletes recordings, results and the database. false: non-empty buckets stop it, and the database is kept."
  type        = bool
  default     = false
}

variable "deletion_protection" {
  description = "Whether the services are protected from being destroyed. They hold no data, so not by default."
  type        = bool
  default     = false
}

variable "kms_key" {
  description = "A Cloud KMS key in the same region, projects/P/locations/REGION/keyRings/R/cryptoKeys/K, that encrypts everything stored. null: Google's keys. Changing it replaces the database."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key == null || can(regex("^projects/[^/]+/locations/${var.region}/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key))
    error_message = "kms_key must be projects/P/locations/REGION/keyRings/R/cryptoKeys/K, in the same region as everything else."
  }
}

# ----------------------------------------------------------------------------------------------------------- the people

variable "uploaders" {
  description = "Members who may add files to the uploads bucket, and nothing else: user:, group:, serviceAccount:."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.uploaders : can(regex("^(user|group|serviceAccount|domain|principal|principalSet):.+$", member))])
    error_message = "uploaders must be members such as user:ann@example.com or group:team@example.com."
  }
}

variable "readers" {
  description = "Members who may read results: the results bucket, the database, completion events."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.readers : can(regex("^(user|group|serviceAccount|domain|principal|principalSet):.+$", member))])
    error_message = "readers must be members such as user:ann@example.com or group:team@example.com."
  }
}

variable "operators" {
  description = "Members who may release, redrive, replay and erase recordings, and look at everything."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.operators : can(regex("^(user|group|serviceAccount|domain|principal|principalSet):.+$", member))])
    error_message = "operators must be members such as user:ann@example.com or group:team@example.com."
  }
}

variable "web_origins" {
  description = "Origins whose pages may upload and read with signed URLs, such as https://example.com. Empty: no CORS."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for origin in var.web_origins : can(regex("^https?://[^/*]+$", origin))])
    error_message = "web_origins must be origins such as https://example.com, without a path and without *."
  }
}

# -------------------------------------------------------------------------------------------------- monitoring and cost

variable "alert_emails" {
  description = "Addresses to mail alerts and budget warnings to. Empty: incidents appear only in Cloud Monitoring."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for address in var.alert_emails : can(regex("^[^@ ]+@[^@ ]+$", address))])
    error_message = "alert_emails must be email addresses."
  }
}

variable "runbook_url" {
  description = "Address of docs/runbook.md; alerts link to its sections."
  type        = string
  default     = "docs/runbook.md"
}

variable "queue_age_seconds" {
  description = "Age of the oldest task, in seconds, above which *Queue is old* fires."
  type        = number
  default     = 1800

  validation {
    condition     = var.queue_age_seconds >= 600
    error_message = "queue_age_seconds must be at least 600: a running task stays unacknowledged for up to ten minutes."
  }
}

variable "cost_per_audio_hour" {
  description = "USD per hour of audio above which an alert fires. By the price presets, both stages together cost about 0.02 on an L4."
  type        = number
  default     = 0.1

  validation {
    condition     = var.cost_per_audio_hour > 0
    error_message = "cost_per_audio_hour must be a positive amount."
  }
}

variable "billing_account" {
  description = "Id of the billing account for the budget. Applying it requires roles/billing.costsManager there. null: no budget."
  type        = string
  default     = null

  validation {
    condition     = var.billing_account == null || can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.billing_account))
    error_message = "billing_account must be an id such as 012345-6789AB-CDEF01 (gcloud billing accounts list)."
  }
}

variable "monthly_budget" {
  description = "Monthly budget, a whole amount in the billing account's currency. Alerts at 50 %, at 100 %, and when the forecast exceeds it."
  type        = number
  default     = null

  validation {
    condition     = (var.monthly_budget == null) == (var.billing_account == null)
    error_message = "monthly_budget and billing_account belong together: set both or neither."
  }
  validation {
    condition     = var.monthly_budget == null || try(var.monthly_budget >= 1 && floor(var.monthly_budget) == var.monthly_budget, false)
    error_message = "monthly_budget must be a whole amount of at least 1."
  }
}
