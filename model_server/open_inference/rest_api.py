"""What is asked below /v2 over REST, except for inferences, which the native core passes on to workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from persia.errors import PersiaError, Unavailable

from ..refusals import Refusal
from .served import ServedModels

__all__ = ["answer_rest"]

_NO = 400  # the protocol's word for what is not ready
_PATHS = (
    "expected /v2, /v2/health/live, /v2/health/ready, /v2/models/NAME and /v2/models/NAME/versions/VERSION, both also with "
    "/ready and, by POST, with /infer"
)


def answer_rest(models: ServedModels, method: str, segments: Sequence[str]) -> tuple[int, dict[str, Any]]:
    """The status, and what is sent as JSON. segments: of the path behind `/v2`."""
    try:
        if method == "GET":
            return _answer_get(models, segments)
        return 405, {"error": f"expected GET here, got {method}: {_PATHS}"}
    except Refusal as refusal:
        return refusal.status, _error(refusal)
    except Unavailable as error:
        return 503, _error(error)


def _answer_get(models: ServedModels, segments: Sequence[str]) -> tuple[int, dict[str, Any]]:
    """Raises Refusal, Unavailable."""
    match segments:
        case []:
            return 200, models.server()
        case ["health", "live"]:
            return 200, {"live": True}
        case ["health", "ready"]:
            ready = models.is_ready()
            missing = models.missing()
            return 200 if ready else _NO, {"ready": ready} | ({"missing": missing} if missing else {})
        case ["models", name, "ready"]:
            return _ready(models, name, None)
        case ["models", name, "versions", version, "ready"]:
            return _ready(models, name, version)
        case ["models", name]:
            return 200, models.metadata(name, None)
        case ["models", name, "versions", version]:
            return 200, models.metadata(name, version)
        case ["models", _, "infer"] | ["models", _, "versions", _, "infer"]:
            return 405, {"error": f"expected POST here, got GET: {_PATHS}"}
        case _:
            return 404, {"error": f"nothing is here: {_PATHS}"}


def _ready(models: ServedModels, name: str, version: str | None) -> tuple[int, dict[str, Any]]:
    ready = models.is_model_ready(name, version)
    return 200 if ready else _NO, {"name": name, "ready": ready}


def _error(error: PersiaError) -> dict[str, Any]:
    return {"error": str(error)}
