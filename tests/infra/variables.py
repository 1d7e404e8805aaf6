"""Values for the variables of infra/: the required ones, and every option switched on."""

from __future__ import annotations

from typing import Any

PROJECT = "example-project"
REQUIRED: dict[str, Any] = {
    "project_id": PROJECT,
    "region": "europe-west4",
    "images": {
        name: f"europe-west4-docker.pkg.dev/{PROJECT}/speechpipe/{name}@sha256:{digit * 64}"
        for name, digit in (("functions", "1"), ("stt", "2"), ("ser", "3"), ("console", "4"))
    },
}
EVERYTHING: dict[str, Any] = {
    "accelerator": "nvidia-rtx-pro-6000",
    "concurrency": 2,
    "min_instances": {"stt": 1},
    "max_instances": {"stt": 3, "ser": 2},
    "warm_up": {"schedule": "50 7 * * 1-5", "time_zone": "Europe/Berlin"},
    "uploads_prefix": "calls/",
    "max_bytes": 1024**3,
    "max_seconds": 7200,
    "deadline_seconds": 3600,
    "max_cost": 2.5,
    "max_duration": 3600,
    "max_cost_per_day": 50,
    "max_duration_per_day": 360_000,
    "part_seconds": 900,
    "database": "speechpipe",
    "point_in_time_recovery": True,
    "retention_days": 30,
    "embed_bytes": 500_000,
    "delete_uploads_after_days": 30,
    "soft_delete_days": 14,
    "delete_data": True,
    "deletion_protection": True,
    "kms_key": f"projects/{PROJECT}/locations/europe-west4/keyRings/speechpipe/cryptoKeys/data",
    "console": {"users": ["group:console@example.com"]},
    "uploaders": ["group:uploaders@example.com"],
    "readers": ["group:readers@example.com"],
    "operators": ["group:operators@example.com"],
    "web_origins": ["https://example.com"],
    "alert_emails": ["oncall@example.com"],
    "runbook_url": "https://example.com/runbook.md",
    "queue_age_seconds": 900,
    "cost_per_audio_hour": 0.2,
    "billing_account": "012345-6789AB-CDEF01",
    "monthly_budget": 100,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "everything": EVERYTHING,
    "no GPU": {"accelerator": "none"},
}
