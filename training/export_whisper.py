"""Export the trained recogniser to the CTranslate2 folder that faster-whisper loads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ctranslate2.converters.transformers import WhisperLoader  # type: ignore[import-untyped]
from transformers import GenerationConfig, PreTrainedTokenizerFast

from training.whisper_model import ALIGNMENT_HEADS, TrainableWhisper

PREPROCESSOR = {
    "feature_extractor_type": "WhisperFeatureExtractor",
    "processor_class": "WhisperProcessor",
    "feature_size": 80,
    "sampling_rate": 16000,
    "hop_length": 160,
    "chunk_length": 30,
    "n_fft": 400,
    "n_samples": 480000,
    "nb_max_frames": 3000,
    "padding_side": "right",
    "padding_value": 0.0,
    "return_attention_mask": False,
}


def export(model: TrainableWhisper, output: Path, quantization: str = "float16") -> None:
    """Convert `model` and write model.bin and its JSON files to `output`; other files there are kept.

    Unlike OpenAI's models, it may emit <|endoftext|> as the first token, so a window without speech can give an
    empty text.
    """
    whisper, ids = model.export(), model.ids
    settings: Any = GenerationConfig
    generation = settings(suppress_tokens=[], begin_suppress_tokens=[], alignment_heads=ALIGNMENT_HEADS)
    generation.lang_to_id = {ids.tokenizer.id_to_token(token): token for token in ids.languages}
    whisper.generation_config = generation
    tokenizer: Any = PreTrainedTokenizerFast
    spec = WhisperLoader()(whisper, tokenizer(tokenizer_object=ids.tokenizer))
    spec.validate()
    spec.optimize(quantization=quantization)
    output.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        spec.save(folder)
        for file in Path(folder).iterdir():
            shutil.copyfile(file, output / file.name)
    ids.tokenizer.save(str(output / "tokenizer.json"), pretty=False)
    (output / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR, indent=2) + "\n")
