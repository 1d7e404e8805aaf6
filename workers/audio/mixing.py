"""Mix channels down to one without losing what any of them says.

The mean of two channels that are out of phase (one wire of a balanced line swapped, a "wide" effect) is silence. So
where a mix is far fainter than its louder channel, that channel is taken instead.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from av.audio.frame import AudioFrame

from workers.audio.planes import energy, normal, planes
from workers.audio.samples import Block

#: A mix with less than this share of its loudest channel's energy (-13 dB) is given up ...
_FAINT = 0.05
#: ... until it has this share again (-7 dB; one channel with the other silent has -6 dB).
_USABLE = 0.2
_SILENCE = 1e-8  #: mean energy, of a full scale of 1 (-80 dB), below which a block decides nothing
_STRIDE = 8  #: every eighth sample tells the energy well enough


class Mixer:
    """Mixes block by block. `taken` counts the samples for which one channel took the place of the mix."""

    def __init__(self) -> None:
        self.taken = self.seen = 0
        self._channel: int | None = None
        self._gain: float | None = None

    def stereo(self, frame: AudioFrame) -> None:
        """Prepare a stereo frame for FFmpeg's mean: if that would be too faint, the louder channel overwrites both."""
        channels = planes(frame)
        self.seen += frame.samples
        if len(channels) != 2:
            return
        thinned = [normal(channel[::_STRIDE]) for channel in channels]
        with np.errstate(all="ignore"):  # damaged floats exceed any range
            mixed = energy((thinned[0] + thinned[1]) * np.float32(0.5))
        chosen = self._choose([energy(one) for one in thinned], mixed)
        if chosen is not None:
            channels[1 - chosen][...] = channels[chosen]
            self.taken += frame.samples

    def many(self, block: Block) -> Block:
        """Mix int16 channels, shape (channels, n), to (1, n): their sum, as loud as the loudest of them."""
        floats = block.astype(np.float32) / 32768
        self.seen += block.shape[1]
        energies = [energy(channel) for channel in floats]
        total = floats.sum(axis=0)
        loudest, mixed = max(energies, default=0.0), energy(total)
        chosen = self._choose(energies, mixed)
        if chosen is not None:
            self.taken += block.shape[1]
            return block[chosen : chosen + 1]
        gain = min(1.0, (loudest / mixed) ** 0.5) if mixed > _SILENCE else self._gain or 1.0
        ramp = np.linspace(self._gain or gain, gain, block.shape[1], dtype=np.float32)
        self._gain = gain
        mixed_block: Block = np.clip(np.rint(total * ramp * 32768), -32768, 32767).astype(np.int16)[np.newaxis]
        return mixed_block

    def _choose(self, energies: Sequence[float], mixed: float) -> int | None:
        """The channel to take in place of the mix; None for the mix. Changes its mind only if the sound has changed."""
        loudest = int(np.argmax(energies))
        if energies[loudest] < _SILENCE:
            return self._channel
        if mixed < (_FAINT if self._channel is None else _USABLE) * energies[loudest]:
            if self._channel is None or energies[self._channel] < energies[loudest] / 4:
                self._channel = loudest
        else:
            self._channel = None
        return self._channel
