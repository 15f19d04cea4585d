"""Variants of the rows, as commit records and lookups name them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from persia.dense_version import key_of
from persia.errors import InvalidInput

__all__ = ["NO_VARIANT", "OTHERS", "VARIANT_NAME", "Variant", "VariantsChange", "keyed_variants", "variant_key"]

NO_VARIANT = "none"  # the word for the rows that all share, where one has to be said
OTHERS = "(others)"  # the word for variants that are not told apart: none can have that name
VARIANT_NAME = rf"^(?!{NO_VARIANT}\Z)[0-9A-Za-z][-.0-9A-Z_a-z]{{0,63}}\Z"  # also of a directory, and the value of a header


class Variant(NamedTuple):
    """A variant in an epoch: the epoch that it began with, and the versions of dense models that it has of its own."""

    begun: int
    dense: Mapping[str, str]


# From that epoch on there are these variants, and no others.
VariantsChange = tuple[int, Mapping[str, Variant]]


@lru_cache(1024)
def variant_key(name: str) -> int:
    """For the native core, and for messages; 0 for an empty name, which is that of no variant. Raises InvalidInput."""
    if not name:
        return 0
    if name == NO_VARIANT:
        raise InvalidInput(
            f"expected the name of a variant, got {NO_VARIANT!r}, which is reserved: it stands for the rows that all share"
        )
    if not re.match(VARIANT_NAME, name):
        raise InvalidInput(
            "expected the name of a variant, which has 1 to 64 letters, digits, dots, dashes and underlines, and begins with a "
            f"letter or digit, got {name!r:.100}"
        )
    return key_of(name)


def keyed_variants(changes: Sequence[VariantsChange]) -> list[tuple[int, list[tuple[int, str, dict[int, int]]]]]:
    """For the native core: an epoch, and from then on the key, the name and the own versions of models of each variant."""
    return [(epoch, [_keyed(name, variant) for name, variant in variants.items()]) for epoch, variants in changes]


def _keyed(name: str, variant: Variant) -> tuple[int, str, dict[int, int]]:
    return variant_key(name), name, {key_of(model): key_of(version) for model, version in variant.dense.items()}
