"""What was counted of each feature, as both services tell it."""

from __future__ import annotations

from collections.abc import Sequence

from persia.misses import UNKNOWN, Totals
from persia.v1 import embedding_pb2 as pb

__all__ = ["feature_messages"]


def feature_messages(totals: Sequence[Totals]) -> list[pb.FeatureTotals]:
    """In their order; other features than those of the embedding config only where there were any."""
    return [
        pb.FeatureTotals(name=name, ids=ids, new_ids=new_ids, wrong_dim=wrong_dim, cut=cut)
        for name, ids, new_ids, wrong_dim, cut in totals
        if name != UNKNOWN or ids or cut
    ]
