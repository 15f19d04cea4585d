"""How the ids of a feature fared: of one lookup, or of all lookups since the start."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["UNKNOWN", "CoreTotals", "FeatureLookup", "feature_label"]

UNKNOWN = ""  # the name under which features are counted that the embedding config does not have

CoreTotals = tuple[str, int, int, int, int]  # as _core.FeatureCounts.totals() has it: the fields of FeatureLookup


class FeatureLookup(NamedTuple):
    """The ids of one feature. In a lookup each counts once, wherever it stands in the batch."""

    name: str
    ids: int
    new_ids: int  # without a row: zeros
    wrong_dim: int  # whose row has another dim: zeros
    cut: int  # beyond what a raw slot has room for


def feature_label(name: str) -> str:
    """A name as it is shown."""
    return name if name != UNKNOWN else "(not in the embedding config)"
