"""What TorchServe hands over for a request, in the one form that the handler works with: a byte batch and some words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from persia.ctx import EmbeddingBatch, Features
from persia.routing.lookup import Lookup
from persia.signature import Signature
from persia.signature_check import Placing, in_order
from persia.torchserve.json_form import request_of_json
from persia.torchserve.scores import BATCH, BODY, DETAILS, JSON_FORM

__all__ = ["DETAILS_HEADER", "RequestFeatures", "as_inputs", "wants_details", "wants_headers"]

DETAILS_HEADER = "x-persia-details"

_YES = (b"1", b"true")


class RequestFeatures(Features):
    """The features of a request, which remember how their ids fared."""

    lookup: Lookup

    @classmethod
    def of(cls, embedded: EmbeddingBatch, placing: Placing | None = None) -> RequestFeatures:
        """Of a batch with its embeddings, in the order of the model if there is one."""
        dense, embeddings, labels = embedded.features
        made = cls(dense, embeddings if placing is None else in_order(embeddings, placing), labels)
        made.lookup = embedded.lookup
        return made


def as_inputs(request: dict[str, Any], headers: Mapping[str, Any], signature: Signature | None) -> dict[str, Any]:
    """Returns the request in the form that has a byte batch as `batch`; the same object if it has that form already.

    The body of an HTTP request is the JSON form of features, or a byte batch. headers: the headers in TorchServe's context.
    Raises InvalidInput, TooLarge.
    """
    if BATCH in request:
        return request
    if JSON_FORM in request:
        others = {key: value for key, value in request.items() if key != JSON_FORM}
        return {**request_of_json(request[JSON_FORM], signature), **others}
    body = request.get(BODY)
    if body is None or body in (b"", ""):  # an empty object or list is a body, and a wrong one
        return request
    if isinstance(body, (bytes, bytearray)) and not _is_text(headers):
        return {BATCH: body}
    return dict(request_of_json(body, signature))


def wants_details(request: Mapping[str, Any]) -> bool:
    """Whether the answer's body is to tell what the answer was made of."""
    value = request.get(DETAILS)
    if value is None:
        return False
    return (value.encode() if isinstance(value, str) else bytes(value)) in _YES


def wants_headers(headers: Mapping[str, Any]) -> bool:
    """Whether the response's headers alone are to tell it. Clients spell the names of headers as they like."""
    if DETAILS_HEADER not in map(str.lower, headers):
        return False
    return any(name.lower() == DETAILS_HEADER and str(value).encode() in _YES for name, value in headers.items())


def _is_text(headers: Mapping[str, Any]) -> bool:
    """Whether the body's content type is JSON, or text, which TorchServe could not read."""
    of_body = headers.get(BODY)
    kind = str(of_body.get("content-type", "")) if isinstance(of_body, dict) else ""
    return kind.startswith(("application/json", "text"))
