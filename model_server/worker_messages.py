"""What a worker gets of its server, and what it answers."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["AT_ONCE", "REFUSAL", "Failure", "Prediction", "Request"]

# Headers for the server alone. Of the word that a model is loaded: how many requests its handler takes at once.
AT_ONCE = ":at-once"
# Of a prediction that refuses its request: its status says why, and its body has the words.
REFUSAL = ":refusal"

# A request: its id, its headers, and its inputs: name, content type and value.
Request = tuple[str, dict[str, Any], list[tuple[str, str, Any]]]


class Prediction(NamedTuple):
    """What goes back for one request."""

    request_id: str
    content_type: str
    status: int
    reason: str
    headers: dict[str, str]
    body: Any


class Failure(Exception):
    """A whole batch fails."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
