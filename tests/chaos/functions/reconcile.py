"""`reconcile` with faults; it leaves alone only the uploads of the last 20 seconds, instead of the last hour."""

from datetime import timedelta

from speechpipe.pipeline import reconcile as verb
from tests.chaos import disturbed

disturbed.install_in_function("reconcile")

from functions.reconcile import reconcile  # noqa: E402

verb.GRACE = timedelta(seconds=20)

__all__ = ["reconcile"]
