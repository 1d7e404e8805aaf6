"""Make Whisper models of real shapes with random weights, as CTranslate2 folders: noise as output, real cost."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from ctranslate2.converters.transformers import WhisperLoader  # type: ignore[import-untyped]
from tokenizers import Tokenizer
from transformers import GenerationConfig, PreTrainedTokenizerFast, WhisperConfig, WhisperForConditionalGeneration
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from training import tokens
from training.export_whisper import PREPROCESSOR
from workers.models.choice import TOY_MODELS


@dataclass(frozen=True)
class Shape:
    """The sizes that determine how much there is to compute."""

    width: int
    encoder_layers: int
    decoder_layers: int
    heads: int  #: of attention, in the encoder and in the decoder
    bands: int  #: of the log-mel spectrogram
    alignment: tuple[tuple[int, int], ...]  #: layer and head of the decoder's attention for word times


#: Radford et al. 2022, table 1; turbo and the alignment heads as published with the weights. All have large-v3's
#: vocabulary of 51,866 tokens, though tiny's and base's have one language fewer.
SHAPES = {
    "tiny": Shape(384, 4, 4, 6, 80, ((2, 2), (3, 0), (3, 2), (3, 3), (3, 4), (3, 5))),
    "base": Shape(512, 6, 6, 8, 80, ((3, 1), (4, 2), (4, 3), (4, 7), (5, 1), (5, 2), (5, 4), (5, 6))),
    "large-v3-turbo": Shape(1280, 32, 4, 20, 128, ((2, 4), (2, 11), (3, 3), (3, 6), (3, 11), (3, 14))),
}
_TEXT_TOKENS = 50_256


def random_whisper(name: str, output: Path) -> Path:
    """Write a model of this shape, with a vocabulary of Whisper's size and special tokens; return the folder."""
    shape = SHAPES[name]
    ids = tokens.Ids(_tokenizer())
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=ids.size,
            num_mel_bins=shape.bands,
            d_model=shape.width,
            encoder_layers=shape.encoder_layers,
            decoder_layers=shape.decoder_layers,
            encoder_attention_heads=shape.heads,
            decoder_attention_heads=shape.heads,
            encoder_ffn_dim=4 * shape.width,
            decoder_ffn_dim=4 * shape.width,
            pad_token_id=ids.end,
            bos_token_id=ids.end,
            eos_token_id=ids.end,
            decoder_start_token_id=ids.start,
            suppress_tokens=[],
            begin_suppress_tokens=None,
        )
    )
    settings: Any = GenerationConfig
    heads = [list(head) for head in shape.alignment]
    generation = settings(suppress_tokens=[], begin_suppress_tokens=[], alignment_heads=heads)
    generation.lang_to_id = {ids.tokenizer.id_to_token(token): token for token in ids.languages}
    model.generation_config = generation
    tokenizer: Any = PreTrainedTokenizerFast
    spec = WhisperLoader()(model, tokenizer(tokenizer_object=ids.tokenizer))
    spec.validate()
    spec.optimize(quantization="float16")
    output.mkdir(parents=True)
    with TemporaryDirectory() as folder:
        spec.save(folder)
        for file in Path(folder).iterdir():
            (output / file.name).write_bytes(file.read_bytes())
    ids.tokenizer.save(str(output / "tokenizer.json"))
    (output / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR | {"feature_size": shape.bands}))
    return output


def _tokenizer() -> Tokenizer:
    """The toy model's tokenizer, padded with made-up words, plus Whisper's special tokens."""
    data = json.loads((TOY_MODELS / "whisper" / "tokenizer.json").read_text())
    special = {token["content"] for token in data["added_tokens"]}
    data["added_tokens"] = []
    vocabulary = [text for text in data["model"]["vocab"] if text and text not in special]
    vocabulary += [f"Ġword{number}" for number in range(_TEXT_TOKENS - len(vocabulary))]
    data["model"]["vocab"] = {text: number for number, text in enumerate(vocabulary)}
    names = [*tokens.SPECIAL_BEFORE, *(f"<|{code}|>" for code in LANGUAGES)]
    names += [f"<|{name}|>" for name in tokens.SPECIAL_AFTER]
    names += [f"<|{index * tokens.SECONDS_PER_TIMESTAMP:.2f}|>" for index in range(tokens.TIMESTAMPS)]
    return tokens._append(Tokenizer.from_str(json.dumps(data)), names)
