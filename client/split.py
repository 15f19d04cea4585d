"""Which version of a model a caller gets: by weight, and for one key always the same one.

Each version draws a number for each key, from a hash of both, divides it by its weight, and the smallest wins. So all
processes agree without talking to each other, a version gets its share of the keys, and where a weight changes only those keys
change their version that must: they go to the version whose weight grew, or leave the one whose weight fell.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

from persia.errors import InvalidInput

__all__ = ["Key", "Split", "parse_split"]

Key = str | bytes | int  # a whole number is the same key as its decimal digits

_BITS = 53  # that a float holds exactly


class Split:
    """Weights of versions. It is a value: other weights are another Split."""

    def __init__(self, weights: Mapping[str, float], salt: str = "") -> None:
        """weights: of each version, in any unit; 0 for one that gets no key.

        salt: the name of an experiment: with another one, keys are dealt out anew, independently of the first.
        Raises InvalidInput.
        """
        for version, weight in weights.items():
            if type(weight) not in (int, float) or not 0 <= weight < math.inf:
                raise InvalidInput(f"expected a weight of 0 or more for version {version}, got {weight!r}")
        if not any(weights.values()):
            raise InvalidInput(f"expected at least one version with a weight over 0, got {dict(weights)}")
        self.weights = dict(weights)
        self.salt = salt

    def version_of(self, key: Key) -> str:
        """The version that this key has, here and in every other process with these weights and this salt."""
        data = _bytes_of(key)
        places = {
            version: -math.log(_drawn(self.salt, version, data)) / weight for version, weight in self.weights.items() if weight
        }
        return min(places, key=lambda version: (places[version], version))


def parse_split(text: str) -> dict[str, float]:
    """The weights in `1.0=90,2.0=10`. Raises InvalidInput."""
    weights: dict[str, float] = {}
    for part in text.split(","):
        version, _, weight = part.strip().partition("=")
        known = version in weights
        try:
            weights[version] = float(weight)
        except ValueError:
            version = ""
        if not version or known:
            raise InvalidInput(f"expected VERSION=WEIGHT with commas between them, such as 1.0=90,2.0=10, got {text!r}")
    return weights


def _bytes_of(key: Key) -> bytes:
    if isinstance(key, bytes):
        return key
    if type(key) in (str, int):
        return str(key).encode()
    raise InvalidInput(f"expected text, bytes or a whole number as the key, got {key!r}")


def _drawn(salt: str, version: str, key: bytes) -> float:
    """Over 0 and below 1, evenly."""
    digest = hashlib.blake2b(digest_size=8)
    for part in (salt.encode(), version.encode(), key):
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return float(((int.from_bytes(digest.digest(), "big") >> (64 - _BITS)) + 0.5) * 0.5**_BITS)
