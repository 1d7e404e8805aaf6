"""The toy recogniser's tokenizer: byte-level BPE trained on the grammar, then Whisper's special tokens.

The special tokens are in Whisper's order, and an empty token precedes <|endoftext|> as in Whisper's multilingual
vocabulary, because CTranslate2 infers from these what the ids mean and that the model is multilingual.
"""

from __future__ import annotations

import json
import random
from functools import cached_property

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from training import sentences

TEXT_TOKENS = 760
TIMESTAMPS = 1501
SECONDS_PER_TIMESTAMP = 0.02
SPECIAL_BEFORE = ["<|endoftext|>", "<|startoftranscript|>"]
SPECIAL_AFTER = ["translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps"]


def build_tokenizer(seed: int) -> Tokenizer:
    """Train the BPE on sentences of the grammar and append Whisper's special tokens."""
    rng = random.Random(seed)
    texts = [" " + sentences.sentence(rng) for _ in range(8000)]
    texts += [f" {word} {word.capitalize()}" for word in sentences.vocabulary()]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TEXT_TOKENS,
        min_frequency=1,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    specials = [*SPECIAL_BEFORE, *(f"<|{code}|>" for code in LANGUAGES), *(f"<|{name}|>" for name in SPECIAL_AFTER)]
    specials += [f"<|{index * SECONDS_PER_TIMESTAMP:.2f}|>" for index in range(TIMESTAMPS)]
    return _append(tokenizer, specials)


def _append(tokenizer: Tokenizer, specials: list[str]) -> Tokenizer:
    """Rebuild the tokenizer with the empty token after its text tokens, followed by the special tokens."""
    data = json.loads(tokenizer.to_str())
    data["model"]["vocab"][""] = len(data["model"]["vocab"])
    rebuilt = Tokenizer.from_str(json.dumps(data))
    rebuilt.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    return rebuilt


class Ids:
    """Ids of the special tokens and of text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Look up the special tokens in `tokenizer`."""
        self.tokenizer = tokenizer
        self.end = self["endoftext"]
        self.start = self["startoftranscript"]
        self.english = self["en"]
        self.translate = self["translate"]
        self.transcribe = self["transcribe"]
        self.previous = self["startofprev"]
        self.no_speech = self["nospeech"]
        self.no_timestamps = self["notimestamps"]
        self.first_time = self["0.00"]
        self.languages = [self[code] for code in LANGUAGES]

    def __getitem__(self, name: str) -> int:
        """Id of the special token <|name|>. Raises KeyError if there is none."""
        found = self.tokenizer.token_to_id(f"<|{name}|>")
        if found is None:
            raise KeyError(name)
        return int(found)

    @cached_property
    def size(self) -> int:
        """Number of ids."""
        return int(self.tokenizer.get_vocab_size())

    def time(self, seconds: float) -> int:
        """Id of a timestamp, rounded to 0.1 s because the model learns a coarse grid sooner."""
        return self.first_time + 5 * min(max(round(seconds * 10), 0), 300)

    def word(self, word: str) -> list[int]:
        """Ids of a word with its leading space."""
        return list(self.tokenizer.encode(" " + word, add_special_tokens=False).ids)

    def text(self, text: str) -> list[int]:
        """Ids of a text with its leading space."""
        return [token for word in text.split() for token in self.word(word)]
