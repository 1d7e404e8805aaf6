"""`ingest` with faults."""

from tests.chaos import disturbed

disturbed.install_in_function("ingest")

from functions.ingest import ingest  # noqa: E402

__all__ = ["ingest"]
