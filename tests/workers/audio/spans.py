"""What `chunks` has to give as audio streams in, computed over all spans of a channel at once."""

from __future__ import annotations

from collections.abc import Sequence

from workers.audio.vad import Span


def join_spans(spans: Sequence[Span], *, gap: float, pad: float, duration: float) -> list[Span]:
    """Join spans closer than `gap`, then pad each by `pad` seconds, at most half way to its neighbour.

    `spans` must be in order; `duration` is the length of the recording. All values in seconds. Pure.
    """
    joined: list[Span] = []
    for span in spans:
        if joined and span.start - joined[-1].end < gap:
            joined[-1] = Span(joined[-1].start, max(joined[-1].end, span.end))
        else:
            joined.append(span)
    padded: list[Span] = []
    for index, span in enumerate(joined):
        before = pad if index == 0 else min(pad, (span.start - joined[index - 1].end) / 2)
        after = pad if index == len(joined) - 1 else min(pad, (joined[index + 1].start - span.end) / 2)
        padded.append(Span(max(0.0, span.start - before), min(duration, span.end + after)))
    return padded
