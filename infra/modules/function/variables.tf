variable "name" {
  description = "Name of the service; its accounts are called after it."
  type        = string

  validation {
    condition     = length("${var.name}-caller") <= 30
    error_message = "name wants at most 23 characters: an account's id has at most 30."
  }
}

variable "entry" {
  description = "The file that functions-framework serves, and the function in it."
  type = object({
    source = string
    target = string
  })
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
  description = "What the tokens of its calls are for. null: Eventarc chooses, and Cloud Run's own check sees to it."
  type        = string
  default     = null
}

variable "environment" {
  description = "Variables of the environment; one that is null is left out."
  type        = map(string)
}

variable "timeout_seconds" {
  type = number
}

variable "memory" {
  type = string
}

variable "concurrency" {
  type = number
}

variable "max_instances" {
  type = number
}

variable "deletion_protection" {
  type = bool
}

variable "kms_key" {
  type    = string
  default = null
}
