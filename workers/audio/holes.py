"""Damage in a format without times of its own, told from the bytes that FFmpeg skipped.

An MP3 or a raw AAC file is a row of frames. After damage FFmpeg looks for the next frame, returns everything up to
there as one packet, and counts on as if that were one frame. All later words would be early by the hole's length.
"""

from __future__ import annotations

import av

_FORMATS = ("mp3", "aac")
#: No frame of these formats is longer (ADTS has 13 bits for it), in bytes.
_LONGEST_FRAME = 8191
#: Tags and pictures may stand between the frames of joined files. They are no damage.
_TAGS = (b"ID3", b"APETAGEX", b"LYRICS", b"TAG")
_KNOWN_SECONDS = 0.5  #: of sound before the bytes per second are known


class Holes:
    """Follows the sizes of a file's packets."""

    def __init__(self, format_name: str) -> None:
        self._followed = format_name in _FORMATS
        self._bytes = self._ticks = 0  # of all packets but holes
        self.found = 0.0  #: seconds of all holes

    def after(self, packet: av.Packet[av.AudioStream]) -> float:
        """Seconds of sound that are missing in this packet, and in the times of all later ones."""
        size, ticks = packet.size, packet.duration
        if not self._followed or not size or not ticks:
            return 0.0
        if size <= _LONGEST_FRAME:
            self._bytes += size
            self._ticks += ticks
            return 0.0
        start, base = bytes(memoryview(packet)[:_LONGEST_FRAME]), float(packet.time_base or 0)
        if self._ticks * base < _KNOWN_SECONDS or any(tag in start for tag in _TAGS):
            return 0.0
        lost = max(0.0, (size * self._ticks / self._bytes - ticks) * base)
        self.found += lost
        return lost
