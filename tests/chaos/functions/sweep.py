"""`sweep` with faults; it republishes tasks after 20 seconds instead of a quarter of an hour."""

from datetime import timedelta

from speechpipe.pipeline import sweep as verb
from tests.chaos import disturbed

disturbed.install_in_function("sweep")

from functions.sweep import sweep  # noqa: E402

verb.REPUBLISH_AFTER = timedelta(seconds=20)

__all__ = ["sweep"]
