"""What is wrong with one request is said to its caller alone: the others that TorchServe put together with it are answered.

TorchServe knows one status for all of a batch over gRPC, and one for each request over HTTP. So a lone request is refused
by raising. Of several, one that came over HTTP gets a status of its own, and one over gRPC a body that says what the status
would have been. The model server takes an exception in the place of an answer, over both.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, TypeVar

from ts.utils.util import PredictionException

from persia.errors import PersiaError, TooLarge

__all__ = ["HTTP_CODES", "answers_of", "exception_of", "refusal_body", "takes_refusals", "with_refusals", "within_limit"]

A = TypeVar("A")

# What TorchServe adds to answers between worker and front end, and then some.
ANSWER_FRAMES = 64 << 10

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


def takes_refusals(context: Any) -> bool:
    """Whether an exception in the place of an answer refuses that request, and no other one. context: the handler's."""
    return bool(getattr(context, "takes_refusals", False))


def within_limit(context: Any, outcomes: Sequence[bytes | PersiaError], max_mib: int) -> list[bytes | PersiaError]:
    """The same, as far as their bytes can be sent; in the place of others a TooLarge.

    Raises TooLarge where all answers go together, and are too large together.
    """

    def too_large(what: str, size: int) -> TooLarge:
        limit = f"{most} bytes ({max_mib} MiB, less what TorchServe adds)"
        return TooLarge(f"expected {what} of at most {limit}, got {size}: ask for `raw`, or for less")

    most = (max_mib << 20) - ANSWER_FRAMES
    if takes_refusals(context):
        return [too_large("an answer", _size(one)) if _size(one) > most else one for one in outcomes]
    if (size := sum(map(_size, outcomes))) > most:
        raise too_large("an answer" if len(outcomes) == 1 else f"{len(outcomes)} answers, which go together,", size)
    return list(outcomes)


def answers_of(context: Any, outcomes: Sequence[A | PersiaError]) -> list[A | str | PredictionException]:
    """As with_refusals, but an exception for each error where it takes_refusals()."""
    if takes_refusals(context):
        return [exception_of(outcome) if isinstance(outcome, PersiaError) else outcome for outcome in outcomes]
    return [*with_refusals(context, outcomes)]


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


def _size(outcome: bytes | PersiaError) -> int:
    return 0 if isinstance(outcome, PersiaError) else len(outcome)
