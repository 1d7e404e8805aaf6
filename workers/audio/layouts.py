"""Give a decoder a plain channel layout before it is opened.

A file may list its channels in an order of its own (QuickTime's `chan`, CAF). PyAV 18 copies FFmpeg's layout without
the map that such a layout points to, and frees the map with each copy: with `codec_context.channels`, and with every
frame that is decoded. So the heap is corrupt after the first frame. Here the one copy that PyAV makes becomes the map's
only owner, because the decoder's own is overwritten with a plain layout of as many channels, which has no map; its
frames then have none either. No more is lost than what channels are called: they are mixed and split by number.
"""

from __future__ import annotations

from av.audio.codeccontext import AudioCodecContext

_PLAIN = {1: "mono", 2: "stereo"}


def take_layout(context: AudioCodecContext) -> int:
    """Replace the layout of a codec context that is not open yet. Returns the number of channels, 0 if unknown."""
    given = context.layout  # the map's owner from the next line on
    channels = given.nb_channels
    if channels > 0:
        context.layout = plain(channels)
    return channels


def plain(channels: int) -> str:
    """The name of a layout without an order of its own."""
    return _PLAIN.get(channels, f"{channels} channels")
