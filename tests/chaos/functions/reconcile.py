"""`reconcile` with faults."""

from tests.chaos import disturbed

disturbed.install_in_function("reconcile")

from functions.reconcile import reconcile  # noqa: E402

__all__ = ["reconcile"]
