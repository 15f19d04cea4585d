"""How many tokens a model has positions for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["positions_of"]

# Their positions are counted from the id of the padding on, so that fewer are left for tokens.
_OFFSET_POSITIONS = {
    *("camembert", "data2vec-text", "esm", "ibert", "longformer", "luke", "mpnet", "roberta", "roberta-prelayernorm"),
    *("xlm-roberta", "xlm-roberta-xl", "xmod"),
}


def positions_of(config: Mapping[str, Any]) -> int | None:
    """None for a model with relative positions, which takes any number. config: what config.json says."""
    positions = config.get("max_position_embeddings")
    if not isinstance(positions, int) or positions <= 0:
        return None
    if config.get("model_type") in _OFFSET_POSITIONS:
        positions -= int(config.get("pad_token_id") or 0) + 1
    return positions
