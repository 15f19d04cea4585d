"""What is wrong with one request is said to its caller alone: the others that TorchServe put together with it are answered.

TorchServe knows one status for all of a batch over gRPC, and one for each request over HTTP. So a lone request is refused
by raising. Of several, one that came over HTTP gets a status of its own, and one over gRPC a body that says what the status
would have been.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, TypeVar

from ts.utils.util import PredictionException

from persia.errors import PersiaError

__all__ = ["HTTP_CODES", "exception_of", "refusal_body", "with_refusals"]

A = TypeVar("A")

# The HTTP codes that TorchServe makes the right gRPC statuses of. What it does not know becomes INTERNAL: an error of ours that
# another try would not mend.
HTTP_CODES = {
    "INVALID_ARGUMENT": 400,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "FAILED_PRECONDITION": 405,
    "RESOURCE_EXHAUSTED": 413,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


def exception_of(error: PersiaError) -> PredictionException:
    """What to raise, so that TorchServe refuses all requests of a batch with this error's status and message."""
    return PredictionException(str(error), HTTP_CODES.get(error.code, 500))


def with_refusals(context: Any, outcomes: Sequence[A | PersiaError]) -> list[A | str]:
    """Returns what a handler hands to TorchServe: the answer to each request, and a refusal in the place of each error.

    context: the handler's context, which gets the status and the content type of each request that is refused.

    Raises PredictionException for the error of a lone request.
    """
    if len(outcomes) == 1 and isinstance(outcomes[0], PersiaError):
        raise exception_of(outcomes[0]) from outcomes[0]
    answers: list[A | str] = []
    for i, outcome in enumerate(outcomes):
        if not isinstance(outcome, PersiaError):
            answers.append(outcome)
            continue
        code = HTTP_CODES.get(outcome.code, 500)
        context.set_response_status(code=code, phrase=HTTPStatus(code).phrase, idx=i)
        context.set_response_content_type(i, "application/json")
        answers.append(refusal_body(outcome))
    return answers


def refusal_body(error: PersiaError) -> str:
    """In the form of TorchServe's own errors; `type` is the name of the gRPC status."""
    body = {"code": HTTP_CODES.get(error.code, 500), "type": error.code, "message": str(error)}
    return json.dumps(body, indent=2) + "\n"
