"""Make the sample recordings of the toy models from held-out sentences, and samples.json, which describes them.

Run ``python -m training.samples``; it needs the Debian packages espeak-ng, flite and ffmpeg.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from faster_whisper.audio import decode_audio  # type: ignore[import-untyped]

from training import sentences, synthesis
from training.synthesis import RATE, Audio, Voice

FOLDER = Path(__file__).parents[1] / "tests" / "samples"


@dataclass(frozen=True)
class Turn:
    """One sentence of a script: its text, its emotion, and the channel of its speaker."""

    text: str
    emotion: str
    channel: int = 0


@dataclass(frozen=True)
class Script:
    """A recording: file name, turns, voice of each channel, ffmpeg's encoding options, speechpipe's options."""

    file: str
    turns: tuple[Turn, ...]
    voices: tuple[Voice, ...]
    encoding: tuple[str, ...] = ()
    options: dict[str, str] = field(default_factory=dict)


SLT, AWB, KAL = Voice("flite", "slt"), Voice("flite", "awb"), Voice("flite", "kal16")
F3, US = Voice("espeak", "en-us+f3"), Voice("espeak", "en-us+m3")

SCRIPTS = (
    Script(
        "order_inquiry.wav",
        (
            Turn("I would like to check my order, thank you.", "neutral"),
            Turn("My order number is two seven eight four.", "neutral"),
            Turn("I ordered a blue phone last Sunday.", "neutral"),
            Turn("When will my phone arrive?", "neutral"),
        ),
        (SLT,),
    ),
    Script(
        "happy_customer.mp3",
        (
            Turn("Hello, I am very happy about the lamp.", "happiness"),
            Turn("The service was very good this week, thank you.", "happiness"),
            Turn("Yes, that is very kind.", "happiness"),
        ),
        (F3,),
        ("-ar", "44100", "-c:a", "libmp3lame", "-b:a", "64k"),
    ),
    Script(
        "missing_table.flac",
        (
            Turn("I am very sad about the router.", "sadness"),
            Turn("The table and the jacket are missing.", "sadness"),
            Turn("Nobody called me back on Friday.", "sadness"),
        ),
        (AWB,),
        ("-c:a", "flac"),
    ),
    Script(
        "angry_customer.ogg",
        (
            Turn("This is not acceptable, I want my money back tomorrow.", "anger"),
            Turn("You charged me seven dollars for the phone.", "anger"),
            Turn("I want to speak to your manager today.", "anger"),
        ),
        (KAL,),
        ("-c:a", "libopus", "-b:a", "32k"),
    ),
    Script(
        "support_call_stereo.wav",
        (
            Turn("Good evening, my name is Anna, how can I help you?", "neutral", 0),
            Turn("I ordered a blue printer last Thursday.", "neutral", 1),
            Turn("My order number is four two six eight.", "neutral", 1),
            Turn("Your printer will arrive tomorrow.", "neutral", 0),
            Turn("This is really too much, I want my money back today.", "anger", 1),
            Turn("I want to speak to your manager today.", "anger", 1),
            Turn("I am so happy that you called last Sunday.", "happiness", 0),
        ),
        (SLT, AWB),
        ("-ar", "8000", "-c:a", "pcm_s16le"),
        {"channels": "split"},
    ),
    Script(
        "changing_mood.m4a",
        (
            Turn("I ordered a white kettle last Monday.", "neutral"),
            Turn("I bought the white phone thirty days ago.", "neutral"),
            Turn("Well, that is not acceptable.", "anger"),
            Turn("This is really too much, I want my money back tomorrow.", "anger"),
            Turn("I am so happy that you called last Sunday.", "happiness"),
            Turn("Hello, I am very happy about the lamp.", "happiness"),
        ),
        (US,),
        ("-ar", "44100", "-c:a", "aac", "-b:a", "64k"),
    ),
)


def render(script: Script, rng: np.random.Generator) -> tuple[Audio, list[dict[str, Any]]]:
    """Synthesise a script; return audio of shape (channels, samples), and each turn with its times in seconds.

    Raises ValueError if a sentence is not held out.
    """
    pieces: list[Audio] = []
    turns: list[dict[str, Any]] = []
    at = round(0.4 * RATE)
    for turn in script.turns:
        if not sentences.is_held_out(turn.text):
            raise ValueError(f"not a held-out sentence: {turn.text}")
        prosody = synthesis.draw_prosody(turn.emotion, rng)
        spoken = synthesis.speak(turn.text, script.voices[turn.channel], prosody, rng)
        piece = np.zeros((len(script.voices), at + len(spoken.audio)), np.float32)
        piece[turn.channel, at:] = spoken.audio
        pieces.append(piece)
        before = sum(part.shape[1] for part in pieces[:-1]) + at
        times = {"start": round(before / RATE, 2), "end": round((before + len(spoken.audio)) / RATE, 2)}
        turns.append({**times, "channel": turn.channel, "text": turn.text, "emotion": turn.emotion})
        at = round(rng.uniform(0.7, 1.0) * RATE)
    audio = np.concatenate([*pieces, np.zeros((len(script.voices), RATE // 2), np.float32)], axis=1)
    return (audio + rng.normal(0, 2e-4, audio.shape)).astype(np.float32), turns


def encode(audio: Audio, path: Path, encoding: tuple[str, ...]) -> None:
    """Write audio of shape (channels, samples) with ffmpeg, in the format of the file name's extension."""
    raw = (np.clip(audio, -1, 1).T * 32767).astype("<i2").tobytes()
    source = ["-f", "s16le", "-ar", str(RATE), "-ac", str(len(audio)), "-i", "-"]
    plain = ["-map_metadata", "-1", "-fflags", "+bitexact", "-flags:a", "+bitexact"]
    command = ["ffmpeg", "-v", "error", "-y", *source, *plain, *encoding, str(path)]
    subprocess.run(command, input=raw, check=True)


def make(folder: Path, seed: int) -> list[dict[str, Any]]:
    """Write all recordings and return the entries of samples.json."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for number, script in enumerate(SCRIPTS):
        audio, turns = render(script, np.random.default_rng([seed, number]))
        encode(audio, folder / script.file, script.encoding)
        if script.options:
            (folder / f"{script.file}.meta.json").write_text(json.dumps(script.options) + "\n")
        texts = [
            " ".join(turn.text for turn in script.turns if turn.channel == channel)
            for channel in range(len(script.voices))
        ]
        entries.append(
            {
                "file": script.file,
                "channels": len(script.voices),
                "duration": round(audio.shape[1] / RATE, 2),
                "voices": [str(voice) for voice in script.voices],
                "text": texts,
                "turns": turns,
                "options": script.options,
            }
        )
    return entries


def read(folder: Path = FOLDER) -> list[tuple[dict[str, Any], list[Audio]]]:
    """Return each sample's entry in samples.json, and its channels' audio at 16 kHz, decoded by faster-whisper."""
    found = []
    for entry in json.loads((folder / "samples.json").read_text()):
        decoded = decode_audio(str(folder / entry["file"]), split_stereo=entry["channels"] == 2)
        found.append((entry, list(decoded) if isinstance(decoded, tuple) else [decoded]))
    return found


def main() -> None:
    """Make the samples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=10, help="seed of the small variations of the voices")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder for the recordings")
    options = parser.parse_args()
    synthesis.check_tools()
    entries = make(options.output, options.seed)
    (options.output / "samples.json").write_text(json.dumps(entries, indent=2) + "\n")


if __name__ == "__main__":
    main()
