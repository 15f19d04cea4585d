"""What was counted of each feature, as both services tell it."""

from __future__ import annotations

from collections.abc import Sequence

from persia.feature_lookup import UNKNOWN, CoreTotals, FeatureLookup
from persia.v1 import embedding_pb2 as pb

__all__ = ["feature_messages"]


def feature_messages(totals: Sequence[CoreTotals]) -> list[pb.FeatureTotals]:
    """In their order; other features than those of the embedding config only where there were any."""
    return [
        pb.FeatureTotals(**one._asdict())
        for one in map(FeatureLookup._make, totals)
        if one.name != UNKNOWN or one.ids or one.cut
    ]
