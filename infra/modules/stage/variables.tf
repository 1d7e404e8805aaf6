variable "stage" {
  description = "The stage that the worker performs: stt or ser."
  type        = string
}

variable "name" {
  description = "Name of the service; its accounts are called after it."
  type        = string

  validation {
    condition     = length("${var.name}-caller") <= 30
    error_message = "name wants at most 23 characters: an account's id has at most 30."
  }
}

variable "project_id" {
  type = string
}

variable "region" {
  type = string
}

variable "image" {
  type = string
}

variable "audience" {
  description = "What tokens of the tasks' pushes are for. Said by us: a service cannot be told its own address."
  type        = string
}

variable "environment" {
  description = "Variables of the environment; one that is null is left out."
  type        = map(string)
}

variable "subscription" {
  description = "How tasks are delivered, as in system.json."
  type = object({
    name                    = string
    topic                   = string
    ack_deadline_seconds    = number
    minimum_backoff_seconds = number
    maximum_backoff_seconds = number
    max_delivery_attempts   = number
  })
}

variable "dead_letter_topic" {
  description = "Id of the topic for tasks that were delivered as often as allowed."
  type        = string
}

variable "pubsub_agent" {
  description = "Pub/Sub's own identity in the project, as IAM writes it."
  type        = string
}

variable "accelerator" {
  description = "A GPU's type, or none."
  type        = string
}

variable "machine" {
  description = "vCPUs, and memory in GiB."
  type = object({
    cpu    = number
    memory = number
  })
}

variable "concurrency" {
  type = number
}

variable "min_instances" {
  type = number
}

variable "max_instances" {
  type = number
}

variable "request_seconds" {
  type = number
}

variable "ready_path" {
  type = string
}

variable "alive_path" {
  type = string
}

variable "deletion_protection" {
  type = bool
}

variable "kms_key" {
  type    = string
  default = null
}
