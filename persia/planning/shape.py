"""A lookup in figures: which shards it asks, for how much, and the bytes that travel, as the wire has them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from persia.planning.workload import Workload

__all__ = ["REQUEST_FRAME", "Shape"]

# protos/persia/v1/embedding.proto: six u32 for a part; a u64 for a sign; for sums a u32 for a sign and a u16 for a position.
_PART, _SIGN, _COUNT, _POSITION = 24, 8, 4, 2
_FLOAT, _HALF = 4, 2
# The tags, lengths and small numbers of a message, and what gRPC and HTTP/2 put round it once their headers are known.
REQUEST_FRAME, _ANSWER_FRAME = 90, 110
# Of the ids of a feature on their way to a middleware (docs/formats/id-part.md), with a name of some ten letters.
_ID_PART, _FEATURE_SHAPE = 35, 28


@dataclass(frozen=True)
class Shape:
    """Of a lookup whose ids are of random shards. Counts are expected values, so they need not be whole."""

    samples: int
    features: int
    ids: float  # of a feature and sample
    signs: float  # different ids of a feature
    dim: int
    shards: int

    @classmethod
    def of(cls, workload: Workload, shards: int) -> Shape:
        """Of the workload's lookups."""
        return cls(workload.batch, workload.features, workload.ids, workload.signs, workload.dim, shards)

    def _reached(self, signs: float) -> float:
        """How many shards that many signs live on."""
        if self.shards == 1:
            return 1.0
        return -self.shards * math.expm1(signs * math.log1p(-1 / self.shards))

    @cached_property
    def asked(self) -> float:
        """Shards that the lookup asks."""
        return self._reached(self.signs * self.features)

    @cached_property
    def parts(self) -> float:
        """Of all requests to shards together: one for each feature that has ids there."""
        return self.features * self._reached(self.signs)

    @property
    def all_signs(self) -> float:
        return self.features * self.signs

    @property
    def positions(self) -> float:
        """Ids with repeats."""
        return self.features * max(self.signs, self.samples * self.ids)

    @cached_property
    def kind(self) -> str:
        """What shards answer with, as `smaller_answer` and `takes_single_rows` of native/plan/plan.cpp choose."""
        if self.ids <= 1:
            return "halves"
        sums = self._reached(self.signs) * self.samples * self.dim * _FLOAT
        sums += self.samples * self.ids * _POSITION + self.signs * _COUNT
        return "sums" if sums < self.signs * self.dim * _FLOAT else "rows"

    @cached_property
    def answer_numbers_bytes(self) -> float:
        """Of the numbers of all answers together."""
        if self.kind == "sums":
            return self.parts * self.samples * self.dim * _FLOAT
        return self.all_signs * self.dim * (_HALF if self.kind == "halves" else _FLOAT)

    @property
    def request_bytes(self) -> float:
        """Of all requests to shards together."""
        columns = self.parts * _PART + self.all_signs * _SIGN
        if self.kind == "sums":
            columns += self.all_signs * _COUNT + self.positions * _POSITION
        return columns + self.asked * REQUEST_FRAME

    @property
    def answer_bytes(self) -> float:
        """Of all answers of shards together."""
        return self.answer_numbers_bytes + self.asked * _ANSWER_FRAME

    @property
    def tensor_numbers(self) -> float:
        """Of the embeddings that the dense half gets."""
        return float(self.features * self.samples * self.dim)

    @property
    def forward_bytes(self) -> tuple[float, float]:
        """To a middleware and back: the ids, and the tensors."""
        # Each position's sample; of samples with several ids also its column, how often an id comes, and how many there are.
        width = 1 if self.samples <= 256 else 2
        ids = self.features * _ID_PART + self.all_signs * _SIGN + self.positions * width
        if self.ids > 1:
            ids += self.features * self.samples + self.all_signs + self.positions
        return ids + REQUEST_FRAME, self.tensor_numbers * _HALF + self.features * _FEATURE_SHAPE + _ANSWER_FRAME
