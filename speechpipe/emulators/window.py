"""Pub/Sub's push window: how many messages of a subscription are pushed at the same time.

It starts small, grows with every acknowledgement and shrinks with every failure, a 429 among them, so a service that
refuses work gets less of it afterwards. And a message that was refused waits for its own backoff, which doubles each
time. Source: https://cloud.google.com/pubsub/docs/push#push_backoff. Google publishes no numbers; these are guesses on
the slow side, and the pause of a whole subscription after many failures (0.1 to 60 s) is left out.
"""

from __future__ import annotations

from speechpipe.contract.resources import Subscription

#: Statuses that acknowledge (https://cloud.google.com/pubsub/docs/push#receive_push).
ACKNOWLEDGING = frozenset({102, 200, 201, 202, 204})
START, MOST = 3, 1000


class PushWindow:
    """The window of one subscription; one thread at a time calls it."""

    def __init__(self) -> None:
        self.size = START  #: how many messages may be pushed and not answered yet

    def answered(self, status: int | None) -> None:
        """Hear how a push ended: its status, or None without an answer."""
        self.size = min(self.size + 1, MOST) if status in ACKNOWLEDGING else max(self.size // 2, 1)


def backoff_seconds(subscription: Subscription, failures: int) -> int:
    """How long a message waits after so many failed pushes, at least 1."""
    doublings = min(failures - 1, 10)
    return min(subscription.minimum_backoff_seconds << doublings, subscription.maximum_backoff_seconds)
