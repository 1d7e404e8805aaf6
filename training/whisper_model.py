"""The small Whisper and its training losses, built on transformers' modules."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import WhisperConfig, WhisperForConditionalGeneration

from training.targets import IGNORE, LETTERS, WORDS, Batch
from training.tokens import TIMESTAMPS, Ids

ALIGNMENT_HEADS = [[1, 0], [1, 1]]


@dataclass(frozen=True)
class Weights:
    """Weight of each loss: decoder, letters (CTC), words per frame, attention to the word being spoken."""

    decoder: float = 1.0
    letters: float = 0.3
    frames: float = 0.5
    attention: float = 0.3


def whisper_config(ids: Ids) -> WhisperConfig:
    """Configuration of the toy model: Whisper with smaller sizes."""
    return WhisperConfig(
        vocab_size=ids.size,
        num_mel_bins=80,
        d_model=144,
        encoder_layers=4,
        decoder_layers=2,
        encoder_attention_heads=6,
        decoder_attention_heads=6,
        encoder_ffn_dim=576,
        decoder_ffn_dim=576,
        max_source_positions=1500,
        max_target_positions=448,
        pad_token_id=ids.end,
        bos_token_id=ids.end,
        eos_token_id=ids.end,
        decoder_start_token_id=ids.start,
        suppress_tokens=[],
        begin_suppress_tokens=None,
        dropout=0.0,
        init_std=0.06,
    )


def _timestamp_waves() -> Tensor:
    """Waves over the timestamps, shape (1501, 66). Neighbours are similar, so learning one teaches the others."""
    steps = torch.arange(TIMESTAMPS)[:, None]
    lengths = torch.logspace(0.8, 3.8, 32)[None]
    on_grid = (steps % 5 == 0).float()
    angles = 2 * math.pi * steps / lengths
    return torch.cat([angles.sin(), angles.cos(), on_grid, torch.ones_like(on_grid)], 1)


_OFFSETS = [(-4, -2, -1, 1, 2, 4), (-8, -4, -1, 1, 4, 8), (-12, -6, -2, 2, 6, 12), (-9, 0, 9)]


@torch.no_grad()
def initialise_local_attention(whisper: WhisperForConditionalGeneration) -> None:
    """Make the encoder's heads attend to fixed distances (20 ms frames) from the start; it would learn this slowly.

    Query and key read a dozen of the sinusoids that encode the position. The query rotates them by the distance,
    so its product with the key is greatest at that distance.
    """
    width = whisper.config.d_model
    waves = width // 2
    chosen = torch.linspace(2, waves * 0.55, width // whisper.config.encoder_attention_heads // 2).round().long()
    speeds = torch.exp(-math.log(10000) / (waves - 1) * chosen)
    for layer, offsets in zip(whisper.model.encoder.layers, _OFFSETS, strict=True):
        attention = layer.self_attn
        attention.q_proj.weight *= 0.3
        attention.k_proj.weight *= 0.3
        attention.out_proj.weight *= 0.4
        layer.fc2.weight *= 0.4
        for head, offset in enumerate(offsets):
            rows = torch.arange(len(chosen)) * 2 + head * attention.head_dim
            cos, sin = torch.cos(speeds * offset) * 1.5, torch.sin(speeds * offset) * 1.5
            attention.k_proj.weight[rows, chosen] += 1.5
            attention.k_proj.weight[rows + 1, chosen + waves] += 1.5
            attention.q_proj.weight[rows, chosen] += cos
            attention.q_proj.weight[rows, chosen + waves] += sin
            attention.q_proj.weight[rows + 1, chosen + waves] += cos
            attention.q_proj.weight[rows + 1, chosen] -= sin


class TrainableWhisper(nn.Module):
    """A Whisper with two extra heads on its encoder (letters, words), which `export` drops."""

    waves: Tensor

    def __init__(self, ids: Ids) -> None:
        """Build an untrained model for the tokenizer of `ids`."""
        super().__init__()
        self.ids = ids
        self.whisper = WhisperForConditionalGeneration(whisper_config(ids))
        initialise_local_attention(self.whisper)
        for conv in (self.whisper.model.encoder.conv1, self.whisper.model.encoder.conv2):
            nn.init.kaiming_normal_(conv.weight)
        width = self.whisper.config.d_model
        self.letters = nn.Linear(width, len(LETTERS) + 1)
        self.words = nn.Linear(width, len(WORDS) + 1)
        self.register_buffer("waves", _timestamp_waves())
        self.times = nn.Linear(self.waves.shape[1], width, bias=False)
        nn.init.normal_(self.times.weight, std=0.02)
        self._seen: dict[str, Tensor] = {}
        attention = self.whisper.model.decoder.layers[-1].encoder_attn
        attention.q_proj.register_forward_hook(lambda *call: self._seen.__setitem__("query", call[2]))
        attention.k_proj.register_forward_hook(lambda *call: self._seen.__setitem__("key", call[2]))

    def embeddings(self) -> Tensor:
        """Token embeddings, shape (tokens, width), with those of the timestamps computed from waves."""
        table = self.whisper.model.decoder.embed_tokens.weight
        return torch.cat([table[: self.ids.first_time], self.times(self.waves)])

    def encode(self, features: Tensor, offset: int = 0) -> Tensor:
        """Encoder output (B, frames / 2, width) of windows that start `offset` encoder frames into the 30 s."""
        encoder = self.whisper.model.encoder
        hidden = F.gelu(encoder.conv2(F.gelu(encoder.conv1(features)))).transpose(1, 2)
        hidden = hidden + encoder.embed_positions.weight[offset : offset + hidden.shape[1]]
        for layer in encoder.layers:
            hidden = layer(hidden, None)
        encoded: Tensor = encoder.layer_norm(hidden)
        return encoded

    def forward(self, batch: Batch, weights: Weights) -> tuple[Tensor, dict[str, float]]:
        """Weighted loss of a batch; and, for the log, each loss and the share of correct tokens."""
        encoded = self.encode(batch.features, batch.offset)
        table = self.embeddings()
        decoded = self.whisper.model.decoder(
            inputs_embeds=F.embedding(batch.tokens, table), encoder_hidden_states=encoded, use_cache=False
        ).last_hidden_state
        wanted = batch.expected != IGNORE
        logits, expected = decoded[wanted] @ table.T, batch.expected[wanted]
        losses = {"decoder": F.cross_entropy(logits, expected)}
        if weights.attention:
            losses["attention"] = self._attention_loss(batch.attended)
        if weights.frames:
            losses["frames"] = F.cross_entropy(self.words(encoded).transpose(1, 2), batch.frame_words)
        if weights.letters:
            losses["letters"] = self._letter_loss(encoded, batch)
        total = sum((getattr(weights, name) * loss for name, loss in losses.items()), torch.zeros(()))
        report = {name: float(loss.detach()) for name, loss in losses.items()}
        report["right"] = float((logits.argmax(1) == expected).float().mean())
        return total, report

    def _letter_loss(self, encoded: Tensor, batch: Batch) -> Tensor:
        """CTC loss of the encoder output, per letter."""
        scores = self.letters(encoded).log_softmax(2).transpose(0, 1)
        lengths = torch.full((encoded.shape[0],), encoded.shape[1])
        loss = F.ctc_loss(scores, batch.letters, lengths, batch.letter_counts, reduction="sum", zero_infinity=True)
        return loss / max(int(batch.letter_counts.sum()), 1)

    def _attention_loss(self, attended: Tensor) -> Tensor:
        """-log of the share of the alignment heads' attention that is on the word being written."""
        query, key = self._seen["query"], self._seen["key"]
        attention = self.whisper.model.decoder.layers[-1].encoder_attn
        known = attended.any(2)
        total = query.new_zeros(())
        for _, head in ALIGNMENT_HEADS:
            part = slice(head * attention.head_dim, (head + 1) * attention.head_dim)
            scores = (query[..., part] @ key[..., part].transpose(1, 2)) * attention.scaling
            share = (scores.softmax(2) * attended).sum(2)
            total = total - share.clamp_min(1e-6).log()[known].mean()
        return total / len(ALIGNMENT_HEADS)

    @torch.no_grad()
    def export(self) -> WhisperForConditionalGeneration:
        """Return the plain transformers model, with the timestamps' embeddings filled in."""
        self.whisper.model.decoder.embed_tokens.weight[:] = self.embeddings()
        return self.whisper
