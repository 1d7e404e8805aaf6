# Turns fields of our log lines into log-based metrics (speechpipe/observe/metrics.py explains why).
locals {
  service_names = concat(
    [for function in module.function : function.name],
    [for worker in module.stage : worker.name],
  )
  log_metrics = { for name, metric in local.system.metrics : name => metric if metric.platform == null }
  # Their names in PromQL: https://cloud.google.com/monitoring/promql/promql-mapping
  promql = {
    for name, metric in local.system.metrics : name => metric.platform == null ? (
      "logging_googleapis_com:user_${local.prefix}_${name}"
      ) : (
      replace(replace(metric.platform, "/^([^/]+)\\//", "$1:"), "/[./]/", "_")
    )
  }
}

resource "google_logging_metric" "field" {
  for_each = local.log_metrics

  name        = "${local.prefix}/${each.key}"
  description = each.value.meaning
  filter = join(" AND ", [
    "resource.type=\"cloud_run_revision\"",
    "resource.labels.service_name=(${join(" OR ", [for name in local.service_names : "\"${name}\""])})",
    "jsonPayload.action=(${join(" OR ", [for action in each.value.actions : "\"${action}\""])})",
  ])
  value_extractor  = each.value.field == null ? null : "EXTRACT(jsonPayload.${each.value.field})"
  label_extractors = { for label in each.value.labels : label => "EXTRACT(jsonPayload.${label})" }

  metric_descriptor {
    display_name = "${local.prefix} ${replace(each.key, "_", " ")}"
    metric_kind  = "DELTA"
    value_type   = each.value.field == null ? "INT64" : "DISTRIBUTION"
    unit         = each.value.unit

    dynamic "labels" {
      for_each = each.value.labels
      content {
        key        = labels.value
        value_type = "STRING"
      }
    }
  }

  # From 0.001 to 200,000 in steps of 35 %, to fit shares, money and hours alike: means are exact, quantiles to about 35 %.
  dynamic "bucket_options" {
    for_each = each.value.field[*]
    content {
      exponential_buckets {
        num_finite_buckets = 64
        growth_factor      = 1.35
        scale              = 0.001
      }
    }
  }

  depends_on = [google_project_service.api]
}
