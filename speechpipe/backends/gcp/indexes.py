"""Indexes and time-to-live policies of the Firestore database, for Terraform (`infra/firestore.tf`) and the tests."""

from __future__ import annotations

#: Composite indexes of the queries in `FirestoreStore`: the fields in order, with their direction. Firestore refuses a
#: query without its index, the emulator does not.
COMPOSITE_INDEXES: tuple[tuple[tuple[str, str], ...], ...] = (
    (("status", "ASCENDING"), ("queued_at", "DESCENDING")),  # recordings(status=)
    (("announced_at", "ASCENDING"), ("status", "ASCENDING"), ("queued_at", "ASCENDING")),  # unfinished()
    (("source.uri", "ASCENDING"), ("queued_at", "DESCENDING")),  # recordings(uri=)
    (("source.uri", "ASCENDING"), ("status", "ASCENDING"), ("queued_at", "DESCENDING")),  # recordings(uri=, status=)
    # accepted_since(): the index must contain the summed field, and leaves out recordings without it.
    (("accepted_at", "ASCENDING"), ("quote.audio_seconds", "ASCENDING")),
    (("accepted_at", "ASCENDING"), ("quote.cost.amount", "ASCENDING")),
)
#: Fields without any index, as (collection group, field): bulky, never queried, and a document may have at most
#: 40,000 index entries (https://cloud.google.com/firestore/quotas#indexes).
UNINDEXED: tuple[tuple[str, str], ...] = (
    ("recordings", "result"),
    ("recordings", "summary"),
    ("recordings", "preview"),
    ("recordings", "halves"),
    ("recordings", "options"),
    ("recordings", "warnings"),
    ("recordings", "error"),
    ("partials", "analysis"),
    ("partials", "failure"),
    ("parts", "analysis"),
    ("parts", "failure"),
    ("leases", "attempts"),
)
#: Fields with a time-to-live policy, as (collection group, field). Deleting a document does not delete the documents
#: under it, so partials, parts and leases carry their recording's expiry.
TIME_TO_LIVE: tuple[tuple[str, str], ...] = (
    ("recordings", "expires_at"),
    ("partials", "expires_at"),
    ("parts", "expires_at"),
    ("leases", "expires_at"),
)
