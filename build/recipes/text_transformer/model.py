"""A small transformer encoder over bytes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

BYTES = 128


class Block(nn.Module):
    """Self-attention and a feed-forward layer, each normalised before and added to what came in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries, self.keys, self.values = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, T, width] to the same shape."""
        x = x + self._attend(self.norm1(x))
        return x + self.feed(self.norm2(x))

    def _attend(self, x: Tensor) -> Tensor:
        def split(y: Tensor) -> Tensor:
            return y.unflatten(2, (self.heads, -1)).transpose(1, 2)

        queries, keys, values = split(self.queries(x)), split(self.keys(x)), split(self.values(x))
        weights = torch.softmax(queries @ keys.transpose(2, 3) / math.sqrt(keys.shape[3]), dim=3)
        return self.out((weights @ values).transpose(1, 2).flatten(2))


class TextTransformer(nn.Module):
    """Byte values [N, T] to logits [N, 2]."""

    def __init__(self, length: int, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(BYTES, width)
        self.places = nn.Parameter(torch.randn(length, width) * 0.02)
        self.blocks = nn.Sequential(*[Block(width, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return one logit per class."""
        return self.head(self.norm(self.blocks(self.embed(tokens) + self.places)).mean(dim=1))


def text_transformer(length: int = 96, width: int = 128, heads: int = 4, depth: int = 2) -> nn.Module:
    """Return the untrained network; about 0.4 M parameters."""
    return TextTransformer(length, width, heads, depth)
