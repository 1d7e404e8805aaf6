"""`sweep`, disturbed; what waits for long is published again after seconds, not a quarter of an hour."""

from datetime import timedelta
from functools import partial
from typing import Any, cast

from speechpipe.pipeline import steps
from tests.chaos import disturbed

disturbed.install_in_function("sweep")

from functions.sweep import sweep  # noqa: E402

cast(Any, steps).sweep = partial(steps.sweep, republish_after=timedelta(seconds=20))

__all__ = ["sweep"]
