# One tile for each of our metrics, with its meaning as the title, then Cloud Run's own metrics. "GPU idle while the queue
# is old" is no alert: the first row shows it.
locals {
  first = ["queue_age", "event_age", "gpu_utilization", "outcomes", "attempts", "given_up", "dead_letters"]
  ours  = "monitored_resource=\"cloud_run_revision\",service_name=~\"${local.prefix}-.+\""
  tasks = "monitored_resource=\"pubsub_subscription\",subscription_id=~\"${join("|", [for worker in module.stage : worker.subscription])}\""
  # Eventarc names its subscription eventarc-REGION-TRIGGER-sub-NUMBER.
  events = "monitored_resource=\"pubsub_subscription\",subscription_id=~\"${google_pubsub_subscription.upload_events.name}|eventarc-.+-${google_eventarc_trigger.partials.name}-sub-.+\""
  queues = "monitored_resource=\"pubsub_subscription\",subscription_id=~\"${join("|", concat([google_pubsub_subscription.upload_events.name], [for worker in module.stage : worker.subscription]))}\""
  every  = "[$${__interval}]"
  by     = { for name, metric in local.system.metrics : name => join(", ", metric.labels) }
  series = "sum by (%s) (increase(%s{%s}[$${__interval}]))"

  metric_queries = {
    for name, metric in local.system.metrics : name => (
      name == "queue_age" ? {
        "$${subscription_id}" = "max by (subscription_id) (${local.promql[name]}{${local.tasks}})"
      } :
      name == "event_age" ? {
        "$${subscription_id}" = "max by (subscription_id) (${local.promql[name]}{${local.events}})"
      } :
      name == "dead_letters" ? {
        "$${subscription_id}" = "sum by (subscription_id) (increase(${local.promql[name]}{${local.queues}}${local.every}))"
      } :
      name == "gpu_utilization" ? {
        "$${service_name}" = "sum by (service_name) (increase(${local.promql[name]}_sum{${local.ours}}${local.every})) / sum by (service_name) (increase(${local.promql[name]}_count{${local.ours}}${local.every}))"
      } :
      metric.field == null ? {
        join(" ", [for label in metric.labels : "$${${label}}"]) = format(local.series, local.by[name], local.promql[name], local.ours)
      } :
      {
        "mean ${join(" ", [for label in metric.labels : "$${${label}}"])}" = "${format(local.series, local.by[name], "${local.promql[name]}_sum", local.ours)} / ${format(local.series, local.by[name], "${local.promql[name]}_count", local.ours)}"
        "95 % ${join(" ", [for label in metric.labels : "$${${label}}"])}" = "histogram_quantile(0.95, ${format(local.series, join(", ", concat(metric.labels, ["le"])), "${local.promql[name]}_bucket", local.ours)})"
      }
    )
  }

  metric_tiles = [
    for name in distinct(concat(local.first, keys(local.system.metrics))) : {
      title   = "${replace(name, "_", " ")}${local.system.metrics[name].unit == "1" ? "" : " (${local.system.metrics[name].unit})"}: ${local.system.metrics[name].meaning}"
      queries = local.metric_queries[name]
    }
  ]

  platform_tiles = [
    {
      title   = "requests, by service and response class"
      queries = { "$${service_name} $${response_code_class}" = "sum by (service_name, response_code_class) (increase(run_googleapis_com:request_count{${local.ours}}${local.every}))" }
    },
    {
      title   = "instances, by service and state: idle GPUs cost money"
      queries = { "$${service_name} $${state}" = "sum by (service_name, state) (run_googleapis_com:container_instance_count{${local.ours}})" }
    },
    {
      title   = "instance start (ms), 95 %"
      queries = { "$${service_name}" = "histogram_quantile(0.95, sum by (service_name, le) (increase(run_googleapis_com:container_startup_latencies_bucket{${local.ours}}${local.every})))" }
    },
    {
      title   = "memory, share of the limit, 95 %"
      queries = { "$${service_name}" = "histogram_quantile(0.95, sum by (service_name, le) (increase(run_googleapis_com:container_memory_utilizations_bucket{${local.ours}}${local.every})))" }
    },
  ]
}

resource "google_monitoring_dashboard" "this" {
  dashboard_json = jsonencode({
    displayName = local.prefix
    mosaicLayout = {
      columns = 48
      tiles = [
        for index, tile in concat(local.metric_tiles, local.platform_tiles) : {
          xPos   = (index % 3) * 16
          yPos   = floor(index / 3) * 14
          width  = 16
          height = 14
          widget = {
            title = tile.title
            xyChart = {
              dataSets = [
                for legend, query in tile.queries : {
                  plotType        = "LINE"
                  targetAxis      = "Y1"
                  legendTemplate  = legend
                  timeSeriesQuery = { prometheusQuery = query }
                }
              ]
            }
          }
        }
      ]
    }
  })

  depends_on = [google_logging_metric.field]
}

# why: an operator on call looks at logs, metrics, traces and the state of services
resource "google_project_iam_member" "operator_looks" {
  for_each = {
    for pair in setproduct(
      ["roles/logging.viewer", "roles/monitoring.viewer", "roles/cloudtrace.user", "roles/run.viewer", "roles/pubsub.viewer"],
      var.operators,
    ) : join(" ", pair) => pair
  }

  project = var.project_id
  role    = each.value[0]
  member  = each.value[1]
}
