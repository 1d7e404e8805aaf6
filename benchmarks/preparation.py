"""Cost of preparing a recording: processor seconds per audio hour, by step and format.

    python -m benchmarks.preparation [--seconds 1800]

The recordings repeat the bundled samples. The results are saved in benchmarks/results/ with a description of the
machine.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from faster_whisper.feature_extractor import FeatureExtractor  # type: ignore[import-untyped]

from benchmarks.machine import machine
from workers.audio import chunks, decoder, opening, reader, vad
from workers.audio.frames import StreamDecoder
from workers.audio.reader import open_audio
from workers.whisper.log_mel import log_mel

SAMPLES = Path(__file__).parent.parent / "tests" / "samples"
RESULTS = Path(__file__).parent / "results"
#: Formats that people upload: extension, codec, sample rate, channels, bits a second.
FORMATS: dict[str, tuple[str, str, int, int, int | None]] = {
    "wav 16 kHz mono": ("wav", "pcm_s16le", 16_000, 1, None),
    "wav 44.1 kHz stereo": ("wav", "pcm_s16le", 44_100, 2, None),
    "flac 16 kHz mono": ("flac", "flac", 16_000, 1, None),
    "m4a 44.1 kHz mono": ("m4a", "aac", 44_100, 1, 64_000),
    "mp3 44.1 kHz stereo": ("mp3", "libmp3lame", 44_100, 2, 128_000),
    "opus 48 kHz mono": ("opus", "libopus", 48_000, 1, 32_000),
}
RULES = chunks.ChunkRules(gap=2.0, pad=0.4, longest=28.0)


def repeated(seconds: float) -> Iterator[decoder.Block]:
    """Repeat the samples, one channel, a block at a time."""
    blocks = []
    for path in sorted(SAMPLES.glob("*.[mfow]*")):
        if path.suffix != ".json":
            with open_audio(path, max_seconds=600) as recording:
                blocks += list(recording)
    left = round(seconds * decoder.SAMPLE_RATE)
    for block in itertools.cycle(blocks):
        yield block[:, :left]
        left -= block.shape[1]
        if left <= 0:
            return


def write(path: Path, seconds: float, codec: str, rate: int, channels: int, bits: int | None) -> Path:
    """Encode this many seconds of audio as a stream."""
    layout = "stereo" if channels == 2 else "mono"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(stream, AudioStream)
        if bits:
            stream.bit_rate = bits
        resampler = av.AudioResampler(stream.format.name, layout, stream.rate)
        for block in repeated(seconds):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="s16", layout="mono")
            frame.sample_rate, frame.pts = decoder.SAMPLE_RATE, None
            for made in resampler.resample(frame):
                container.mux(stream.encode(made))
        for made in resampler.resample(None):
            container.mux(stream.encode(made))
        container.mux(stream.encode(None))
    return path


def steps(path: Path, seconds: float) -> dict[str, float]:
    """Processor seconds of each step per audio hour."""

    def cost(work: Callable[[], object]) -> float:
        began = time.process_time()
        work()
        return (time.process_time() - began) * 3600 / seconds

    def exhaust(items: Iterable[object]) -> None:
        for _ in items:
            pass

    def frames() -> None:
        with path.open("rb") as file, opening.open_container(path, file) as container:
            stream = container.streams.best("audio")
            assert isinstance(stream, AudioStream)
            opening.check(stream)
            exhaust(StreamDecoder(container, stream, split=False, max_seconds=seconds + 60)._frames())

    decoding = cost(frames)
    resampled = cost(lambda: exhaust(decoder.decode_stream(path, max_seconds=seconds + 60)))
    parts = decoder.decode_stream(path, max_seconds=seconds + 60)
    blocks = [part[0] for part in parts if isinstance(part, np.ndarray)]
    detector, chunker = vad.Detector(), chunks._ChannelChunker(0, RULES, 0.0)
    vad.find(np.zeros(512, np.float32))  # load the detector's model
    activity = cost(lambda: [detector.feed(block) for block in blocks])
    found: list[chunks.Chunk] = []
    packed = cost(lambda: found.extend(one for block in blocks for one in chunker.feed(block)))
    filters = FeatureExtractor(feature_size=128).mel_filters
    return {
        "decode": decoding,
        "resample, hash": resampled - decoding,
        "boundary": max(0.0, _boundary(path, seconds) - resampled),
        "voice activity": activity,
        "chunks": max(0.0, packed - activity),
        "log-mel, 128 bands": cost(lambda: [log_mel(decoder.as_float(one.samples), filters) for one in found]),
    }


def _boundary(path: Path, seconds: float) -> float:
    """Processor seconds per audio hour of decoding in the decoding process, including reading from it here."""
    return (_prepared([path], seconds) - _prepared([], seconds)) * 3600 / seconds


def _prepared(paths: Iterable[Path], seconds: float) -> float:
    """Processor seconds of this process and the decoding process, including its start."""
    with tempfile.TemporaryDirectory() as folder:
        tiny = write(Path(folder) / "a.wav", 0.1, "pcm_s16le", 16_000, 1, None)
        reader.stop()
        began = _used()
        for path in [tiny, *paths]:
            with open_audio(path, max_seconds=seconds + 60) as recording:
                for _ in recording:
                    pass
        reader.stop()
        return _used() - began


def start() -> float:
    """Processor seconds for a recording of 0.1 s: the fork, the answer, the exit."""
    with tempfile.TemporaryDirectory() as folder:
        tiny = write(Path(folder) / "a.wav", 0.1, "pcm_s16le", 16_000, 1, None)
        return (_prepared([tiny] * 100, 10) - _prepared([], 10)) / 100


def _used() -> float:
    of_all = (getrusage(RUSAGE_SELF), getrusage(RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in of_all)


def _report(name: str, rows: dict[str, dict[str, float]], **more: Any) -> None:
    columns = list(next(iter(rows.values())))
    print(f"{'':22}" + "".join(f"{column:>20}" for column in columns))
    for row, values in rows.items():
        print(f"{row:22}" + "".join(f"{values[column]:20.2f}" for column in columns))
    for key, value in more.items():
        print(f"{key}: {value}")
    RESULTS.mkdir(exist_ok=True)
    rounded = {row: {key: round(value, 3) for key, value in values.items()} for row, values in rows.items()}
    content = {"machine": machine(), **more, "rows": rounded}
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1800.0, help="audio per format")
    given = parser.parse_args()
    rows = {}
    for name, (extension, codec, rate, channels, bits) in FORMATS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = write(Path(folder) / f"a.{extension}", given.seconds, codec, rate, channels, bits)
            rows[name] = steps(path, given.seconds)
        rows[name]["all"] = sum(rows[name].values())
    _report("preparation", rows, unit="processor seconds per audio hour", start_seconds=round(start(), 4))


if __name__ == "__main__":
    main()
