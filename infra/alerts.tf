# An alert asks somebody to do something; its section in docs/runbook.md says what. PromQL throughout: a threshold on a
# metric that has no values yet is refused, which in a new project is all of them.
locals {
  functions_re = join("|", [for function in module.function : function.name])
  workers_re   = join("|", [for worker in module.stage : worker.name])
  sweep_name   = module.function[local.system.schedule.service].name
  in_functions = "monitored_resource=\"cloud_run_revision\",service_name=~\"${local.functions_re}\""
  attempts     = "sum by (stage) (increase(${local.promql.attempts}{${local.ours},action%s}[30m]))"
  cost         = local.promql.cost_per_audio_hour

  alerts = merge({
    "Queue is old" = {
      severity = "WARNING"
      query    = "max by (subscription_id) (${local.promql.queue_age}{${local.tasks}}) > ${var.queue_age_seconds}"
      duration = "300s"
      meaning  = "The oldest task has waited for more than ${var.queue_age_seconds} s: workers do not keep up, or do not run."
      look     = "Instances and GPU use of the worker on the dashboard, its log, and the GPU quota."
      do       = "Raise max_instances within the quota; mend the worker if it fails; a backlog alone drains."
    }
    "Dead letters" = {
      severity = "ERROR"
      query    = "sum by (subscription_id) (increase(${local.promql.dead_letters}{${local.tasks}}[15m])) > 0"
      duration = "0s"
      meaning  = "A task was delivered ${local.system.subscriptions[local.system.task_topics.stt].max_delivery_attempts} times and never finished; give_up makes a Failure of it."
      look     = "The recording's story (speechpipe explain), and the worker's lines with action=failed."
      do       = "Mend the cause, then copy the files onto themselves: each is a new recording."
    }
    "A function is failing" = {
      severity = "ERROR"
      query    = "sum by (service_name) (increase(run_googleapis_com:request_count{${local.in_functions},response_code_class=\"5xx\"}[10m])) > 3"
      duration = "0s"
      meaning  = "A function answered more than three requests of ten minutes with 5xx; its events are delivered again for 24 hours."
      look     = "The function's errors in the log."
      do       = "Mend the cause within a day; sweep makes good what was missed."
    }
    "A worker's attempts are failing" = {
      severity = "ERROR"
      query = join(" ", [
        "${format(local.attempts, "=\"failed\"")} / ${format(local.attempts, "=~\"failed|performed\"")} > 0.2",
        "and ${format(local.attempts, "=\"failed\"")} >= 3",
      ])
      duration = "0s"
      meaning  = "More than a fifth of a stage's attempts in half an hour ended with an exception, and at least three."
      look     = "The worker's lines with action=failed and their tracebacks; memory on the dashboard."
      do       = "Roll back if it began with a deployment; lower concurrency or max_bytes if memory ran out."
    }
    "Recordings were given up" = {
      severity = "WARNING"
      query    = "sum by (stage) (increase(${local.promql.given_up}{${local.ours}}[30m])) > 0"
      duration = "0s"
      meaning  = "A stage ended as a Failure after its last attempt or past the deadline: somebody's recording is partial or failed."
      look     = "The lines with action=gave_up, then speechpipe explain."
      do       = "Mend the cause, then copy the file onto itself: it is a new recording."
    }
    "Sweep has stopped" = {
      severity = "CRITICAL"
      query    = "absent_over_time(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=\"${local.sweep_name}\",response_code_class=\"2xx\"}[15m])"
      duration = "0s"
      meaning  = "For a quarter of an hour no sweep ended well: what gets stuck stays so, and deadlines pass unseen."
      look     = "The schedule's state, and sweep's log."
      do       = "Resume the schedule, or mend sweep; everything else goes on meanwhile."
    }
    },
    local.machine.prices == "" ? {} : {
      "An hour of audio costs too much" = {
        severity = "WARNING"
        query    = "sum(increase(${local.cost}_sum{${local.ours}}[6h])) / sum(increase(${local.cost}_count{${local.ours}}[6h])) > ${var.cost_per_audio_hour}"
        duration = "0s"
        meaning  = "Over six hours, an hour of audio took more than ${var.cost_per_audio_hour} USD of compute."
        look     = "rtfx, batch_fill, row_fill and gpu_idle_share on the dashboard, by stage."
        do       = "Find what got slower: a new model, very short files, a worker without its GPU."
      }
    },
    length(compact([for cap in [var.max_cost, var.max_duration, var.max_cost_per_day, var.max_duration_per_day] : cap == null ? "" : "set"])) == 0 ? {} : {
      "Recordings are held" = {
        severity = "WARNING"
        query    = "sum by (cap) (increase(${local.promql.held}{${local.ours}}[15m])) > 0"
        duration = "0s"
        meaning  = "A recording is over a cap and waits until somebody releases it."
        look     = "speechpipe list --status held; speechpipe explain says over which cap."
        do       = "speechpipe release it, or leave it; raise the cap if this is normal."
      }
  })

  # A line in the log and no figure: it happens before there is anything to count.
  cannot_start = {
    name     = "A worker cannot start"
    severity = "CRITICAL"
    meaning  = "A worker's model could not be loaded, its start took too long, or it ran out of memory."
    look     = "The worker's log: the line with action=load_failed says why; Cloud Run's own lines tell of probes and memory."
    do       = "Roll back to the revision before; tasks wait, and are delivered again."
  }
}

resource "google_monitoring_notification_channel" "email" {
  for_each = toset(var.alert_emails)

  display_name = "${local.prefix}: ${each.key}"
  type         = "email"
  labels       = { email_address = each.key }
  depends_on   = [google_project_service.api]
}

resource "google_monitoring_alert_policy" "metric" {
  for_each = local.alerts

  display_name          = each.key
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = [for channel in google_monitoring_notification_channel.email : channel.name]

  conditions {
    display_name = each.key
    condition_prometheus_query_language {
      query                     = each.value.query
      duration                  = each.value.duration
      evaluation_interval       = "60s"
      disable_metric_validation = true # a metric without values is none yet
    }
  }

  alert_strategy {
    auto_close = "86400s"
  }

  documentation {
    mime_type = "text/markdown"
    content   = <<-TEXT
      ${each.value.meaning}
      **Look:** ${each.value.look} **Do:** ${each.value.do} [Runbook](${var.runbook_url}#${lower(replace(replace(each.key, "'", ""), " ", "-"))})
    TEXT
  }

  depends_on = [google_logging_metric.field]
}

resource "google_monitoring_alert_policy" "cannot_start" {
  display_name          = local.cannot_start.name
  combiner              = "OR"
  severity              = local.cannot_start.severity
  notification_channels = [for channel in google_monitoring_notification_channel.email : channel.name]

  conditions {
    display_name = local.cannot_start.name
    condition_matched_log {
      filter = join(" AND ", [
        "resource.type=\"cloud_run_revision\"",
        "resource.labels.service_name=(${join(" OR ", [for worker in module.stage : "\"${worker.name}\""])})",
        "(jsonPayload.action=\"load_failed\" OR (severity>=ERROR AND log_id(\"run.googleapis.com/varlog/system\")))",
      ])
      label_extractors = { service = "EXTRACT(resource.labels.service_name)" }
    }
  }

  alert_strategy {
    auto_close = "86400s"
    notification_rate_limit {
      period = "1800s"
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = <<-TEXT
      ${local.cannot_start.meaning}
      **Look:** ${local.cannot_start.look} **Do:** ${local.cannot_start.do} [Runbook](${var.runbook_url}#${lower(replace(local.cannot_start.name, " ", "-"))})
    TEXT
  }

  depends_on = [google_project_service.api]
}
