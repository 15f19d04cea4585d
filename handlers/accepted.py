"""The form of scores that a caller asks for in the header `accept`, where its `input` does not say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from persia.torchserve.scores import FORMAT, JSON, NPY, NPZ, RAW

__all__ = ["MEDIA_TYPES", "with_accepted_format"]

MEDIA_TYPES: Mapping[bytes, str] = {
    JSON: "application/json",
    NPY: "application/x-npy",
    NPZ: "application/x-npz",
    RAW: "application/octet-stream",
}

_ACCEPT = "accept"
_FORMATS = {media_type: name for name, media_type in MEDIA_TYPES.items()} | {"*/*": JSON, "application/*": JSON}


def with_accepted_format(inputs: dict[str, Any], headers: Mapping[str, Any]) -> dict[str, Any]:
    """A request's inputs, with `format` by its header where they have none. headers: those of TorchServe's context."""
    if FORMAT in inputs:
        return inputs
    accepted = headers.get(_ACCEPT) or next((value for name, value in headers.items() if name.lower() == _ACCEPT), None)
    asked = _format_of(accepted) if isinstance(accepted, str) else None
    return inputs if asked is None else {**inputs, FORMAT: asked}


def _format_of(accepted: str) -> bytes | None:
    """That of the type with the greatest weight; of several the first one. None: no type that we have."""
    best, most = None, 0.0
    for entry in accepted.split(","):
        media_type, *parameters = (part.strip().lower() for part in entry.split(";"))
        weight = next((_weight(one[2:]) for one in parameters if one.startswith("q=")), 1.0)
        if media_type in _FORMATS and weight > most:
            best, most = _FORMATS[media_type], weight
    return best


def _weight(text: str) -> float:
    """0 for what is no number: such a type is not asked for."""
    try:
        return float(text)
    except ValueError:
        return 0.0
