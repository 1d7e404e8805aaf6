"""`give_up` with faults."""

from tests.chaos import disturbed

disturbed.install_in_function("give_up")

from functions.give_up import give_up  # noqa: E402

__all__ = ["give_up"]
