variable "stage" {
  description = "The stage that the worker performs: stt or ser."
  type        = string
}

variable "name" {
  description = "Name of the service; its service accounts are named after it."
  type        = string

  validation {
    condition     = length("${var.name}-caller") <= 30
    error_message = "name must have at most 23 characters, because an account's id has at most 30."
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
  description = "Audience of the push tokens. Set explicitly, because a service cannot be given its own address."
  type        = string
}

variable "environment" {
  description = "Environment variables; null values are left out."
  type        = map(string)
}

variable "subscription" {
  description = "The tasks' subscription, as in system.json."
  type = object({
    name                    = string
    topic                   = string
    ack_deadline_seconds    = number
    minimum_backoff_seconds = number
    maximum_backoff_seconds = number
    max_delivery_attempts   = number
    retention_seconds       = number
  })
}

variable "dead_letter_topic" {
  description = "Id of the topic for tasks whose delivery attempts are used up."
  type        = string
}

variable "pubsub_agent" {
  description = "Pub/Sub's service agent in the project, as an IAM member."
  type        = string
}

variable "accelerator" {
  description = "Type of the GPU, or none."
  type        = string
}

variable "machine" {
  description = "vCPUs and GiB of memory per instance."
  type = object({
    cpu    = number
    memory = number
  })
}

variable "concurrency" {
  description = "Recordings that an instance processes at the same time: its slots."
  type        = number
}

variable "waiting_room" {
  description = "Deliveries that wait in an instance for a slot."
  type        = number
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
