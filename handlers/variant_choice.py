"""Which variant's rows a request gets: the one that it names, or one by weight."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

from persia._core import hash_strings
from persia.errors import InvalidInput
from persia.handlers.variant_counts import VariantCounts
from persia.torchserve.scores import VARIANT
from persia.variant import NO_VARIANT, variant_key

__all__ = ["VARIANT_HEADER", "VariantChoice", "variant_of"]

VARIANT_HEADER = "x-persia-variant"


class VariantChoice:
    """Any number of threads may use it, but for `counts`."""

    def __init__(self, weights: Mapping[str, float], sticky_by: str | None) -> None:
        """weights: of variants, by their names, and of NO_VARIANT; empty: requests that name none get none.

        sticky_by: a key of a request's input, or a header: requests with the same value of it get the same variant.
        """
        self._weights = {name: float(weight) for name, weight in weights.items() if weight > 0}
        self._sticky_by = sticky_by
        self.counts = VariantCounts(weights)  # of requests with their variants, which the handler adds

    def chosen(self, request: dict[str, Any], headers: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the request with its variant, where it gets one; the same object if it gets none, or has it already.

        headers: those of TorchServe's context. Raises InvalidInput.
        """
        if request.get(VARIANT) is None:
            name = _header(headers, VARIANT_HEADER) or self._by_weight(request, headers)
            if not name:
                return request
            request = {**request, VARIANT: name.encode()}
        variant_of(request)
        return request

    def _by_weight(self, request: Mapping[str, Any], headers: Mapping[str, Any]) -> str:
        if not self._weights:
            return ""
        key = None
        if self._sticky_by is not None:
            key = _text(request.get(self._sticky_by)) or _header(headers, self._sticky_by)
        return self.by_key(key)

    def by_key(self, key: str | None) -> str:
        """By weight: always the same for a key, at random for None.

        Each variant draws a number for the key, and the largest wins. So a changed weight moves only those keys that must move.
        """
        if key is None:
            return random.choices([*self._weights], [*self._weights.values()])[0]  # no secret
        drawn = hash_strings([f"{name} {key}" for name in self._weights])
        return max(
            zip(self._weights.items(), drawn, strict=True),
            key=lambda one: math.log((int(one[1]) + 0.5) / 2**64) / one[0][1],
        )[0][0]


def variant_of(request: Mapping[str, Any]) -> str:
    """The name of the variant whose rows a request gets; empty: none. Raises InvalidInput."""
    name = _text(request.get(VARIANT)) or ""
    if name == NO_VARIANT:
        return ""
    variant_key(name)
    return name


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, (bytes, bytearray)):
        return str(value)
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"expected text, got the bytes {bytes(value)[:40]!r}") from None


def _header(headers: Mapping[str, Any], name: str) -> str | None:
    """Clients spell the names of headers as they like."""
    lower = name.lower()
    return next((str(value) for header, value in headers.items() if header.lower() == lower), None)
