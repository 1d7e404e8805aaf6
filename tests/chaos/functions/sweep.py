"""`sweep` with faults; it publishes tasks again after 20 seconds, because Pub/Sub loses all its messages here."""

from datetime import timedelta

from speechpipe.pipeline import copies
from speechpipe.pipeline import sweep as verb
from tests.chaos import disturbed

disturbed.install_in_function("sweep")

from functions.sweep import sweep  # noqa: E402

verb.TRIED_AFTER = verb.WAITED_AFTER = copies.RETENTION = timedelta(seconds=20)

__all__ = ["sweep"]
