# ------------------------------------------------------------------------------------------------ what must be said

variable "project_id" {
  description = "Id of the project that everything is made in."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id wants the id of a project (6 to 30 lower-case letters, digits and hyphens), not its name or number."
  }
}

variable "region" {
  description = "Region of everything: buckets, Firestore, functions, workers. One with the GPU of `accelerator`."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region wants a single region such as us-central1. Multi-regions (nam5, eur3, us) have no GPUs, and a trigger must be where its database and bucket are."
  }
}

variable "images" {
  description = "The four images, by digest: what was tested is what runs."
  type = object({
    functions = string
    stt       = string
    ser       = string
    console   = string
  })

  validation {
    condition     = alltrue([for image in values(var.images) : can(regex("@sha256:[0-9a-f]{64}$", image))])
    error_message = "images wants digests, REGION-docker.pkg.dev/PROJECT/speechpipe/NAME@sha256:...; a tag can move to other content."
  }
}

variable "console" {
  description = "The web console as a service behind Identity-Aware Proxy: who may use it (user:, group:, domain:). Whoever may uses all of it: listens, runs again, erases. null: none; `speechpipe console` serves it on a laptop."
  type = object({
    users = list(string)
  })
  default = null

  validation {
    condition     = var.console == null || !anytrue([for user in try(var.console.users, []) : startswith(user, "all")])
    error_message = "console.users wants people of yours: everybody (allUsers, allAuthenticatedUsers) would read every recording."
  }
}

# ----------------------------------------------------------------------------------------------------- the workers

variable "accelerator" {
  description = "GPU of the workers: nvidia-l4, nvidia-rtx-pro-6000, or none for CPUs (a first look with the demo models)."
  type        = string
  default     = "nvidia-l4"

  validation {
    condition     = contains(["nvidia-l4", "nvidia-rtx-pro-6000", "none"], var.accelerator)
    error_message = "accelerator wants nvidia-l4, nvidia-rtx-pro-6000 or none."
  }
}

variable "concurrency" {
  description = "Recordings that one worker takes at a time, whose rows share batches; each needs memory for its file."
  type        = number
  default     = 8

  validation {
    condition     = var.concurrency >= 1 && var.concurrency <= 64 && floor(var.concurrency) == var.concurrency
    error_message = "concurrency wants a whole number from 1 to 64."
  }
}

variable "min_instances" {
  description = "Instances kept warm, by stage: the answer to cold starts, paid by the hour. 0: scale to zero."
  type = object({
    stt = optional(number, 0)
    ser = optional(number, 0)
  })
  default = {}

  validation {
    condition     = alltrue([for stage, n in var.min_instances : n >= 0 && n <= var.max_instances[stage]])
    error_message = "min_instances wants, for each stage, a number from 0 to its max_instances."
  }
}

variable "max_instances" {
  description = "Most instances, by stage. Together they must fit the GPU quota: new projects get three L4 per region."
  type = object({
    stt = optional(number, 2)
    ser = optional(number, 1)
  })
  default = {}

  validation {
    condition     = alltrue([for n in values(var.max_instances) : n >= 1])
    error_message = "max_instances wants at least 1 for each stage; pause a stage by pausing its subscription's push instead."
  }
}

variable "warm_up" {
  description = "A schedule that wakes one instance of each worker, before office hours: {schedule = \"50 7 * * 1-5\", time_zone = \"Europe/Berlin\"}. An idle instance goes after some ten minutes."
  type = object({
    schedule  = string
    time_zone = optional(string, "Etc/UTC")
  })
  default = null

  validation {
    condition     = var.warm_up == null || length(split(" ", try(var.warm_up.schedule, ""))) == 5
    error_message = "warm_up.schedule wants the five fields of cron, such as \"50 7 * * 1-5\"."
  }
}

# -------------------------------------------------------------------------------------------------- limits and caps

variable "uploads_prefix" {
  description = "Objects outside this prefix of the uploads bucket are none of ours; empty: all are."
  type        = string
  default     = ""
}

variable "max_bytes" {
  description = "Largest file, bytes; it lies in a worker's memory, once for each of `concurrency`. null: the code's default, 5 GiB."
  type        = number
  default     = 1610612736 # 1.5 GiB: two and a half hours of CD quality, days of a telephone's

  validation {
    condition     = var.max_bytes == null || try(var.max_bytes > 0, false)
    error_message = "max_bytes wants a positive number of bytes."
  }
}

variable "max_seconds" {
  description = "Longest recording that is analysed, seconds, counted while decoding. null: the code's default, ten hours."
  type        = number
  default     = null

  validation {
    condition     = var.max_seconds == null || try(var.max_seconds > 0, false)
    error_message = "max_seconds wants a positive number of seconds."
  }
}

variable "deadline_seconds" {
  description = "When a recording's missing halves are given up. null: the code's default, a day."
  type        = number
  default     = null

  validation {
    condition     = var.deadline_seconds == null || try(var.deadline_seconds > 0, false)
    error_message = "deadline_seconds wants a positive number of seconds."
  }
}

variable "max_cost" {
  description = "A recording that is quoted above this, USD, is held until it is released. null: no cap."
  type        = number
  default     = null

  validation {
    condition     = var.max_cost == null || try(var.max_cost > 0 && var.accelerator != "none", false)
    error_message = "max_cost wants a positive amount, and an accelerator: without one there are no prices."
  }
}

variable "max_duration" {
  description = "A recording with more seconds of audio is held until it is released. null: no cap."
  type        = number
  default     = null

  validation {
    condition     = var.max_duration == null || try(var.max_duration > 0, false)
    error_message = "max_duration wants a positive number of seconds."
  }
}

variable "max_cost_per_day" {
  description = "The same for the cost of all recordings of a day (UTC), USD. null: no cap."
  type        = number
  default     = null

  validation {
    condition     = var.max_cost_per_day == null || try(var.max_cost_per_day > 0 && var.accelerator != "none", false)
    error_message = "max_cost_per_day wants a positive amount, and an accelerator: without one there are no prices."
  }
}

variable "max_duration_per_day" {
  description = "The same for the seconds of audio of all recordings of a day (UTC). null: no cap."
  type        = number
  default     = null

  validation {
    condition     = var.max_duration_per_day == null || try(var.max_duration_per_day > 0, false)
    error_message = "max_duration_per_day wants a positive number of seconds."
  }
}

# ---------------------------------------------------------------------------------------------------------- the data

variable "database" {
  description = "Name of the Firestore database."
  type        = string
  default     = "(default)"

  validation {
    condition     = var.database == "(default)" || can(regex("^[a-z][a-z0-9-]{2,61}[a-z0-9]$", var.database))
    error_message = "database wants (default), or 4 to 63 lower-case letters, digits and hyphens that begin with a letter."
  }
}

variable "point_in_time_recovery" {
  description = "Whether the database can be read as it was at any minute of the last seven days; it costs storage."
  type        = bool
  default     = false
}

variable "retention_days" {
  description = "Recordings, their partials and results go after this many days. 0: they are kept for ever."
  type        = number
  default     = 0

  validation {
    condition     = var.retention_days >= 0 && floor(var.retention_days) == var.retention_days
    error_message = "retention_days wants a whole number of days; 0 keeps everything."
  }
}

variable "embed_bytes" {
  description = "Recordings up to this size are in their report, to be heard there, also when the upload is gone. 0: none is. null: the code's default, 1 MB."
  type        = number
  default     = null

  validation {
    condition     = var.embed_bytes == null || try(var.embed_bytes >= 0 && var.embed_bytes <= 33554432, false)
    error_message = "embed_bytes wants 0 to 33554432 bytes: a page with more in it is slow to open."
  }
}

variable "delete_uploads_after_days" {
  description = "Uploaded files go after this many days. null: they stay. More than the deadline, or work is lost."
  type        = number
  default     = null

  validation {
    condition     = var.delete_uploads_after_days == null || try(var.delete_uploads_after_days * 86400 > coalesce(var.deadline_seconds, 86400), false)
    error_message = "delete_uploads_after_days wants more days than deadline_seconds has: a file must outlive its analysis."
  }
}

variable "soft_delete_days" {
  description = "Days for which a deleted object can be brought back, and is paid for. 0: deleted is gone, at once."
  type        = number
  default     = 7

  validation {
    condition     = var.soft_delete_days == 0 || (var.soft_delete_days >= 7 && var.soft_delete_days <= 90)
    error_message = "soft_delete_days wants 0, or 7 to 90: Cloud Storage has nothing in between."
  }
}

variable "delete_data" {
  description = "Whether destroying also deletes recordings, results and the database. false: full buckets stop it and the database is kept."
  type        = bool
  default     = false
}

variable "deletion_protection" {
  description = "Whether the services refuse to be destroyed. They hold no data, so not by default."
  type        = bool
  default     = false
}

variable "kms_key" {
  description = "A key of Cloud KMS in the region, projects/P/locations/REGION/keyRings/R/cryptoKeys/K, for everything that is stored. null: Google's keys. Changing it makes the database anew."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key == null || can(regex("^projects/[^/]+/locations/${var.region}/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key))
    error_message = "kms_key wants projects/P/locations/REGION/keyRings/R/cryptoKeys/K with the same region as everything else."
  }
}

# ------------------------------------------------------------------------------------------------------- the people

variable "uploaders" {
  description = "Who may put files into the uploads bucket, and nothing else: user:, group:, serviceAccount:."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.uploaders : can(regex("^(user|group|serviceAccount|domain|principal|principalSet):.+$", member))])
    error_message = "uploaders wants members such as user:ann@example.com or group:team@example.com."
  }
}

variable "readers" {
  description = "Who may read results: the results bucket, the database, completion events."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.readers : can(regex("^(user|group|serviceAccount|domain|principal|principalSet):.+$", member))])
    error_message = "readers wants members such as user:ann@example.com or group:team@example.com."
  }
}

variable "operators" {
  description = "Who may release, run again, announce again and erase recordings, and look at everything."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.operators : can(regex("^(user|group|serviceAccount|domain|principal|principalSet):.+$", member))])
    error_message = "operators wants members such as user:ann@example.com or group:team@example.com."
  }
}

variable "web_origins" {
  description = "Origins whose web pages may upload and read with signed URLs, such as https://example.com. Empty: no CORS."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for origin in var.web_origins : can(regex("^https?://[^/*]+$", origin))])
    error_message = "web_origins wants origins such as https://example.com, without a path and without *."
  }
}

# -------------------------------------------------------------------------------------------------- instruments, money

variable "alert_emails" {
  description = "Addresses that alerts and the budget are mailed to. Empty: incidents are on the console only."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for address in var.alert_emails : can(regex("^[^@ ]+@[^@ ]+$", address))])
    error_message = "alert_emails wants mail addresses."
  }
}

variable "runbook_url" {
  description = "Where docs/runbook.md can be read; alerts link to its sections."
  type        = string
  default     = "docs/runbook.md"
}

variable "queue_age_seconds" {
  description = "Age of the oldest task above which the queue counts as old."
  type        = number
  default     = 1800

  validation {
    condition     = var.queue_age_seconds >= 600
    error_message = "queue_age_seconds wants at least 600: a task that runs is unacknowledged for up to ten minutes."
  }
}

variable "cost_per_audio_hour" {
  description = "USD per hour of audio above which an alert fires. With the presets both stages take about 0.02 on an L4."
  type        = number
  default     = 0.1

  validation {
    condition     = var.cost_per_audio_hour > 0
    error_message = "cost_per_audio_hour wants a positive amount."
  }
}

variable "billing_account" {
  description = "Id of the billing account, for the budget. Whoever applies needs roles/billing.costsManager there. null: no budget."
  type        = string
  default     = null

  validation {
    condition     = var.billing_account == null || can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.billing_account))
    error_message = "billing_account wants an id such as 012345-6789AB-CDEF01 (gcloud billing accounts list)."
  }
}

variable "monthly_budget" {
  description = "Amount a month, in the billing account's currency, whole: an alert at half of it, at all of it, and when it will be exceeded."
  type        = number
  default     = null

  validation {
    condition     = (var.monthly_budget == null) == (var.billing_account == null)
    error_message = "monthly_budget and billing_account want each other: set both or none."
  }
  validation {
    condition     = var.monthly_budget == null || try(var.monthly_budget >= 1 && floor(var.monthly_budget) == var.monthly_budget, false)
    error_message = "monthly_budget wants a whole amount of at least 1."
  }
}
