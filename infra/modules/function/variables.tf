variable "name" {
  description = "Name of the service; its service accounts are named after it."
  type        = string

  validation {
    condition     = length("${var.name}-caller") <= 30
    error_message = "name must have at most 23 characters, because an account's id has at most 30."
  }
}

variable "entry" {
  description = "The file that functions-framework loads, and the function in it to serve."
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
  description = "Audience of the tokens that its caller sends. null: Eventarc chooses it, and only Cloud Run checks it."
  type        = string
  default     = null
}

variable "environment" {
  description = "Environment variables; null values are left out."
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
