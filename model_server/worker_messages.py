"""What a worker gets of its server, and what it answers."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["NO_STATUS", "REFUSAL", "REQUESTS_AT_ONCE", "Failure", "Prediction", "Request", "is_status", "sendable"]

NO_STATUS = 0  # of a prediction whose handler set one that HTTP does not have; its reason tells which
# Headers for the server alone. Of the word that a model is loaded: how many requests its handler takes at once.
REQUESTS_AT_ONCE = ":requests-at-once"
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


def is_status(status: Any) -> bool:
    """Whether HTTP has it for an answer. Those below 200 are for what comes before an answer."""
    return isinstance(status, int) and not isinstance(status, bool) and 200 <= status <= 599


def sendable(prediction: Prediction) -> Prediction:
    """With a status that the server can read, so that a wrong one fails its own request and no other."""
    if is_status(prediction.status):
        return prediction
    return prediction._replace(status=NO_STATUS, reason=f"{prediction.status!r:.100}")
