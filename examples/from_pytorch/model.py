"""A click model in plain PyTorch, with made data. It knows nothing of how it will be served.

Only its shape is a choice: the embedding tables stand in one module, `tables`, and all the rest in another, `dense`, which
takes two lists of tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

DIM, HISTORY = 8, 6
USERS = np.arange(400) * 7919 + 5_000_000_000  # raw ids, as a database has them
ITEMS = np.arange(1, 201)
TAGS = 40
COUNTRIES = ["DE", "ES", "FR", "IT", "日本"]
DEVICES = ["phone", "tablet", "desktop"]


@dataclass(frozen=True)
class Samples:
    """What is known when a score is asked for, in raw ids; and whether it was clicked."""

    user: list[int]  # one each
    item: list[int]  # one each
    country: list[str]  # one each
    device: list[str]  # one each
    tags: list[list[int]]  # any number of each, in no order
    history: list[list[int]]  # the items seen last, the newest last
    numbers: np.ndarray[Any, np.dtype[np.float32]]  # (samples, 2)
    clicked: Tensor

    def ids(self) -> dict[str, Any]:
        """The id features by name, as a request has them."""
        return {
            "user": self.user,
            "item": self.item,
            "country": self.country,
            "tags": self.tags,
            "history": self.history,
            "device": self.device,
        }

    def inputs(self) -> dict[str, Any]:
        """What the model's forward takes: raw ids have become numbers of rows, and lists are padded or joined."""
        histories = [sample[-HISTORY:] for sample in self.history]
        return {
            "numbers": torch.from_numpy(self.numbers),
            "user": torch.from_numpy(np.searchsorted(USERS, self.user)),
            "item": torch.tensor(self.item),  # row 0 of the items is the padding
            "country": torch.tensor([COUNTRIES.index(country) for country in self.country]),
            "device": torch.tensor([DEVICES.index(device) for device in self.device]),
            "tags": torch.tensor([tag for sample in self.tags for tag in sample]),
            "tag_offsets": torch.tensor(np.cumsum([0, *map(len, self.tags)])[:-1]),
            "history": torch.tensor([sample + [0] * (HISTORY - len(sample)) for sample in histories]),
        }


class Cross(nn.Module):
    """A layer of a deep and cross network."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, first: Tensor, x: Tensor) -> Tensor:
        crossed: Tensor = first * self.linear(x) + x
        return crossed


class DenseHalf(nn.Module):
    """Takes the dense numbers, and an embedding of each feature: (batch, DIM), or (batch, HISTORY, DIM + 1) for a history.

    The last column of a history is 1 where there is an item, and 0 in the places that are left.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        width = 2 + features * DIM
        self.cross = nn.ModuleList([Cross(width), Cross(width)])
        self.deep = nn.Sequential(nn.Linear(width, 16), nn.ReLU(), nn.Dropout(0.1))
        self.last = nn.Linear(width + 16, 1)

    def forward(self, dense: list[Tensor], embeddings: list[Tensor]) -> Tensor:
        columns = [dense[0]]
        for embedding in embeddings:
            rows = embedding.float()  # they are served in f16
            if rows.dim() == 3:
                seen = rows[:, :, -1:]
                rows = (rows[:, :, :-1] * seen).sum(1) / seen.sum(1).clamp(min=1.0)
            columns.append(rows)
        first = torch.cat(columns, 1)
        x = first
        for cross in self.cross:
            x = cross(first, x)
        return torch.sigmoid(self.last(torch.cat([x, self.deep(first)], 1))).squeeze(1)


class Model(nn.Module):
    """The whole: tables and dense half. The second version knows the device, too."""

    def __init__(self, with_device: bool = False) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.tables = nn.ModuleDict(
            {
                "user": nn.Embedding(len(USERS), DIM),
                "item": nn.Embedding(1 + len(ITEMS), DIM, padding_idx=0),  # for `item` and for `history`
                "country": nn.Embedding(len(COUNTRIES), DIM),
                "tags": nn.EmbeddingBag(TAGS, DIM, mode="mean"),
            }
        )
        if with_device:
            self.tables["device"] = nn.Embedding(len(DEVICES), DIM)
        self.with_device = with_device
        self.dense = DenseHalf(6 if with_device else 5)

    def forward(
        self,
        numbers: Tensor,
        user: Tensor,
        item: Tensor,
        country: Tensor,
        device: Tensor,
        tags: Tensor,
        tag_offsets: Tensor,
        history: Tensor,
    ) -> Tensor:
        seen = (history > 0).float().unsqueeze(2)
        embeddings = [
            self.tables["user"](user),
            self.tables["item"](item),
            self.tables["country"](country),
            self.tables["tags"](tags, tag_offsets),
            torch.cat([self.tables["item"](history), seen], 2),
        ]
        if self.with_device:
            embeddings.append(self.tables["device"](device))
        scores: Tensor = self.dense([numbers], embeddings)
        return scores


def make_samples(count: int, seed: int) -> Samples:
    """Clicks that depend on all features."""
    generator = np.random.default_rng(seed)
    user, item = generator.integers(0, len(USERS), count), generator.integers(0, len(ITEMS), count)
    country, device = generator.integers(0, len(COUNTRIES), count), generator.integers(0, len(DEVICES), count)
    tags = [generator.integers(0, TAGS, generator.integers(0, 5)).tolist() for _ in range(count)]
    history = [generator.choice(ITEMS, generator.integers(0, HISTORY + 3)).tolist() for _ in range(count)]
    numbers = generator.random((count, 2), dtype=np.float32)
    liking = np.cos(user) + np.sin(item) + np.cos(2 * country) + np.sin(3 * device) + numbers @ [1.0, -1.0]
    liking += [np.mean(np.cos(sample)) if sample else 0.0 for sample in tags]
    liking += [np.mean(np.sin(sample)) if sample else 0.0 for sample in history]
    clicked = torch.from_numpy(generator.random(count) < 1 / (1 + np.exp(-2 * liking)))
    return Samples(
        USERS[user].tolist(),
        ITEMS[item].tolist(),
        [COUNTRIES[i] for i in country],
        [DEVICES[i] for i in device],
        tags,
        history,
        numbers,
        clicked.float(),
    )


def train(model: Model, steps: int, seed: int, *, tables_only: bool = False) -> float:
    """Some steps of training; returns the last loss."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # more of them only wait for each other in a model as small as this
    optimizer = torch.optim.Adam((model.tables if tables_only else model).parameters(), lr=0.02)
    model.train()
    for step in range(steps):
        batch = make_samples(256, seed * 1_000_000 + step)
        loss = nn.functional.binary_cross_entropy(model(**batch.inputs()), batch.clicked)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    return float(loss.detach())
