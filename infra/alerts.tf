# Every alert calls for action, which its section in docs/runbook.md describes. All conditions are PromQL: Cloud Monitoring
# refuses a threshold on a metric that has no values yet, and in a new project no metric has any.
locals {
  functions_re = join("|", [for function in module.function : function.name])
  workers_re   = join("|", [for worker in module.stage : worker.name])
  succeeded    = { for name in keys(local.system.schedules) : name => "run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=\"${module.function[name].name}\",response_code_class=\"2xx\"}" }
  in_functions = "monitored_resource=\"cloud_run_revision\",service_name=~\"${local.functions_re}\""
  attempts     = "sum by (stage) (increase(${local.promql.attempts}{${local.ours},action%s}[30m]))"
  cost         = local.promql.cost_per_audio_hour

  alerts = merge({
    "Queue is old" = {
      severity = "WARNING"
      query    = "max by (subscription_id) (${local.promql.queue_age}{${local.tasks}}) > ${var.queue_age_seconds}"
      duration = "300s"
      meaning  = "The oldest task has waited for more than ${var.queue_age_seconds} s: the workers cannot keep up, or are not running."
      look     = "The worker's instances and GPU utilisation on the dashboard, its log, and the GPU quota."
      do       = "Raise max_instances within the quotas of GPUs, CPUs and memory; fix the worker if it fails; a mere backlog drains by itself."
    }
    "Upload events are old" = {
      severity = "ERROR"
      query    = "max by (subscription_id) (${local.promql.event_age}{${local.events}}) > 900"
      duration = "300s"
      meaning  = "An upload, or a finished half, has waited for more than 15 minutes: ingest or join does not take its event."
      look     = "The log of ingest (upload-events) or join (eventarc-...): refused calls, errors, or no request at all."
      do       = "Fix the cause: uploads wait for 31 days, and sweep joins what join missed."
    }
    "Uploads were missed" = {
      severity = "ERROR"
      query    = "sum(increase(${local.promql.missed_uploads}{${local.ours}}[1h])) > 0"
      duration = "0s"
      meaning  = "The nightly reconcile found uploads without a document and ingested them: their events were lost or late."
      look     = "The bucket's notification, the age of upload events, and speechpipe dead-letters list."
      do       = "Find out why the events did not arrive; if that began more than three days ago, run speechpipe reconcile."
    }
    "Reconcile has stopped" = {
      severity = "WARNING"
      # Not in the first two days of a deployment, in which it may not have run yet.
      query    = "absent_over_time(${local.succeeded.reconcile}[2d]) unless on() absent_over_time(${local.succeeded.sweep}[1h] offset 2d)"
      duration = "0s"
      meaning  = "No reconciliation has succeeded for two days: an upload whose event is lost now stays unnoticed."
      look     = "The state of the Cloud Scheduler job, and reconcile's log."
      do       = "Resume the job, or run speechpipe reconcile --since 3d, which has no time limit."
    }
    "Dead letters" = {
      severity = "ERROR"
      query    = "sum by (subscription_id) (increase(${local.promql.dead_letters}{${local.queues}}[15m])) > 0"
      duration = "0s"
      meaning  = "A task, or an upload's event, was delivered ${local.system.subscriptions[local.system.task_topics.stt].max_delivery_attempts} times and never finished. If an attempt failed, give_up ends its stage as a Failure; if none did, it was a backlog, and the task waits again."
      look     = "speechpipe dead-letters list, the recording's history (speechpipe explain), and the worker's log lines with action=failed."
      do       = "Fix the cause, then run speechpipe dead-letters redrive --all."
    }
    "A function is failing" = {
      severity = "ERROR"
      query    = "sum by (service_name) (increase(run_googleapis_com:request_count{${local.in_functions},response_code_class=\"5xx\"}[10m])) > 3"
      duration = "0s"
      meaning  = "A function answered more than three requests within ten minutes with 5xx; an upload's event waits for 31 days, a finished half's for a day."
      look     = "The function's errors in the log."
      do       = "Fix the cause within a day; sweep catches up on what was missed."
    }
    "A worker's attempts are failing" = {
      severity = "ERROR"
      query = join(" ", [
        "${format(local.attempts, "=\"failed\"")} / ${format(local.attempts, "=~\"failed|performed\"")} > 0.2",
        "and ${format(local.attempts, "=\"failed\"")} >= 3",
      ])
      duration = "0s"
      meaning  = "At least three of a stage's attempts, and more than a fifth of them, ended with an exception within 30 minutes."
      look     = "The worker's log lines with action=failed and their tracebacks; memory on the dashboard."
      do       = "Roll back if it started with a deployment; lower concurrency or max_bytes if memory ran out."
    }
    "Recordings were given up" = {
      severity = "WARNING"
      query    = "sum by (stage) (increase(${local.promql.given_up}{${local.ours}}[30m])) > 0"
      duration = "0s"
      meaning  = "A stage ended as a Failure after its last attempt or past the deadline: somebody's recording is partial or failed."
      look     = "The log lines with action=gave_up, then speechpipe explain."
      do       = "Fix the cause, then run speechpipe redrive on the recordings."
    }
    "Sweep has stopped" = {
      severity = "CRITICAL"
      query    = "absent_over_time(${local.succeeded.sweep}[15m])"
      duration = "0s"
      meaning  = "No sweep has succeeded for 15 minutes: stuck recordings stay stuck, and missed deadlines go unnoticed."
      look     = "The state of the Cloud Scheduler job, and sweep's log."
      do       = "Resume the job, or fix sweep; everything else keeps running meanwhile."
    }
    },
    local.machine.prices == "" ? {} : {
      "An hour of audio costs too much" = {
        severity = "WARNING"
        query    = "sum(increase(${local.cost}_sum{${local.ours}}[6h])) / sum(increase(${local.cost}_count{${local.ours}}[6h])) > ${var.cost_per_audio_hour}"
        duration = "0s"
        meaning  = "Over the last six hours, an hour of audio took more than ${var.cost_per_audio_hour} USD of compute."
        look     = "rtfx, batch_fill, row_fill and gpu_idle_share on the dashboard, by stage."
        do       = "Find out what got slower: a new model, very short files, a worker without its GPU."
      }
    },
    length(compact([for cap in [var.max_cost, var.max_duration, var.max_cost_per_day, var.max_duration_per_day] : cap == null ? "" : "set"])) == 0 ? {} : {
      "Recordings are held" = {
        severity = "WARNING"
        query    = "sum by (cap) (increase(${local.promql.held}{${local.ours}}[15m])) > 0"
        duration = "0s"
        meaning  = "A recording is over a cap and waits for somebody to release it."
        look     = "speechpipe list --status held; speechpipe explain names the cap."
        do       = "Release it with speechpipe release, or leave it held; raise the cap if this is normal."
      }
  })

  # Matches a log line instead of a metric: it happens before there is anything to count.
  cannot_start = {
    name     = "A worker cannot start"
    severity = "CRITICAL"
    meaning  = "A worker's model could not be loaded, its start took too long, or it ran out of memory."
    look     = "The worker's log: the line with action=load_failed gives the reason; Cloud Run's own lines report probes and memory."
    do       = "Roll back to the previous revision; tasks wait and are redelivered."
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
      disable_metric_validation = true # a metric does not exist until it has values
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
