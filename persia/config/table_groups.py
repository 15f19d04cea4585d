"""An embedding config for features of tables, some of which share one."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

__all__ = ["config_of_tables"]

_PREFIX_BITS = 8  # unless there are more tables


def config_of_tables(slots: Mapping[str, Mapping[str, Any]], tables: Mapping[str, Hashable]) -> dict[str, Any]:
    """What stands in embedding_config.yml. tables: of each slot its table.

    Every table has a group of its own, in the order of first use. So a table that a later version adds at the end leaves the
    signs of all others as they are, whether features share it or not.
    """
    groups: dict[Hashable, list[str]] = {}
    for name in slots:
        groups.setdefault(tables[name], []).append(name)
    return {
        "feature_index_prefix_bit": max(_PREFIX_BITS, len(groups).bit_length()),
        "slots_config": dict(slots),
        "feature_groups": {names[0]: names for names in groups.values()},
    }
