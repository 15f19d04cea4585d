"""The version of a dense model, as commit records and lookups name it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from persia import _core

__all__ = ["DenseChange", "DenseVersion", "key_of", "keyed_changes"]

# From that epoch on, records name these versions of dense models, and no others.
DenseChange = tuple[int, Mapping[str, str]]


class DenseVersion(NamedTuple):
    """`model`: the name under which it is served; `version`: of its archive."""

    model: str
    version: str

    @property
    def key(self) -> tuple[int, int]:
        """For the native core, and for messages."""
        return key_of(self.model), key_of(self.version)

    def __str__(self) -> str:
        return f"{self.model} {self.version}"


def key_of(text: str) -> int:
    """Never 0, which stands for what is not said."""
    return int(_core.hash_strings([text])[0]) or 1


def keyed_changes(changes: Sequence[DenseChange]) -> list[tuple[int, int, int]]:
    """For the native core: an epoch, a model, and the version that records name from then on, or 0 for none."""
    keyed: list[tuple[int, int, int]] = []
    before: Mapping[str, str] = {}
    for epoch, named in changes:
        for model in sorted(before.keys() | named.keys()):
            if before.get(model) != named.get(model):
                keyed.append((epoch, key_of(model), key_of(named[model]) if model in named else 0))
        before = named
    return keyed
