"""`join` with faults."""

from tests.chaos import disturbed

disturbed.install_in_function("join")

from functions.join import join  # noqa: E402

__all__ = ["join"]
