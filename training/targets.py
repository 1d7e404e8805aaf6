"""Targets for a window: of the decoder (tokens) and of the auxiliary losses (letters, words per frame, attention)."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training import sentences
from training.tokens import Ids
from training.windows import Spoken, Window

IGNORE = -100
ENCODER_RATE = 50
LETTERS = " 'abcdefghijklmnopqrstuvwxyz"
WORDS = {word: index + 1 for index, word in enumerate(sentences.vocabulary())}


@dataclass
class Sequence:
    """Decoder input, the token expected after each (IGNORE if any will do), and the span (s) each should attend to."""

    tokens: list[int]
    expected: list[int]
    spans: list[tuple[float, float] | None]

    def add(self, token: int, expected: bool = True, span: tuple[float, float] | None = None) -> None:
        """Append a token; if `expected`, the decoder should predict it after the previous one."""
        if self.tokens:
            self.expected[-1] = token if expected else IGNORE
            self.spans[-1] = span
        self.tokens.append(token)
        self.expected.append(IGNORE)
        self.spans.append(None)


def _prompt(ids: Ids, rng: random.Random) -> list[int]:
    """Draw unrelated earlier text, as faster-whisper passes the previous window's text, a prompt or hotwords."""
    draw = rng.random()
    if draw < 0.15:
        return ids.text(" ".join(rng.choices(list(WORDS), k=rng.randint(1, 8))))
    tokens: list[int] = []
    at = 0.0
    for _ in range(rng.randint(1, 3) if draw < 0.8 else rng.randint(4, 9)):
        text = ids.text(sentences.sentence(rng))
        if draw < 0.7:
            length = rng.uniform(1, 4)
            text = [ids.time(at), *text, ids.time(at + length)]
            at += length + rng.uniform(0, 1)
        tokens += text
    return tokens[-220:]


def _add_words(sequence: Sequence, spoken: Spoken, ids: Ids, limit: float) -> None:
    """Add a sentence's words, each attending to its own time; of a cut sentence, only those that end by `limit` (s)."""
    known = not np.isnan(spoken.times).any()
    for word, (start, end) in zip(spoken.text.split(), spoken.times, strict=True):
        if spoken.cut and (not known or end > limit):
            return
        for token in ids.word(word):
            mark = not word[-1].isalpha() and token == ids.word(word)[-1]
            span = None if math.isnan(start) else ((end - 0.06, end + 0.06) if mark else (float(start), float(end)))
            sequence.add(token, span=span)


def sequence(window: Window, ids: Ids, rng: random.Random) -> Sequence:
    """Draw a task for a window: with or without timestamps, prompt, translation or a wrong language token."""
    made = Sequence([], [], [])
    if rng.random() < 0.3:
        made.tokens = [ids.previous, *_prompt(ids, rng)]
        made.expected, made.spans = [IGNORE] * len(made.tokens), [None] * len(made.tokens)
    made.add(ids.start, expected=False)
    made.add(ids.english)
    if not window.spoken:
        made.expected[-2] = ids.no_speech
    if rng.random() < 0.04:
        made.tokens[-1] = rng.choice(ids.languages)
    made.add(ids.translate if rng.random() < 0.15 else ids.transcribe, expected=False)
    if rng.random() < 0.5:
        _timed(made, window, ids, rng)
    else:
        _untimed(made, window, ids)
    return made


def _untimed(made: Sequence, window: Window, ids: Ids) -> None:
    """Complete a sequence without timestamps."""
    made.add(ids.no_timestamps, expected=False)
    for spoken in window.spoken:
        _add_words(made, spoken, ids, window.features.shape[1] / 100)
    last = window.spoken[-1].end if window.spoken and not window.spoken[-1].cut else None
    made.add(ids.end, span=None if last is None else (last, last + 0.3))


def _timed(made: Sequence, window: Window, ids: Ids, rng: random.Random) -> None:
    """Complete a sequence with timestamps; of a sentence cut by the window's end only the start timestamp is kept."""
    before = -1.0
    if not window.spoken:
        made.add(ids.time(window.offset))
    for index, spoken in enumerate(window.spoken):
        start = math.floor(spoken.start * 10) / 10
        if index == 0 and start > 1 and rng.random() < 0.5:
            start = 1.0
        start = max(start, before, 0.0)
        made.add(ids.time(window.offset + start))
        if spoken.cut:
            break
        _add_words(made, spoken, ids, math.inf)
        before = max(math.ceil(spoken.end * 10) / 10, start + 0.1)
        made.add(ids.time(window.offset + before))
    made.add(ids.end)


@dataclass
class Batch:
    """Tensors of a training step (B windows): features (B, 80, frames) and the targets of all losses.

    `attended` has shape (B, tokens, frames / 2); `offset` is the windows' start in encoder frames.
    """

    features: Tensor
    tokens: Tensor
    expected: Tensor
    attended: Tensor
    letters: Tensor
    letter_counts: Tensor
    frame_words: Tensor
    offset: int


def _frame_words(window: Window) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Index of the word in each encoder frame (20 ms); 0 for none, IGNORE where a sentence's times are unknown."""
    labels = np.zeros(window.features.shape[1] // 2, np.int64)
    for spoken in window.spoken:
        if np.isnan(spoken.times).any():
            labels[int(spoken.start * ENCODER_RATE) : int(spoken.end * ENCODER_RATE) + 1] = IGNORE
            continue
        for word, (start, end) in zip(sentences.words(spoken.text), spoken.times, strict=True):
            labels[round(start * ENCODER_RATE) : round(end * ENCODER_RATE)] = WORDS[word]
    return labels


def _letters(window: Window) -> list[int]:
    """Letters of the window's text, for CTC (0 is the blank)."""
    text = " ".join(
        word
        for spoken in window.spoken
        for word, (_, end) in zip(sentences.words(spoken.text), spoken.times, strict=True)
        if not spoken.cut or end <= window.features.shape[1] / 100
    )
    return [LETTERS.index(letter) + 1 for letter in text]


def _attended_frames(made: Sequence, frames: int) -> Tensor:
    """Frames that each token should attend to, shape (tokens, frames): its word's time, plus 40 ms on both sides."""
    attended = torch.zeros(len(made.tokens), frames, dtype=torch.bool)
    for index, span in enumerate(made.spans):
        if span is not None:
            first = max(int((span[0] - 0.04) * ENCODER_RATE), 0)
            attended[index, first : math.ceil((span[1] + 0.04) * ENCODER_RATE) + 1] = True
    return attended


def collate(windows: list[Window], ids: Ids, rng: random.Random) -> Batch:
    """Stack windows of the same length and offset into a batch."""
    made = [sequence(window, ids, rng) for window in windows]
    longest = max(len(one.tokens) for one in made)
    frames = windows[0].features.shape[1] // 2
    tokens = torch.full((len(made), longest), ids.end)
    expected = torch.full((len(made), longest), IGNORE)
    attended = torch.zeros(len(made), longest, frames, dtype=torch.bool)
    for row, one in enumerate(made):
        tokens[row, : len(one.tokens)] = torch.tensor(one.tokens)
        expected[row, : len(one.tokens)] = torch.tensor(one.expected)
        attended[row, : len(one.tokens)] = _attended_frames(one, frames)
    letters = [_letters(window) for window in windows]
    return Batch(
        torch.from_numpy(np.stack([window.features for window in windows])),
        tokens,
        expected,
        attended,
        torch.tensor([letter for text in letters for letter in text], dtype=torch.long),
        torch.tensor([len(text) for text in letters]),
        torch.from_numpy(np.stack([_frame_words(window) for window in windows])),
        round(windows[0].offset * ENCODER_RATE),
    )
