"""Which of a recording's channels are scored, if its uploader chose some. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from speechpipe.contract import Caution
from speechpipe.contract.errors import ErrorCode, Rejected


def channels_to_score(chosen: Sequence[int] | None, count: int) -> Sequence[int]:
    """The chosen channels that a recording of `count` channels has; its only one, or without a choice all.

    Raises Rejected(invalid_option) if a recording of several channels has none of the chosen ones: whoever chose one
    channel did not ask for the emotions on another.
    """
    if chosen is None or count == 1:
        return range(count)
    if there := [channel for channel in chosen if channel < count]:
        return there
    given = ",".join(map(str, chosen))
    message = f"option 'emotion': given {given!r}; allowed: 0 to {count - 1}: the recording's channels"
    raise Rejected(ErrorCode.INVALID_OPTION, message)


def missing(chosen: Sequence[int] | None, count: int) -> Iterator[Caution]:
    """A caution for chosen channels that do not exist; in a recording of one channel `mono_split` says so already."""
    lacking = ",".join(str(channel) for channel in chosen or () if channel >= count)
    if lacking and count > 1:
        message = f"emotion was asked for on channel {lacking}, but the recording's channels are 0 to {count - 1}"
        yield Caution(code="no_such_channel", message=message)
