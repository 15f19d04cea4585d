"""Writing by name: the signs of a feature's ids, by the embedding config that the servers' routers go by."""

from __future__ import annotations

import difflib
import logging
import os
import threading
from typing import Any

import numpy as np

from persia.config import EmbeddingConfig, Slot, load_embedding_config
from persia.errors import FeatureError, InvalidInput
from persia.signs import _as_ids as as_ids
from persia.signs import signs_of

from .arrays import check_block
from .buckets import F32, U64

__all__ = ["ConfigLike", "SignMaker"]

ConfigLike = EmbeddingConfig | str | os.PathLike[str]

_log = logging.getLogger(__name__)


class SignMaker:
    """Makes signs of features and ids, and notices ids in the place of signs. For one writer, of any threads."""

    def __init__(self, config: ConfigLike | None, *, allow_non_finite: bool = False) -> None:
        """config: an embedding config, or its file; None if only signs are written. Raises ConfigError, OSError."""
        self._config: EmbeddingConfig | None = None
        if config is not None:
            self._config = config if isinstance(config, EmbeddingConfig) else load_embedding_config(config)
        self._allow_non_finite = allow_non_finite
        self._warning = threading.Lock()
        self._warned = False

    def named_block(self, feature: str, ids: Any, rows: Any) -> tuple[U64, F32]:
        """The signs (n) and rows (n, dim) of ids of a feature. Of ids that share a row, one is left.

        Raises:
            FeatureError: there is no such slot; its rows have another dim or belong to no id; ids that share a row have
                different rows.
            InvalidInput: wrong arrays, or no embedding config is known.
        """
        slot = self._slot(feature)
        numbers = as_ids(ids)
        signs, rows = check_block(self._signs(slot, ids), rows, allow_non_finite=self._allow_non_finite)
        if rows.shape[1] != slot.dim:
            raise FeatureError(feature, f"expected rows of dim {slot.dim}, as in the embedding config, got {rows.shape[1]}")
        return _one_row_a_sign(feature, numbers, signs, rows)

    def named_signs(self, feature: str, ids: Any) -> U64:
        """The signs (n) of ids of a feature. Raises as named_block."""
        return self._signs(self._slot(feature), ids)

    def block(self, signs: Any, rows: Any) -> tuple[U64, F32]:
        """The arrays of someone who has made the signs already.

        Raises:
            InvalidInput: wrong arrays, or what are to be signs are ids.
        """
        signs, rows = check_block(signs, rows, allow_non_finite=self._allow_non_finite)
        self.check_signs(signs)
        return signs, rows

    def check_signs(self, signs: U64) -> None:
        """Signs have the number of their slot's group in their upper bits; an id most often has zeros there.

        Where a slot has `ids_are_signs: true`, any number may be a sign. With another embedding config, a block without any
        prefix is refused; without a config it is named in the log, once.

        Raises:
            InvalidInput: no sign has the prefix of a group.
        """
        bits = 8 if self._config is None else self._config.feature_index_prefix_bit
        if self._config is not None and any(slot.ids_are_signs for slot in self._config.slots.values()):
            return
        if not len(signs) or int(signs.max()) >> (64 - bits):
            return
        problem = f"got {len(signs)} signs of which none has the prefix of a group in its upper {bits} bits, such as {signs[0]}"
        if self._config is not None:
            raise InvalidInput(f"expected signs, {problem}: these are ids; give the feature's name with them, and not signs")
        with self._warning:
            first, self._warned = not self._warned, True
        if first:
            _log.warning(
                "%s: if these are ids, no lookup will find their rows; give `embedding_config` and the feature's name", problem
            )

    def _signs(self, slot: Slot, ids: Any) -> U64:
        """Raises FeatureError for an id of a slot with `ids_are_signs` that would be a sign of a group: of another's row."""
        signs: U64 = signs_of(ids, slot)[0]
        if slot.ids_are_signs and self._config is not None:
            groups = signs >> np.uint64(64 - slot.prefix_bits)
            last = max(other.group_number for other in self._config.slots.values()) + 1
            if len(wrong := np.flatnonzero((groups >= 1) & (groups <= last))):
                id, group = signs[wrong[0]], int(groups[wrong[0]]) - 1
                raise FeatureError(
                    slot.name,
                    f"the id {id} would be a sign of group {group} of the embedding config, because the slot has "
                    "`ids_are_signs: true`: its row would replace one of that group",
                )
        return signs

    def _slot(self, feature: str) -> Slot:
        if self._config is None:
            raise InvalidInput(f"expected an embedding_config where ids of a feature (`{feature}`) are written, got none")
        slot = self._config.slots.get(feature)
        if slot is None:
            near = difflib.get_close_matches(feature, self._config.slots, n=1)
            known = f"did you mean {near[0]!r}?" if near else f"its slots are {', '.join(sorted(self._config.slots)[:20])}"
            raise FeatureError(feature, f"the embedding config has no slot of this name: {known}")
        if slot.hash_stack_rounds:
            raise FeatureError(
                feature,
                f"expected a slot with a row for each id, got one with a hash stack: its {slot.hash_stack_rounds} x "
                f"{slot.hash_stack_size} rows belong to hashed ids, which many ids share. Write them by sign: "
                f"persia.signs.add_prefix(np.arange({slot.hash_stack_rounds * slot.hash_stack_size}), slot.prefix, "
                "slot.prefix_bits) are the signs of rows 0, 1, ... of round 0, then of round 1, ...",
            )
        return slot


def _one_row_a_sign(feature: str, ids: U64, signs: U64, rows: F32) -> tuple[U64, F32]:
    """Of different ids with one sign, the last; of one id that comes twice, both, for the writer to judge."""
    order = np.argsort(signs, kind="stable")
    same = np.flatnonzero((signs[order][1:] == signs[order][:-1]) & (ids[order][1:] != ids[order][:-1]))
    first, second = order[same], order[same + 1]
    differ = np.flatnonzero((rows[first] != rows[second]).any(axis=1))
    if len(differ):
        a, b = first[differ[0]], second[differ[0]]
        raise FeatureError(
            feature,
            f"expected different signs for different rows, got the ids {ids[a]} and {ids[b]}, which share the sign {signs[a]}: "
            "an id counts modulo 2^k - 1, k being the bits below the prefix; give both the same row, or hash the ids first",
        )
    if not len(first):
        return signs, rows
    kept = np.ones(len(signs), np.bool_)
    kept[first] = False
    return signs[kept], rows[kept]
