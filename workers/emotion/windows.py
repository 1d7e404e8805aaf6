"""Windows: the pieces of speech that get emotion scores.

Windows follow the speech. Each chunk is cut into equal windows of at most five seconds, so that no window is mostly
silence or a padded remainder. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from workers.audio.chunks import Chunk, ChunkRules
from workers.audio.decoder import SAMPLE_RATE
from workers.audio.vad import Span

MAX_WINDOW_SECONDS = 5.0  #: these models are trained on corpora with utterances of 2 to 8 s
#: Spans of speech closer than 0.3 s are joined and get 0.1 s on each side. Chunks shorter than a second are widened.
CHUNK_RULES = ChunkRules(gap=0.3, pad=0.1, longest=60.0, shortest=1.0)

#: Samples. The scored audio of a window is a multiple of this, so that windows of different recordings have the same
#: length. That leaves out at most 50 ms at each end, which is less than the padding around speech.
GRID = SAMPLE_RATE // 10


def windows_of(chunk: Chunk) -> Iterator[tuple[Span, npt.NDArray[np.int16]]]:
    """Cut a chunk into equal windows of at most MAX_WINDOW_SECONDS: each one's span, and the audio to score."""
    length = len(chunk.samples)
    # Rounding may have made the chunk a sample longer: that is not another window.
    count = max(1, math.ceil(length / (MAX_WINDOW_SECONDS * SAMPLE_RATE) - 1e-3))
    scored = length // count
    scored = scored - scored % GRID or scored
    for number in range(count):
        first, last = number * length // count, (number + 1) * length // count
        begin = first + (last - first - scored) // 2
        span = Span(chunk.span.start + first / SAMPLE_RATE, chunk.span.start + last / SAMPLE_RATE)
        yield span, chunk.samples[begin : begin + scored]
