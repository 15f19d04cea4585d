"""The order in which TorchServe lists the versions of a model: that of a hash map of Java's, so it looks like none."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["java_order"]

_FIRST_PLACES, _FULL = 16, 0.75  # of a ConcurrentHashMap


def java_order(texts: Collection[str]) -> list[str]:
    """Those that have the same place in the map stay in their order."""
    places = _FIRST_PLACES
    while len(texts) > places * _FULL:
        places *= 2
    return sorted(texts, key=lambda text: _spread(_hash(text)) % places)


def _hash(text: str) -> int:
    """As `String.hashCode` has it, without a sign."""
    units = text.encode("utf-16-be", "surrogatepass")
    value = 0
    for high, low in zip(units[::2], units[1::2], strict=True):
        value = (31 * value + (high << 8 | low)) & 0xFFFFFFFF
    return value


def _spread(value: int) -> int:
    return value ^ value >> 16
