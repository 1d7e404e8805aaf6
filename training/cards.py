"""Model cards of the toy models, written from their evaluation.json so that their figures agree."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from training import sentences
from training.synthesis import EMOTIONS

_WHISPER = """\
---
license: apache-2.0
language: en
pipeline_tag: automatic-speech-recognition
library_name: ctranslate2
---

# Demo recogniser

A very small Whisper ({parameters}, 4 encoder and 2 decoder layers of width 144) in CTranslate2's format, for
faster-whisper. With it the pipeline can be tried and tested without a download.

**It knows only {vocabulary} words of one kind of English service call, spoken by synthetic voices (espeak-ng, flite).
It does not understand real people, other words or other languages; it transcribes them with words from its list.**
For real speech, set a real model.

- It works like any Whisper: 80 mels, 30-second windows, and all language, task and timestamp tokens. Only its
  tokenizer differs ({tokens} ids). `translate` gives the English text, like `transcribe`. Any `language` is
  accepted, but the words stay English.
- Segment timestamps are multiples of 0.1 s. Word times come from two decoder heads that were trained to attend to
  the word being written.
- Trained by `python -m training.train_whisper` on synthetic speech only; the sentences come from the grammar in
  `training/sentences.py`. {history}

## Measured

With faster-whisper {version}, int8 on a CPU, beam 5 unless stated. Neither the held-out sentences nor the held-out
voice (flite `rms`) are in the training data. Word error rate (WER) in per cent.

| test | WER |
|---|---|
{rows}

Word starts are off by {start:.2f} s (median) and ends by {end:.2f} s on held-out sentences. English is detected with a
median probability of {english:.2f}. Sounds without speech (silence, noises, hum, tones, clicks, chords; {clips} clips)
gave text {sequential} times without voice activity detection, {vad} times with it, and {batched} times in the batched
pipeline with voice activity detection switched off. (There a text seems never to end at its first token. The
detection is on by default, and `no_speech_prob` is high.)

**Give it a sentence at a time.** With several sentences in a window it drops, repeats or swaps some, so plain
faster-whisper does badly on a long recording. For this model speechpipe cuts at pauses (`TOY_ROW_SECONDS` in
`workers/models/choice.py`); the rows "through speechpipe" are what its users get. Most of the remaining errors are a
wrong colour, day, digit or product from its list.

`evaluation.json` has all figures; `python -m training.train_whisper --evaluate` repeats the measurement
(`--most` is the number of sentences per test, {most} for the figures here).

## Licence

Apache-2.0. The training text is the project's own and all speech was synthesised; espeak-ng is GPL software, whose
licence does not cover the sound it produces.
"""

_SER = """\
---
license: apache-2.0
language: en
pipeline_tag: audio-classification
library_name: transformers
---

# Demo emotion classifier

A very small wav2vec2 ({parameters}, layer-norm front end, 3 layers of width 96) with four labels:
{labels}. With it the pipeline can be tried and tested without a download.

**It knows only synthetic voices whose prosody was set by rule (speed, pitch, pitch range, roughness, tilt of the
spectrum). It says nothing about how real people feel.** For real speech, set a real model.

- Input: mono audio at 16 kHz, 1 to 5 s; it was trained on windows cut anywhere in a sentence, with noise, with
  telephone bandwidth, and at any loudness (the feature extractor normalises it).
- It is less accurate with telephone bandwidth than with full bandwidth, and less accurate on a voice whose pitch the
  synthesiser cannot change (flite's `rms`, held out) than on the voices it knows.
- Trained by `python -m training.train_ser`; the weights here come from three runs of 900, 1,000 and 650 steps, each
  resumed from the one before, so one uninterrupted run gives a similar model, not the same bytes. `_RANGES` in
  `training/synthesis.py` defines how each emotion sounds.

## Measured

Accuracy in per cent; chance is 25. Neither the held-out sentences nor the held-out voice (flite `rms`) are in the
training data.

| test | accuracy | windows |
|---|---|---|
{rows}

Confusion on held-out sentences (rows: intended, columns: predicted):

{confusion}

`evaluation.json` has all figures; `python -m training.train_ser --evaluate` repeats the measurement.

## Licence

Apache-2.0. All speech was synthesised; espeak-ng is GPL software, whose licence does not cover the sound it produces.
"""

_VOICES = """\
---
license: apache-2.0
language: de
pipeline_tag: audio-classification
library_name: transformers
---

# Voices: four emotions from German actors

The head of a `WhisperForAudioClassification` with four labels: {labels}. The first {layers} layers of the encoder are
Whisper base's (MIT; put together with the head on the user's machine) and are not trained; the head is {size} kB.
It stands in where the default model cannot be downloaded.

**It learned from {clips} clips by {speakers} German actors who said ten sentences in four acted emotions, and from
nothing else.** It says how speech sounds, if it is acted, German, and one of these four. It is often wrong about other
languages, other people, and feelings that are not played. It has no label for anything else, so it calls fear, surprise
or laughter by one of the four.

- Data: EMO-DB, the Berlin Database of Emotional Speech (Burkhardt and others, 2005), CC0 1.0 as its authors' institute
  publishes it: {all_clips} clips of {all_speakers} of its ten speakers; speaker {without} was left out, who is in the
  demo. Each clip was also heard with other speeds, rooms, microphones, noise, telephone lines and levels.
- Input: 16 kHz, one to five seconds. speechpipe gives it windows at their own length (`short_windows` in
  `preprocessor_config.json`), which costs as much less as they are shorter. Filled with zeros to five seconds, as by
  transformers' own pipeline, they are told apart as well (last row).
- Confidence: `calibration` in `config.json` holds a temperature of {temperature}, which divides the logits, and the
  confidence of {sure_from} from which the model is sure. Both were fitted on speakers who were left out, in shifts so
  far from EMO-DB (`foreign`) that only about half are recognised, as in other corpora. From that confidence it is right
  in two of three cases there. On clips like EMO-DB's own it is therefore right more often than it says.
- `python -m training.train_voices FOLDER --base BASE` makes it again. The layers and the penalty were chosen on EMO-DB
  alone. What it does on other corpora: `make bench-emotion` and `benchmarks/results/`.

## Measured

Each speaker was left out in turn, and heard by a head that learned from the others. Per cent; chance is 25.

| test | accuracy | unweighted recall | mean confidence | clips |
|---|---|---|---|---|
{rows}

Confusion (rows: acted, columns: predicted), speakers left out, clips as they are:

{confusion}

`evaluation.json` has all figures.

## Licence

Apache-2.0 for the head. The encoder's weights, which are not here, are OpenAI's under the MIT licence.
"""

_HISTORY = (
    "The weights here were trained for about 4,000 steps in several runs, each resumed from\n  the one before "
    "(`--resume`), while the script's phases were being tuned. One uninterrupted run follows nearly\n  the same "
    "path and should give a similar model, not the same bytes."
)


def _percent(value: float) -> str:
    """Format a share as per cent with one decimal."""
    return f"{100 * value:.1f}"


def _whisper_rows(figures: dict[str, Any]) -> str:
    """Format the rows of the table of word error rates."""
    named = {name: score for name, score in figures.items() if isinstance(score, dict) and "word_error_rate" in score}
    long = figures["long_recording"]
    minutes = long["seconds"] / 60
    for name, score in long.items():
        if isinstance(score, dict):
            named[f"{minutes:.0f}-minute recording, {name}"] = score
    for name, score in figures["worker"].items():
        named[f"{name}, through speechpipe"] = score
    return "\n".join(
        f"| {name.replace('_', ' ')} | {_percent(score['word_error_rate'])} |" for name, score in named.items()
    )


def write_whisper_card(folder: Path) -> None:
    """Write README.md beside the recogniser."""
    figures = json.loads((folder / "evaluation.json").read_text())
    held_out, quiet = figures["held_out_sentences"], figures["no_speech"]
    text = _WHISPER.format(
        parameters=f"{figures['parameters'] / 1e6:.1f} million parameters",
        vocabulary=len(sentences.vocabulary()),
        tokens=len(json.loads((folder / "vocabulary.json").read_text())),
        history=_HISTORY,
        version=version("faster-whisper"),
        rows=_whisper_rows(figures),
        start=held_out["word_start_error_median_s"],
        end=held_out["word_end_error_median_s"],
        english=held_out["language_probability_median"],
        clips=quiet["clips"],
        sequential=len(quiet["sequential"]),
        vad=len(quiet["sequential_vad"]),
        batched=len(quiet["batched"]),
        most=figures["most"],
    )
    (folder / "README.md").write_text(text)


def write_ser_card(folder: Path) -> None:
    """Write README.md beside the emotion classifier."""
    figures = json.loads((folder / "evaluation.json").read_text())
    scores = {name: score for name, score in figures.items() if isinstance(score, dict)}
    rows = [
        f"| {name.replace('_', ' ')} | {_percent(score['accuracy'])} | {score['windows']} |"
        for name, score in scores.items()
    ]
    table = ["| | " + " | ".join(EMOTIONS) + " |", "|---" * 5 + "|"]
    for name, counts in zip(EMOTIONS, figures["held_out_sentences"]["confusion"], strict=True):
        table.append(f"| {name} | " + " | ".join(map(str, counts)) + " |")
    text = _SER.format(
        parameters=f"{figures['parameters'] / 1e6:.1f} million parameters",
        labels=", ".join(EMOTIONS),
        rows="\n".join(rows),
        confusion="\n".join(table),
    )
    (folder / "README.md").write_text(text)


def write_voices_card(folder: Path) -> None:
    """Write README.md beside the head of the emotion model for real voices."""
    figures = json.loads((folder / "evaluation.json").read_text())
    tests = figures["speakers_left_out"]
    tests |= {f"speaker {figures['not_heard']['speaker']} alone, by the head that is here": figures["not_heard"]}
    tests["clean, filled with zeros"] = tests.pop("clean padded")
    rows = [
        f"| {name} | {_percent(one['accuracy'])} | {_percent(one['unweighted_recall'])} "
        f"| {_percent(one['mean_confidence'])} | {one['clips']} |"
        for name, one in tests.items()
    ]
    emotions = figures["emotions"]
    table = ["| | " + " | ".join(emotions) + " |", "|---" * 5 + "|"]
    for name, counts in zip(emotions, tests["clean"]["confusion"], strict=True):
        table.append(f"| {name} | " + " | ".join(map(str, counts)) + " |")
    text = _VOICES.format(
        labels=", ".join(emotions),
        layers={1: "one", 2: "two", 3: "three", 4: "four"}[figures["layers"]],
        size=round((folder / "head.safetensors").stat().st_size / 1000),
        clips=figures["clips"] - figures["not_heard"]["clips"],
        speakers=figures["speakers"] - 1,
        all_clips=figures["clips"],
        all_speakers=figures["speakers"],
        without=figures["not_heard"]["speaker"],
        temperature=figures["temperature"],
        sure_from=figures["sure_from"],
        rows="\n".join(rows),
        confusion="\n".join(table),
    )
    (folder / "README.md").write_text(text)
