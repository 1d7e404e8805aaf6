"""Name places in a recording, for the message of a caution. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from workers.audio.vad import Span

#: More are only counted.
MAX_PLACES = 10


def places(spans: Sequence[Span]) -> str:
    """Where spans begin: `0:03, 1:20 and 2 more`."""
    named = ", ".join(f"{int(span.start) // 60}:{int(span.start) % 60:02}" for span in spans[:MAX_PLACES])
    return named + (f" and {len(spans) - MAX_PLACES} more" if len(spans) > MAX_PLACES else "")
