"""What the headers of a request say to the handler of text models."""

from __future__ import annotations

from typing import Any

__all__ = ["accepts_json", "content_type_of", "wants_explanation"]


def wants_explanation(context: Any, i: int) -> bool:
    """Whether request i came to /explanations. TorchServe batches it with others; over gRPC it says nothing of it."""
    return str(_headers(context, i).get("explain")) == "True"


def content_type_of(context: Any, i: int) -> str:
    """Of the body of request i; empty for one without."""
    of_body = _headers(context, i).get("body")
    return str(of_body.get("content-type", "")) if isinstance(of_body, dict) else ""


def accepts_json(context: Any, i: int) -> bool:
    """Whether the caller of request i takes JSON and nothing else: many clients name it by default, beside all other kinds."""
    accepted = [str(value) for name, value in _headers(context, i).items() if name.lower() == "accept"]
    kinds = {kind.partition(";")[0].strip().lower() for value in accepted for kind in value.split(",")}
    return kinds == {"application/json"}


def _headers(context: Any, i: int) -> dict[str, Any]:
    """An envelope of TorchServe (service_envelope) may make several requests of one, which have no headers of their own."""
    try:
        return dict(context.get_all_request_header(i))
    except IndexError:
        return {}
