"""A model as somebody writes it in plain PyTorch, small, and samples of it: what persia.export is tried with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

USERS, TAGS, ITEMS, DIM, LENGTH = 30, 20, 25, 4, 3
COUNTRIES = ["DE", "FR", "日本", "ES"]
SAMPLES = 6


class DenseHalf(nn.Module):
    """Two numbers of a sample, and embeddings: a user, tags, a history with its mask, an item of the same table, a country."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2 + 5 * DIM, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 1))

    def forward(self, dense: list[Tensor], embeddings: list[Tensor]) -> Tensor:
        user, tags, history, item, country = [embedding.float() for embedding in embeddings]
        mask = history[:, :, -1:]
        seen = (history[:, :, :-1] * mask).sum(1) / mask.sum(1).clamp(min=1.0)
        return torch.sigmoid(self.layers(torch.cat([dense[0], user, tags, seen, item, country], 1))).squeeze(1)


class Model(nn.Module):
    """Row 0 of the items is the padding of histories."""

    def __init__(self, seed: int = 1) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.users = nn.Embedding(USERS, DIM)
        self.tags = nn.EmbeddingBag(TAGS, DIM)  # which takes the mean
        self.items = nn.Embedding(ITEMS, DIM, padding_idx=0)
        self.countries = nn.Embedding(len(COUNTRIES), DIM)
        self.dense = DenseHalf()

    def forward(self, numbers: Tensor, user: Tensor, tags: Any, history: Tensor, item: Tensor, country: Tensor) -> Tensor:
        rows = torch.cat([self.items(history), (history > 0).float().unsqueeze(2)], 2)
        embeddings = [self.users(user), self.tags(*tags), rows, self.items(item), self.countries(country)]
        return self.dense([numbers], embeddings)  # type: ignore[no-any-return]


def sample(seed: int = 2) -> tuple[dict[str, Any], dict[str, Any], list[Any]]:
    """Some samples as callers send them (ids and dense numbers), and as the model's forward takes them."""
    generator = np.random.default_rng(seed)
    numbers = generator.random((SAMPLES, 2), dtype=np.float32)
    user, item = (generator.integers(1, count, SAMPLES) for count in (USERS, ITEMS))
    country = generator.integers(0, len(COUNTRIES), SAMPLES)
    tags = [generator.integers(0, TAGS, count) for count in (2, 0, 5, 1, 3, 3)]
    histories = [generator.integers(1, ITEMS, count) for count in (3, 1, 0, 2, 3, 2)]
    ids = {
        "user": user + 1000,
        "tags": [list(each) for each in tags],
        "history": [list(each) for each in histories],
        "item": item,
        "country": [COUNTRIES[i] for i in country],
    }
    offsets = torch.tensor([0, *np.cumsum([len(each) for each in tags])[:-1]])
    padded = torch.tensor([[*each, *[0] * (LENGTH - len(each))] for each in histories])
    bag = (torch.from_numpy(np.concatenate(tags)), offsets)
    inputs = [torch.from_numpy(numbers), torch.from_numpy(user), bag, padded, torch.from_numpy(item), torch.from_numpy(country)]
    return ids, {"numbers": numbers}, inputs
